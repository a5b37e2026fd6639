//! Taking a backup: the log in position order, page by page, into the target's files.
//!
//! It runs on a thread of its own and pauses behind each page, so that writers keep their cores.
//! Each file ends behind a whole append and is followed by a manifest, so a long first backup that
//! is killed goes on behind its last file. Small files at the end, as frequent backups make them,
//! are merged: each is then more than twice as long as the next one.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::block::{BlockBuilder, digest, is_same_append};
use super::contents::{BackupContents, BackupProgress, TellProgress, tell};
use super::error::BackupError;
use super::manifest::{Digest, Manifest};
use super::source::FileReader;
use super::target::{FileWriter, Target};
use crate::driver::{DriverError, LogFetch};
use crate::error::ReadError;
use crate::event::{KeyedEvent, Position};
use crate::mailroom::Mailroom;
use crate::store::EventStore;
use crate::subscription::{last_position, log_of};
use crate::user_code;

/// Events asked for at once; a page also ends at about 1 MiB.
const PAGE_EVENTS: u64 = 1_000;
/// The default of [`Backup::file_bytes`].
const FILE_BYTES: u64 = 64 << 20;
/// How much longer than its work a backup pauses, unless it runs at full speed.
const PAUSE_PER_WORK: u32 = 9;
/// The longest pause at a time, in which it does not see that it is to stop.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// A backup to take, from [`EventStore::backup`]. It begins when it is awaited.
///
/// Dropping the future stops the backup behind a page; what its last manifest lists stays.
#[must_use = "a backup does nothing until it is awaited"]
pub struct Backup {
    mailroom: Arc<Mailroom>,
    target: PathBuf,
    file_bytes: u64,
    at_full_speed: bool,
    on_progress: Option<TellProgress>,
}

/// What a backup added, and what the target now holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackedUp {
    /// Events that this backup added.
    pub added: u64,
    /// What the target holds.
    pub contents: BackupContents,
}

impl EventStore {
    /// A backup of the store's log into this directory, which is absent or empty, or holds an
    /// earlier backup of the same store; then only what is new is added. It has every event that
    /// was readable when it began. Writers go on meanwhile. [`Restore`](super::Restore) is the way
    /// back; the [module](super) has an example.
    ///
    /// # Errors
    ///
    /// Awaiting it answers [`BackupError`]; what the target held before stays whole.
    pub fn backup(&self, target: impl Into<PathBuf>) -> Backup {
        Backup {
            mailroom: self.mailroom().clone(),
            target: target.into(),
            file_bytes: FILE_BYTES,
            at_full_speed: false,
            on_progress: None,
        }
    }
}

impl Backup {
    /// The bytes after which a file ends; 64 MiB unless told. A file ends behind a whole append, so
    /// it can be longer by one.
    pub fn file_bytes(mut self, bytes: u64) -> Self {
        self.file_bytes = bytes.max(1);
        self
    }

    /// Without pauses. Unless told, a backup works a tenth of the time, so that writers hardly
    /// notice it.
    pub fn at_full_speed(mut self) -> Self {
        self.at_full_speed = true;
        self
    }

    /// Calls this behind each page, on the backup's thread.
    pub fn on_progress(mut self, tell: impl Fn(BackupProgress) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Box::new(tell));
        self
    }
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup")
            .field("target", &self.target)
            .field("file_bytes", &self.file_bytes)
            .field("at_full_speed", &self.at_full_speed)
            .finish_non_exhaustive()
    }
}

impl IntoFuture for Backup {
    type Output = Result<BackedUp, BackupError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let stop = StopOnDrop::default();
            let (answer, answered) = oneshot::channel();
            let (failed, stopped) = (BackupError::io(&self.target), stop.0.clone());
            let work = move || {
                // The log may be of a driver of the application.
                let done = user_code::call(|| Work::begin(self, stopped)?.run());
                let _gone = answer.send(done.unwrap_or_else(|_| Err(panicked())));
            };
            let thread = thread::Builder::new().name("seriatim-backup".to_owned());
            thread.spawn(work).map_err(failed)?;
            answered.await.unwrap_or_else(|_| Err(panicked()))
        })
    }
}

fn panicked() -> BackupError {
    BackupError::Read(DriverError::failed("the driver panicked").into())
}

#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

struct Work {
    options: Backup,
    target: Target,
    stop: Arc<AtomicBool>,
    added: u64,
}

impl Work {
    /// Holds the target, and refuses that of another store.
    fn begin(options: Backup, stop: Arc<AtomicBool>) -> Result<Self, BackupError> {
        // Before the directory is made.
        if let Err(ReadError::NoLog(no_log)) = log_of(&options.mailroom) {
            return Err(no_log.into());
        }
        let target = Target::open(&options.target)?;
        let work = Work { options, target, stop, added: 0 };
        let manifest = &work.target.manifest;
        work.compare(Position::new(1), manifest.first_event)?;
        work.compare(manifest.last(), manifest.last_event)?;
        Ok(work)
    }

    /// Refuses the target unless the store has this event at this position.
    fn compare(&self, position: Position, wanted: Option<Digest>) -> Result<(), BackupError> {
        let Some(Digest(wanted)) = wanted else { return Ok(()) };
        let found = self.page(position, position)?;
        match found.first().is_some_and(|event| digest(event) == wanted) {
            true => Ok(()),
            false => {
                Err(BackupError::OtherStore { target: self.target.path().to_owned(), position })
            }
        }
    }

