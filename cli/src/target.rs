//! The store that a URL names: looked at before it is opened, opened, and why it was not.
//!
//! A command that reads must not make an empty store where a path is misspelt, so a redb directory
//! is looked at first. One URL grammar serves all commands; the drivers parse what is theirs.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seriatim::EventStore;
use seriatim::driver::redb::{Compacted, Durability, RedbBuilder, RedbDriver, Step};
use seriatim::driver::{self, Driver, DriverError};
use tokio::task::JoinHandle;

use crate::app::App;
use crate::exit::{Error, Exit, Result, io_cause};
use crate::local_store::LocalStore;
use crate::progress::{Progress, Unit};

/// A command reads what it needs once, so large caches would only take memory.
const CACHE_BYTES: usize = 32 << 20;
const SEGMENT_CACHE_BYTES: usize = 8 << 20;
const TAIL_BYTES: usize = 16 << 20;

type DriverResult<T> = std::result::Result<T, DriverError>;

/// The engines, and the feature that builds each in.
const ENGINES: &[(&str, &str)] = &[
    ("dynamodb", "dynamodb"),
    ("mongodb", "mongodb"),
    ("mongodb+srv", "mongodb"),
    ("cassandra", "cassandra"),
    ("azure-tables", "azure-tables"),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Memory,
    Redb { path: PathBuf, durability: Option<Durability> },
    Engine { url: String },
}

