//! Real input that nobody made up for this: a git repository's history, imported into a store.
//!
//! ```text
//! cargo run --release --example git_history -- [REPOSITORY] [--store URL]
//! ```
//!
//! `git` asks the repository; `log` reads its answer into commits; `history` puts them in an order that new
//! commits only add to, and gives each file (an aggregate, named by `names`) its part. `import` appends
//! what the store does not have. Then `answers` reads everything back from the store, and `check` holds the
//! sums against a second counting by git.
//!
//! A merge's own changes are not counted, as `git log` does not. Renames are a removal and a new file.
//! Binary files have changes, but no lines. Names are bytes: `names` says how they become keys. What a
//! `.gitattributes` says of a file is left aside, because it would change the counts of commits long past.
//!
//! It ends with 0 if all sums agree, 1 if not or if the history was rewritten since it was stored, and 2 if
//! there was nothing to work on.

#![allow(clippy::print_stderr, reason = "what went wrong is told on standard error")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod answers;
mod check;
mod git;
mod history;
mod import;
mod log;
mod names;
mod options;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use git::{GitError, Repository};
use history::{File, History};
use indicatif::ProgressBar;
use options::{Command, Options};
use seriatim::EventStore;

const NOTHING_TO_WORK_ON: u8 = 2;

/// What keeps a run from its answers.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}\nTry --help.")]
    Call(#[from] options::WrongCall),
    #[error("{0}")]
    Git(#[from] GitError),
    #[error("--file {0:?}: git's history has no such file")]
    NoSuchFile(OsString),
    #[error("{0}")]
    Open(#[from] seriatim::OpenError),
    #[error("{0}")]
    Key(#[from] seriatim::KeyError),
    #[error("{0}")]
    Import(#[from] import::ImportError),
    #[error("{0}")]
    Answer(#[from] answers::AnswerError),
    #[error("closing the store: {0}")]
    Close(#[from] seriatim::CloseError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Call(_) | Failure::Git(_) | Failure::NoSuchFile(_) | Failure::Open(_) => {
                NOTHING_TO_WORK_ON.into()
            }
            _ => ExitCode::FAILURE,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match called_with(std::env::args_os()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("git_history: {failure}");
            failure.exit_code()
        }
    }
}

/// Does what the arguments say; whether all sums agree.
async fn called_with(arguments: impl Iterator<Item = OsString>) -> Result<bool, Failure> {
    let options = match options::parse(arguments)? {
        Command::Run(options) => options,
        Command::Help => {
            io::stdout().write_all(options::HELP.as_bytes())?;
            return Ok(true);
        }
    };
    let repository = Repository::open(&options.repository)?;
    let history = Arc::new(History::new(log::read(&repository)?)?);
    let asked_for = match &options.file {
        None => None,
        Some(name) => {
            let file = history.files.iter().find(|file| is_called(file, name));
            Some(file.ok_or_else(|| Failure::NoSuchFile(name.clone()))?)
        }
    };
    write_source(&mut io::stdout(), &repository, &history)?;

    let mut temporary = None;
    let (url, note) = match options.store.clone() {
        Some(url) => (url, ""),
        None => {
            let directory = tempfile::Builder::new().prefix("seriatim-git-").tempdir()?;
            let url = format!("redb:{}", directory.path().display());
            temporary = Some(directory);
            (url, " (temporary, removed at the end)")
        }
    };
    writeln!(io::stdout(), "Store       {}{note}", without_secrets(&url))?;
    let store = EventStore::open(&url).await?;
    let answered = answer(&store, &repository, &history, &options, asked_for).await;
    let closed = store.close().await;
    let sound = answered?;
    closed?;
    drop(temporary);
    Ok(sound)
}

/// What may be shown of a store's URL: neither a user's name and password nor options, some of which are
/// keys.
fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let place = rest.split('?').next().unwrap_or(rest);
    format!("{scheme}://{}", place.rsplit('@').next().unwrap_or(place))
}

/// By its name as git has it, or as it is shown here.
fn is_called(file: &File, name: &OsString) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.strip_prefix(b"./").unwrap_or(bytes) == file.name
        || name.to_str() == Some(names::shown(&file.key))
}

fn write_source(
    out: &mut impl Write,
    repository: &Repository,
    history: &History,
) -> io::Result<()> {
    let bare = if repository.is_bare { " (bare)" } else { "" };
    writeln!(out, "Repository  {}{bare}", repository.directory().display())?;
    let (commits, merges) = (history.commits.len(), history.merges());
    writeln!(out, "History     {commits} commits up to {}", repository.head())?;
    if repository.is_shallow {
        writeln!(out, "            a shallow clone: it begins where the clone was cut off")?;
    }
    if merges > 0 {
        writeln!(out, "            {merges} are merges, whose own changes are not counted")?;
    }
    let unchanging = history.commits.iter().filter(|commit| commit.changes.is_empty()).count();
    if unchanging > merges {
        writeln!(out, "            {} others changed no file", unchanging - merges)?;
    }
    writeln!(out, "            {} changes of {} files", history.len(), history.files.len())
}

/// Imports, asks, and checks what it was told.
async fn answer(
    store: &EventStore,
    repository: &Repository,
    history: &Arc<History>,
    options: &Options,
    asked_for: Option<&File>,
) -> Result<bool, Failure> {
    let mut out = io::stdout();
    let survey = import::survey(store, history).await?;
    let there = survey.events();
    let began = Instant::now();
    let progress = ProgressBar::new((history.len() as u64).saturating_sub(there));
    let imported = import::import(store, history, survey, options.importers, &progress).await;
    progress.finish_and_clear();
    let imported = imported?;
    let (seconds, importers) = (began.elapsed().as_secs_f64(), options.importers);
    writeln!(out, "Events      {there} were there already, {} are new", imported.written)?;
    if imported.repeated > 0 {
        writeln!(out, "            {} were written by another run meanwhile", imported.repeated)?;
    }
    writeln!(out, "            {importers} importers, {seconds:.2} s")?;

    let totals = answers::total(store, history).await?;
    answers::write_busiest(&mut out, &totals)?;
    let shown = asked_for.map(|file| &file.key).or(totals.busiest());
    let mut counted = None;
    if let Some(key) = shown {
        let changes = answers::history_of(store, key).await?;
        answers::write_history(&mut out, key, &changes)?;
        counted = Some((key, changes.len()));
    }
    answers::write_authors(&mut out, &totals)?;
    let verdict = check::check(repository, history, &totals, counted)?;
    verdict.write(&mut out)?;
    Ok(verdict.is_sound())
}