    fn run(mut self) -> Result<BackedUp, BackupError> {
        let end = last_position(&self.options.mailroom)?;
        while self.target.manifest.last() < end {
            self.add_file(end)?;
        }
        while self.merge_last_two()? {}
        if self.target.manifest.files.is_empty() {
            self.target.replace_manifest(Manifest::default())?;
        }
        self.target.remove_leftovers()?;
        let contents = BackupContents::of(&self.target.manifest);
        Ok(BackedUp { added: self.added, contents })
    }

    /// Adds one file behind the manifest's last, and a manifest with it.
    fn add_file(&mut self, end: Position) -> Result<(), BackupError> {
        let mut manifest = self.target.manifest.clone();
        let first = manifest.last().plus(1);
        let total = end.get().saturating_sub(first.previous().get()) + self.added;
        let mut writer = self.target.begin_file()?;
        let (mut block, mut bytes) = (BlockBuilder::default(), Vec::new());
        let mut last: Option<KeyedEvent> = None;
        'file: loop {
            let began = Instant::now();
            let next =
                last.as_ref().map_or(first, |last| last.position.unwrap_or_default().plus(1));
            for event in self.page(next, end)? {
                let position = event.position.unwrap_or_default();
                let is_full = writer.bytes() + block.bytes() >= self.options.file_bytes;
                if is_full && last.as_ref().is_some_and(|last| !is_same_append(last, &event)) {
                    break 'file;
                }
                let event_digest = Digest(block.push(position, &event));
                manifest.first_event.get_or_insert(event_digest);
                manifest.last_event = Some(event_digest);
                last = Some(event);
                if block.is_full() {
                    write_block(&mut block, &mut bytes, &mut writer)?;
                }
            }
            let done = last.as_ref().and_then(|last| last.position).unwrap_or_default();
            tell(&self.options.on_progress, self.added + done.plus(1).get() - first.get(), total);
            if done >= end {
                break;
            }
            self.pause(began.elapsed())?;
        }
        write_block(&mut block, &mut bytes, &mut writer)?;
        let Some(last) = last else { return Ok(()) };
        let positions = (first, last.position.unwrap_or_default());
        manifest.files.push(self.target.finish_file(writer, positions, last.recorded_at)?);
        self.target.replace_manifest(manifest)?;
        self.added += positions.1.plus(1).get() - first.get();
        Ok(())
    }

    /// The events from `first` to `last`, as many as come at once; at least one.
    fn page(&self, first: Position, last: Position) -> Result<Vec<KeyedEvent>, BackupError> {
        let limit = (last.plus(1).get() - first.get()).min(PAGE_EVENTS) as usize;
        let fetch = LogFetch::ALL.from(first).limit(limit);
        let page = log_of(&self.options.mailroom)?.log_page_now(fetch);
        let events = page.map_err(ReadError::from_driver)?.events;
        let positions = events.iter().map(|event| event.position.unwrap_or_default().get());
        if !events.is_empty() && positions.eq(first.get()..first.get() + events.len() as u64) {
            return Ok(events);
        }
        if last_position(&self.options.mailroom)? < first {
            let target = self.target.path().to_owned();
            return Err(BackupError::OtherStore { target, position: first });
        }
        let message = format!("the log has no event at position {first}, or others behind it");
        Err(ReadError::from_driver(DriverError::damaged(message)).into())
    }

    /// Makes one file of the last two where both are small. False where they stay.
    fn merge_last_two(&mut self) -> Result<bool, BackupError> {
        let mut manifest = self.target.manifest.clone();
        let [.., a, b] = manifest.files[..] else { return Ok(false) };
        if a.bytes + b.bytes > self.options.file_bytes || a.bytes > 2 * b.bytes {
            return Ok(false);
        }
        let mut writer = self.target.begin_file()?;
        for file in [a, b] {
            let mut reader = FileReader::open(self.target.path(), file)?;
            let mut began = Instant::now();
            while let Some(block) = reader.next_block()? {
                writer.write(&block.header)?;
                writer.write(&block.body)?;
                self.pause(began.elapsed())?;
                began = Instant::now();
            }
        }
        let merged = self.target.finish_file(writer, (a.first, b.last), b.last_recorded_at)?;
        manifest.files.truncate(manifest.files.len() - 2);
        manifest.files.push(merged);
        self.target.replace_manifest(manifest)?;
        Ok(true)
    }

    /// Leaves the machine to others, in proportion to the work that was done.
    fn pause(&self, work: Duration) -> Result<(), BackupError> {
        let mut left = match self.options.at_full_speed {
            true => Duration::ZERO,
            false => work * PAUSE_PER_WORK,
        };
        loop {
            if self.stop.load(Ordering::Acquire) {
                // Nobody hears it any more.
                return Err(ReadError::Closed.into());
            }
            if left.is_zero() {
                return Ok(());
            }
            let step = left.min(LONGEST_PAUSE);
            thread::sleep(step);
            left -= step;
        }
    }
}

fn write_block(
    block: &mut BlockBuilder,
    bytes: &mut Vec<u8>,
    writer: &mut FileWriter,
) -> Result<(), BackupError> {
    bytes.clear();
    block.finish(bytes);
    writer.write(bytes)
}