/// Whether the store must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It must.
    Existing,
    /// It may be made if the user said so.
    Creatable { create: bool },
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(no_scheme(url));
        };
        match scheme {
            "memory" if rest.is_empty() => Ok(Target::Memory),
            "memory" => Err(Error::usage("a memory store has no name: write memory:")),
            "redb" => parse_redb(rest),
            _ => parse_engine(url, scheme),
        }
    }

    /// The name for messages, without secrets.
    pub(crate) fn name(&self) -> String {
        match self {
            Target::Memory => "memory:".to_owned(),
            Target::Redb { path, .. } => format!("redb:{}", path.display()),
            Target::Engine { url } => without_secrets(url),
        }
    }

    /// Opens the driver on this runtime; whoever opens it closes it.
    pub(crate) async fn open_driver(
        &self,
        app: &mut App,
        wanted: Wanted,
    ) -> Result<Arc<dyn Driver>> {
        match self {
            Target::Redb { .. } => Ok(self.open_local(app, wanted).await?.driver()),
            Target::Memory => Ok(driver::open("memory:").await?),
            Target::Engine { url } => {
                let opened = app.interrupt.or(driver::open(url)).await?;
                opened.map_err(|error| Error::from(error).about(self.name()))
            }
        }
    }

    /// Opens the store. An engine's driver must live on the store's own runtime.
    pub(crate) async fn open_store(&self, app: &mut App, wanted: Wanted) -> Result<EventStore> {
        if let Target::Redb { .. } = self {
            let driver = self.open_local(app, wanted).await?.driver();
            return Ok(app.interrupt.or(EventStore::builder().driver(driver).open()).await??);
        }
        self.open_store_with(app, wanted, |builder| builder).await
    }

    /// Opens a redb store, or reaches it through its owner's door where it must be there already:
    /// nothing is written through a door.
    pub(crate) async fn open_local(&self, app: &mut App, wanted: Wanted) -> Result<LocalStore> {
        let mut no_door = None;
        if let (Target::Redb { path, .. }, Wanted::Existing) = (self, wanted) {
            match LocalStore::through_door(path) {
                Ok(None) => {}
                Ok(Some(store)) => {
                    app.is_through_door = true;
                    if let Some(owner) = store.owner() {
                        let owner = process(owner);
                        app.note(&format!("{owner} has the store open; reading through its door"));
                    }
                    return Ok(store);
                }
                // Left behind, it may be; then the store opens. Otherwise the holder is named.
                Err(error) if error.is_retryable() => no_door = Some(error),
                Err(error) => return Err(Error::from(error).about(self.name())),
            }
        }
        let opened = self.open_redb_with(app, wanted, |small| small).await;
        let (driver, steps) = opened.map_err(|error| match (error.exit, no_door) {
            (Exit::InUse, Some(no_door)) => error.hint(no_door.to_string()),
            _ => error,
        })?;
        Ok(LocalStore::Here(driver, steps))
    }

    /// The same with further options of redb.
    pub(crate) async fn open_store_with(
        &self,
        app: &App,
        wanted: Wanted,
        options: impl FnOnce(RedbBuilder) -> RedbBuilder + Send + 'static,
    ) -> Result<EventStore> {
        let builder = EventStore::builder();
        let builder = match self {
            Target::Memory => builder.url("memory:"),
            Target::Redb { .. } => {
                let (driver, _steps) = self.open_redb_with(app, wanted, options).await?;
                builder.driver(driver)
            }
            Target::Engine { url } => builder.url(url),
        };
        Ok(app.interrupt.or(builder.open()).await??)
    }

    /// Opens redb's own driver, which is the only one of its kind, and what shows its long steps.
    pub(crate) async fn open_redb_with(
        &self,
        app: &App,
        wanted: Wanted,
        options: impl FnOnce(RedbBuilder) -> RedbBuilder + Send + 'static,
    ) -> Result<(Arc<RedbDriver>, Steps)> {
        let steps = Steps::default();
        let open = |builder: RedbBuilder, path| options(builder).open(path);
        let (opened, path) = self.start_redb(app, wanted, &steps, open)?;
        // Opening is not interrupted: it would go on behind the command's back.
        let opened = opened.await;
        steps.end();
        let opened = opened.map_err(|_| Error::new(Exit::Failed, "redb panicked while opening"))?;
        let driver = opened.map_err(|error| why_not_opened(&path, error))?;
        Ok((Arc::new(driver), steps))
    }

    /// Compacts a redb store that nobody has open.
    pub(crate) async fn compact_redb(&self, app: &App) -> Result<Compacted> {
        let steps = Steps::default();
        let compact = |builder: RedbBuilder, path| builder.compact(path);
        let (compacted, path) = self.start_redb(app, Wanted::Existing, &steps, compact)?;
        // The end of the process is a kill, which loses nothing.
        let compacted = app.interrupt.or(compacted).await;
        steps.end();
        let compacted =
            compacted?.map_err(|_| Error::new(Exit::Failed, "redb panicked while compacting"))?;
        compacted.map_err(|error| why_not_opened(&path, error))
    }

    /// Starts work on a redb store's directory, on a thread that may wait for the disk.
    fn start_redb<T: Send + 'static>(
        &self,
        app: &App,
        wanted: Wanted,
        steps: &Steps,
        work: impl FnOnce(RedbBuilder, PathBuf) -> DriverResult<T> + Send + 'static,
    ) -> Result<(JoinHandle<DriverResult<T>>, PathBuf)> {
        let Target::Redb { path, durability } = self else {
            let only = format!("{}: only a redb store can do this", self.name());
            return Err(Error::new(Exit::Unsupported, only));
        };
        look_at(path, wanted)?;
        steps.show(Progress::new(app.shows_progress(), "opening", Some(1), Unit::Steps));
        let (told, shows) = (steps.clone(), app.shows_progress());
        let mut builder = RedbDriver::builder()
            .cache_bytes(CACHE_BYTES)
            .segment_cache_bytes(SEGMENT_CACHE_BYTES)
            .tail_bytes(TAIL_BYTES)
            .progress(move |progress| told.tell(progress, shows));
        if let Some(durability) = durability {
            builder = builder.durability(*durability);
        }
        let at = path.clone();
        Ok((tokio::task::spawn_blocking(move || work(builder, at)), path.clone()))
    }
}

/// Shows the long steps of a redb driver, one after another.
#[derive(Clone, Default)]
pub(crate) struct Steps(Arc<Mutex<Shown>>);

#[derive(Default)]
struct Shown {
    progress: Option<Progress>,
    is_compacting: bool,
}

impl Steps {
    /// Shows the next step here.
    pub(crate) fn show(&self, progress: Progress) {
        self.shown().progress = Some(progress);
    }

    pub(crate) fn end(&self) {
        self.shown().progress = None;
    }

