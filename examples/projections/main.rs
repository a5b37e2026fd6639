//! Two read models of a git repository's history: what each author did, and how each file changed.
//!
//! ```text
//! cargo run --release --example projections -- [REPOSITORY] [--directory DIR] [--kill-half-way]
//! ```
//!
//! The history goes into a store as in the example `git_history`, one event for each change of a file. While
//! it does, two projections fold the events into read models, each a redb file with its sums and the position
//! they count up to. At the end the models' sums are held against git's own counting.
//!
//! With `--kill-half-way` the program first runs itself as a process of its own, which dies in the middle of a
//! transaction of a read model, while events are still being appended. Then it goes on where that one was
//! stopped: nothing is missing, and nothing counts twice.
//!
//! It ends with 0 if all sums agree, and 1 if not.

#![allow(clippy::print_stderr, reason = "what went wrong is told on standard error")]
#![allow(dead_code, reason = "the modules of `git_history` can do more than is asked for here")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

#[path = "../git_history/answers.rs"]
mod answers;
#[path = "../git_history/check.rs"]
mod check;
#[path = "../git_history/git.rs"]
mod git;
#[path = "../git_history/history.rs"]
mod history;
#[path = "../git_history/import.rs"]
mod import;
#[path = "../git_history/log.rs"]
mod log;
mod model;
#[path = "../git_history/names.rs"]
mod names;

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use answers::Totals;
use git::Repository;
use history::{Changed, History};
use indicatif::ProgressBar;
use model::Model;
use seriatim::{AggregateKey, EventStore, KeyedEvent};

const HELP: &str = "\
Two read models of a git repository's history, held against git's own counting.

Usage: projections [REPOSITORY] [--directory DIR] [--kill-half-way]

  REPOSITORY        a git repository; unless given, the one this is run in
  --directory DIR   where the store and the read models are kept; unless given, a
                    temporary one
  --kill-half-way   runs itself first and dies half-way, then goes on from there
";

/// Appends that wait for the disk together.
const IMPORTERS: usize = 16;
/// Catching up after a crash takes no longer than counting again.
const DEADLINE: Duration = Duration::from_secs(600);

struct Options {
    repository: PathBuf,
    directory: Option<PathBuf>,
    kill_half_way: bool,
    /// What the process that is to die is told.
    die_at: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("projections: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does what the arguments say; whether all sums agree.
async fn run() -> Result<bool, Box<dyn Error>> {
    let Some(options) = read_options()? else { return Ok(true) };
    let mut temporary = None;
    let directory = match &options.directory {
        Some(directory) => directory.clone(),
        None => temporary.insert(tempfile::tempdir()?).path().to_owned(),
    };
    std::fs::create_dir_all(&directory)?;
    let repository = Repository::open(&options.repository)?;
    let history = Arc::new(History::new(log::read(&repository)?)?);
    let mut out = io::stdout();
    if options.die_at.is_none() {
        writeln!(out, "Repository  {}", repository.directory().display())?;
        let (changes, files) = (history.len(), history.files.len());
        writeln!(out, "History     {changes} changes of {files} files")?;
    }
    if options.kill_half_way {
        let ended = Command::new(std::env::current_exe()?)
            .arg(&options.repository)
            .arg("--directory")
            .arg(&directory)
            .arg(format!("--die-at={}", history.len() / 2 + 1))
            .status()?;
        let authors = Model::open(&directory.join("authors.redb"), by_author)?.counted_up_to()?;
        let files = Model::open(&directory.join("files.redb"), by_file)?.counted_up_to()?;
        writeln!(
            out,
            "Died        half-way ({ended}): authors counted up to {authors}, files to {files}"
        )?;
        if ended.success() {
            return Err("the process that was to die did not".into());
        }
    }
    let sound = count(&mut out, &repository, &history, &directory, options.die_at).await?;
    drop(temporary);
    Ok(sound)
}

/// Imports what the store does not have while both models follow; then compares.
async fn count(
    out: &mut impl Write,
    repository: &Repository,
    history: &Arc<History>,
    directory: &Path,
    die_at: Option<u64>,
) -> Result<bool, Box<dyn Error>> {
    let store = EventStore::open(format!("redb:{}", directory.join("store").display())).await?;
    let authors = Model::open(&directory.join("authors.redb"), by_author)?;
    let files = Model::open(&directory.join("files.redb"), by_file)?;
    let began = Instant::now();
    let counting_authors =
        store.consumer("authors").category("file").project(authors.clone().dies_at(die_at));
    let counting_files = store.consumer("files").category("file").project(files.clone());
    let handles = [counting_authors.handle(), counting_files.handle()];
    let running = [tokio::spawn(counting_authors), tokio::spawn(counting_files)];

    let survey = import::survey(&store, history).await?;
    let there = survey.events();
    let imported =
        import::import(&store, history, survey, IMPORTERS, &ProgressBar::hidden()).await?;
    let last = store.log()?.last_position()?;
    for handle in &handles {
        handle.wait_for(last, DEADLINE).await?;
        handle.stop();
    }
    for ended in running {
        ended.await??;
    }
    store.close().await?;
    let seconds = began.elapsed().as_secs_f64();
    writeln!(out, "Events      {there} were there already, {} are new", imported.written)?;
    writeln!(out, "            stored and counted twice over in {seconds:.2} s")?;

    let verdict = check::check(repository, history, &totals(&authors, &files)?, None)?;
    verdict.write(out)?;
    Ok(verdict.is_sound())
}

/// What the models say, in the form that is compared with git's sums.
fn totals(authors: &Model, files: &Model) -> Result<Totals, Box<dyn Error>> {
    let mut totals = Totals::default();
    for (author, sum) in authors.sums()? {
        totals.all.plus(&sum);
        totals.authors.insert(author, sum);
    }
    for (file, sum) in files.sums()? {
        totals.files.push((AggregateKey::new(&file)?, sum));
    }
    totals.commits.extend(files.commits()?);
    Ok(totals)
}

fn by_author(_: &KeyedEvent, changed: &Changed) -> String {
    format!("{} <{}>", changed.author, changed.email)
}

fn by_file(event: &KeyedEvent, _: &Changed) -> String {
    event.key.to_string()
}

/// `None` where only help was wanted.
fn read_options() -> Result<Option<Options>, Box<dyn Error>> {
    use lexopt::prelude::*;

    let mut options =
        Options { repository: ".".into(), directory: None, kill_half_way: false, die_at: None };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("directory") => options.directory = Some(arguments.value()?.into()),
            Long("kill-half-way") => options.kill_half_way = true,
            Long("die-at") => options.die_at = Some(arguments.value()?.parse()?),
            Long("help") | Short('h') => {
                io::stdout().write_all(HELP.as_bytes())?;
                return Ok(None);
            }
            Value(repository) => options.repository = repository.into(),
            _ => return Err(format!("{}\nTry --help.", argument.unexpected()).into()),
        }
    }
    Ok(Some(options))
}
