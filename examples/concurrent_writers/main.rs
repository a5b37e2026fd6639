//! The load test: many writers at once, and afterwards the proof that nothing answered is missing.
//!
//! ```text
//! cargo run --release --example concurrent_writers -- --help
//! ```
//!
//! For each mode: `load` starts the writers (`writer`), whose loops are in `modes`. Each writer keeps what
//! it was told in a `ledger` of its own and what it measured in a `meter` of its own, so that writers
//! share nothing but the store (`target`). Then `verify` closes the store, opens it again and holds what
//! stands there against the ledgers (`check`). The `outcome` is told by `summary` and `report`; while all
//! of that goes on, `progress` shows it.
//!
//! It ends with 0 if everything answered was found in place, 1 if not, and 2 if it was called wrongly.

#![allow(clippy::print_stderr, reason = "what went wrong is told on standard error")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod check;
mod figures;
mod ledger;
mod load;
mod meter;
mod modes;
mod options;
mod outcome;
mod payload;
mod plot;
mod progress;
mod report;
mod summary;
mod tally;
mod target;
mod verify;
mod writer;

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use load::{Loaded, Plan};
use options::{Command, Options};
use outcome::Outcome;
use progress::Progress;
use seriatim::EventStore;
use target::Target;

/// Threads for all writers together. They mostly wait; more would take the cores from the store that
/// is measured.
const WRITER_THREADS: usize = 2;

const WRONG_CALL: u8 = 2;
/// As shells say of a program that was ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// What keeps a run from an outcome.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}\nTry --help.")]
    Store(#[from] seriatim::OpenError),
    #[error("--report {}: {error}\nTry --help.", path.display())]
    Report { path: PathBuf, error: io::Error },
    #[error("{0}\nTry --help.")]
    Call(#[from] options::WrongCall),
    #[error("{0}")]
    Load(#[from] load::LoadError),
    #[error("closing the store: {0}")]
    Close(#[from] seriatim::CloseError),
    #[error("{0}")]
    Key(#[from] seriatim::KeyError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Store(_) | Failure::Report { .. } | Failure::Call(_) => WRONG_CALL.into(),
            _ => ExitCode::FAILURE,
        }
    }
}

fn main() -> ExitCode {
    match called_with(std::env::args_os()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("concurrent_writers: {failure}");
            failure.exit_code()
        }
    }
}

/// Does what the arguments say; whether all that was answered was found in place.
fn called_with(arguments: impl Iterator<Item = OsString>) -> Result<bool, Failure> {
    let options = match options::parse(arguments)? {
        Command::Run(options) => options,
        Command::Help => {
            io::stdout().write_all(options::HELP.as_bytes())?;
            return Ok(true);
        }
    };
    if let Some(path) = &options.report {
        // A page that cannot be written is better known before all the writing than after it.
        let opened = OpenOptions::new().create(true).append(true).open(path);
        opened.map_err(|error| Failure::Report { path: path.clone(), error })?;
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(WRITER_THREADS).enable_all().build()?;
    let target = Target::choose(options.store.as_deref())?;
    let ran = runtime.block_on(run(&options, &target));
    let keep = !matches!(ran, Ok(true) | Err(Failure::Store(_)));
    if keep && let Some(directory) = target.keep() {
        eprintln!("The data is kept in {}", directory.display());
    }
    ran
}

/// Runs the modes one after another on one store, and tells their outcomes.
async fn run(options: &Options, target: &Target) -> Result<bool, Failure> {
    let mut store = Some(target.open().await?);
    let stop = stop_on_ctrl_c(target);
    let mut outcomes = Vec::new();
    for &mode in &options.modes {
        let Some(open) = store.take() else { break };
        if stop.load(Ordering::Relaxed) {
            store = Some(open);
            break;
        }
        let progress = Progress::new(mode);
        let plan = Arc::new(Plan::new(mode, options, fastrand::u32(..))?);
        let outcome;
        (outcome, store) = run_mode(plan, open, target, &stop, &progress).await?;
        progress.finish();
        if options.json {
            summary::write_line(&mut io::stdout(), &target.place(), &outcome)?;
        }
        outcomes.push(outcome);
    }
    if let Some(store) = store {
        store.close().await?;
    }

    if !options.json {
        summary::write_table(&mut io::stdout(), &target.name(), &outcomes)?;
    } else if !outcomes.iter().all(Outcome::is_sound) {
        summary::write_verdicts(&mut io::stderr(), &outcomes)?;
    }
    let skipped = options.modes.len() - outcomes.len();
    if skipped > 0 {
        eprintln!("Not run: {skipped} of {} modes.", options.modes.len());
    }
    if let Some(path) = &options.report {
        let page = report::page(&target.name(), &outcomes);
        fs::write(path, page).map_err(|error| Failure::Report { path: path.clone(), error })?;
        if !options.json {
            eprintln!("The report is in {}", path.display());
        }
    }
    Ok(outcomes.iter().all(Outcome::is_sound))
}

/// Writes, closes, opens again, reads; with the store opened again, if it could be.
async fn run_mode(
    plan: Arc<Plan>,
    store: EventStore,
    target: &Target,
    stop: &Arc<AtomicBool>,
    progress: &Progress,
) -> Result<(Outcome, Option<EventStore>), Failure> {
    let Loaded { measured, ledger, complaints } = load::run(&plan, &store, stop, progress).await?;
    let (findings, reopened) = match verify::reopen(target, store, progress).await {
        Ok(store) => (verify::read_whole(&plan, &store, &ledger, progress).await, Some(store)),
        Err(error) => (verify::unread(&plan, &ledger, &error), None),
    };
    Ok((Outcome { plan, measured, complaints, findings }, reopened))
}

/// The first Ctrl-C sets the flag; the second one ends the process, and leaves the data where it is.
fn stop_on_ctrl_c(target: &Target) -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let set = stop.clone();
    let left =
        target.outlasts_the_process().then(|| format!(" The store is left in {}", target.place()));
    let left = left.unwrap_or_default();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            set.store(true, Ordering::Relaxed);
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            eprintln!("\nEnded without verification.{left}");
            std::process::exit(INTERRUPTED);
        }
    });
    stop
}