    fn tell(&self, told: driver::redb::Progress, is_wanted: bool) {
        let mut shown = self.shown();
        if told.step == Step::Compacting && !shown.is_compacting {
            // How much there is to do is not known.
            shown.progress = Some(Progress::new(is_wanted, "compacting", None, Unit::Bytes));
            shown.is_compacting = true;
        }
        let Some(progress) = &shown.progress else { return };
        match told.step {
            Step::Compacting => {
                progress.message("written".to_owned());
                return progress.set(told.done);
            }
            Step::Repairing => progress.message("redb repairs its file after a crash".to_owned()),
            Step::Replaying => progress.message("the journal goes into events.redb".to_owned()),
            _ => progress.message(String::new()),
        }
        progress.set_of(told.done, told.total);
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse_redb(rest: &str) -> Result<Target> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if path.is_empty() {
        return Err(Error::usage("a directory must follow redb:").hint("write redb:./data"));
    }
    let mut durability = None;
    for option in query.split('&').filter(|option| !option.is_empty()) {
        durability = Some(match option {
            "durability=flushed" => Durability::Flushed,
            "durability=written" => Durability::Written,
            _ => {
                return Err(Error::usage(format!("{option:?} is no option of redb"))
                    .hint("write ?durability=flushed or ?durability=written"));
            }
        });
    }
    Ok(Target::Redb { path: path.into(), durability })
}

fn parse_engine(url: &str, scheme: &str) -> Result<Target> {
    let Some((_, feature)) = ENGINES.iter().find(|(known, _)| *known == scheme) else {
        let url = without_secrets(url);
        return Err(Error::usage(format!("{url:?} names no store that this program knows"))
            .hint(format!("known are: {}", driver::URL_FORMS.join(", "))));
    };
    let is_built_in = driver::URL_FORMS.iter().any(|form| form.split(':').next() == Some(feature));
    if !is_built_in {
        return Err(Error::usage(format!("this build of seriatim has no driver for {scheme}:"))
            .hint(format!("build it in: cargo install --path cli --features {feature}")));
    }
    Ok(Target::Engine { url: url.to_owned() })
}

/// A path alone is the likeliest mistake.
fn no_scheme(url: &str) -> Error {
    let error = Error::usage(format!("{url:?} is no store's URL"));
    if url.contains(['/', '.', '\\']) || Path::new(url).exists() {
        return error.hint(format!("for a store in a directory write redb:{url}"));
    }
    error.hint(format!("known are: {}", driver::URL_FORMS.join(", ")))
}

/// The URL without its options and without what stands before an `@`.
fn without_secrets(url: &str) -> String {
    let (address, options) = match url.split_once('?') {
        Some((address, _)) => (address, "?…"),
        None => (url, ""),
    };
    match address.split_once("//") {
        Some((scheme, rest)) if rest.contains('@') => {
            let hosts = rest.rsplit_once('@').map_or(rest, |(_, hosts)| hosts);
            format!("{scheme}//…@{hosts}{options}")
        }
        _ => format!("{address}{options}"),
    }
}

/// Whether this directory holds a redb store.
fn is_store(path: &Path) -> bool {
    path.join("format").is_file() || path.join("events.redb").is_file()
}

/// Refuses a path where there is no store, unless one may be made there.
fn look_at(path: &Path, wanted: Wanted) -> Result<()> {
    let shown = path.display();
    let found = match fs::metadata(path) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(unreadable(path, &error)),
    };
    match found {
        None => match wanted {
            Wanted::Creatable { create: true } => Ok(()),
            Wanted::Creatable { create: false } => {
                Err(no_store(path).hint("check the path, or make a store there with --create"))
            }
            Wanted::Existing => Err(no_store(path).hint(match shown.to_string() {
                shown if shown.starts_with("//") => {
                    format!(
                        "the path stands behind the colon: redb:{}",
                        shown.trim_start_matches('/')
                    )
                }
                _ => "check the path; it is relative to where you are".to_owned(),
            })),
        },
        Some(found) if !found.is_dir() => {
            let error = Error::not_found(format!("{shown} is a file; a store is a directory"));
            Err(match path.parent().filter(|parent| is_store(parent)) {
                Some(parent) => error.hint(format!("write redb:{}", parent.display())),
                None => error,
            })
        }
        Some(_) => look_into(path, wanted),
    }
}

fn look_into(path: &Path, wanted: Wanted) -> Result<()> {
    let names = fs::read_dir(path).map_err(|e| unreadable(path, &e))?;
    // A directory that others may list but not enter hides its files' details.
    fs::metadata(path.join(".")).map_err(|e| unreadable(path, &e))?;
    if is_store(path) {
        return Ok(());
    }
    let mut is_empty = true;
    let mut below = None;
    for name in names {
        let name = name.map_err(|e| unreadable(path, &e))?;
        // What a store that was never finished leaves.
        is_empty &= name.file_name() == "lock" || name.file_name() == "format.new";
        if below.is_none() && is_store(&name.path()) {
            below = Some(name.path());
        }
    }
    let shown = path.display();
    match (wanted, is_empty) {
        (Wanted::Creatable { create: true }, true) => Ok(()),
        (Wanted::Creatable { create: false }, true) => {
            Err(no_store(path).hint("the directory is empty; make a store there with --create"))
        }
        _ => {
            let error = Error::not_found(format!(
                "{shown} is a directory, but it holds no store (it has no file named \"format\")"
            ));
            Err(match (below, wanted) {
                (Some(below), _) => error.hint(format!("did you mean redb:{}?", below.display())),
                (None, Wanted::Creatable { create: true }) => {
                    error.hint("a new store needs a directory that is absent or empty")
                }
                (None, _) => error.hint("check the path; it is relative to where you are"),
            })
        }
    }
}

fn no_store(path: &Path) -> Error {
    Error::not_found(format!("there is no store in {}", path.display()))
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    let failure = Error::io(path.display(), error);
    match error.kind() {
        io::ErrorKind::PermissionDenied => failure.hint(
            "run as the user who owns the store; a store is read and written by one process, \
             so reading alone needs the right to write, too",
        ),
        _ => failure,
    }
}

/// The driver's error, and whether somebody else has the store.
fn why_not_opened(path: &Path, error: DriverError) -> Error {
    if let Some(holder) = held_by(path) {
        return Error::new(
            Exit::InUse,
            format!("the store in {} is in use by {holder}", path.display()),
        )
        .hint(
            "a redb store is open in one process at a time: end that one, or let it open a door \
             for commands that only read: EventStore::builder().serve_local()",
        );
    }
    let denied =
        io_cause(&error).is_some_and(|cause| cause.kind() == io::ErrorKind::PermissionDenied);
    let failure = Error::from(error);
    match failure.exit {
        _ if denied => failure
            .hint("run as the user who owns the store; reading needs the right to write, too"),
        Exit::Damaged => failure
            .hint("do not write to it; keep a copy of the directory, and restore from an export"),
        _ => failure,
    }
}

/// The process that has the store's lock, if one has.
fn held_by(path: &Path) -> Option<String> {
    let file = path.join("lock");
    let lock = File::open(&file).ok()?;
    if !matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)) {
        return None;
    }
    let holder = fs::read_to_string(&file).unwrap_or_default();
    let Some(id) = holder.strip_prefix("process ").and_then(|id| id.parse::<u32>().ok()) else {
        return Some("another process".to_owned());
    };
    Some(process(id))
}

/// The process with its name, where the system tells.
fn process(id: u32) -> String {
    match fs::read_to_string(format!("/proc/{id}/comm")) {
        Ok(name) => format!("process {id} ({})", name.trim_end()),
        Err(_) => format!("process {id}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_store() {
        assert_eq!(Target::parse("memory:").unwrap(), Target::Memory);
        let redb = |path: &str, durability| Target::Redb { path: path.into(), durability };
        assert_eq!(Target::parse("redb:./data").unwrap(), redb("./data", None));
        let written = redb("a:b", Some(Durability::Written));
        assert_eq!(Target::parse("redb:a:b?durability=written").unwrap(), written);
    }

    #[test]
    fn a_wrong_url_is_refused_with_what_to_write_and_without_secrets() {
        for (url, told) in [
            ("./data", "redb:./data"),
            ("data", "known are: memory:"),
            ("redb:", "redb:./data"),
            ("redb:./data?sync=1", "durability=flushed"),
            ("memory:x", "memory:"),
            ("nosuch://u:hush@a/b?key=hush", "known are: memory:"),
        ] {
            let error = Target::parse(url).unwrap_err();
            let text = format!("{} {}", error.message, error.hint.unwrap_or_default());
            assert_eq!(error.exit, Exit::Usage, "{url}");
            assert!(text.contains(told) && !text.contains("hush"), "{url}: {text}");
        }
    }

    #[cfg(not(feature = "mongodb"))]
    #[test]
    fn an_engine_that_is_not_built_in_is_told_apart_from_an_unknown_one() {
        let error = Target::parse("mongodb+srv://u:hush@a/b").unwrap_err();
        assert!(error.hint.unwrap().ends_with("--features mongodb"));
        assert!(!error.message.contains("hush"));
    }
}
