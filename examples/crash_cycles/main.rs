//! Kills a process that uses a store, again and again, and looks what is left.
//!
//! ```text
//! cargo run --release --example crash_cycles -- --cycles 100 [--seed S]
//! ```
//!
//! In each cycle a child process opens the store on the real disk. It appends, executes commands, reads,
//! and runs a consumer. It says on its standard output what it is about to send and what it was answered:
//! the witness, which this process keeps. At a random moment the child is killed with `SIGKILL`: while it
//! opens the store, works, or closes. What it had sent without an answer, the next child sends again under
//! the same commit id.
//!
//! Then this process opens the store ([`witness::check`]): nothing answered is lost, doubled, torn or moved; nothing
//! that was read is gone; nothing is there that nobody sent; positions and sequences are dense; the
//! checkpoint is not ahead of what was handled, and does not go back; the driver's `verify` finds all sound.
//!
//! The seed decides what the children send and how long they live. The machine decides how their threads
//! take turns, so that a seed does not repeat a run to the byte.
//!
//! It ends with 0 if all was sound, 1 if not (the directory is kept), and 2 if it was called wrongly.

#![allow(clippy::print_stderr, reason = "what went wrong is told on standard error")]

mod child;
mod kill;
#[path = "../witness/mod.rs"]
mod witness;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use seriatim::driver::redb::{RedbBuilder, RedbDriver};
use witness::{Fault, Witness, check, options_or_end};

/// Cycles on one directory, then a new one begins: each check reads all of it.
const CYCLES_PER_STORE: u64 = 25;

const HELP: &str = "Usage: crash_cycles [--cycles N] [--seed S] [--directory DIR]

  --cycles N       how many processes are killed; 100 unless told
  --seed S         what decides what they send and when they die; random unless told
  --directory DIR  where the stores are made; a temporary directory unless told";

/// The store's options in one life: small files, which are switched and applied all the time, or
/// those that a program gets by default.
fn options(random: &mut fastrand::Rng) -> RedbBuilder {
    match random.u8(..4) {
        0 => RedbDriver::builder(),
        1 => RedbDriver::builder().journal_file_bytes(1 << 20).tail_bytes(1 << 20),
        _ => RedbDriver::builder()
            .journal_file_bytes(RedbBuilder::MIN_JOURNAL_FILE_BYTES)
            .tail_bytes(32 << 10)
            .apply_after(Duration::from_millis(2)),
    }
}

struct Options {
    cycles: u64,
    seed: u64,
    directory: Option<PathBuf>,
    /// The store that a child is to work on.
    child: Option<PathBuf>,
    /// Whether it ends by closing it.
    closes: bool,
}

/// `None` where only help was wanted.
fn read_options() -> Result<Option<Options>, Fault> {
    use lexopt::prelude::*;

    let mut options = Options {
        cycles: 100,
        seed: fastrand::u64(..),
        directory: None,
        child: None,
        closes: false,
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("cycles") => options.cycles = arguments.value()?.parse()?,
            Long("seed") => options.seed = arguments.value()?.parse()?,
            Long("directory") => options.directory = Some(arguments.value()?.into()),
            Long("child") => options.child = Some(arguments.value()?.into()),
            Long("closes") => options.closes = true,
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok(Some(options))
}

fn main() -> ExitCode {
    let options = match options_or_end("crash_cycles", HELP, read_options()) {
        Ok(options) => options,
        Err(end) => return end,
    };
    let run = match &options.child {
        Some(directory) => child::run(directory, options.seed, options.closes),
        None => run(&options),
    };
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("crash_cycles: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Fault> {
    writeln!(io::stdout(), "SERIATIM_SEED={}", options.seed)?;
    let mut random = fastrand::Rng::with_seed(options.seed);
    let mut total = Totals::default();
    let began = Instant::now();
    let mut left = options.cycles;
    while left > 0 {
        let place = match &options.directory {
            Some(directory) => {
                std::fs::create_dir_all(directory)?;
                tempfile::tempdir_in(directory)?
            }
            None => tempfile::tempdir()?,
        };
        let cycles = left.min(CYCLES_PER_STORE);
        if let Err(fault) = one_store(place.path(), cycles, &mut random, &mut total) {
            let kept = place.keep();
            let cycle = total.cycles + 1;
            return Err(format!("cycle {cycle}: {fault}\nThe store: {}", kept.display()).into());
        }
        left -= cycles;
        let seconds = began.elapsed().as_secs();
        writeln!(io::stdout(), "{total}, {seconds} s")?;
    }
    Ok(())
}

/// Kills one process after another on one directory.
fn one_store(
    directory: &std::path::Path,
    cycles: u64,
    random: &mut fastrand::Rng,
    total: &mut Totals,
) -> Result<(), Fault> {
    let mut witness = Witness::default();
    for cycle in 1..=cycles {
        kill::one_life(directory, random, &mut witness)?;
        // Now and then the next process finds what no other has repaired.
        if cycle == cycles || random.u8(..3) > 0 {
            let driver = options(random).open(directory)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(check::check(driver, &mut witness))?;
        }
        total.cycles += 1;
    }
    total.add(&witness);
    Ok(())
}

#[derive(Default)]
struct Totals {
    cycles: u64,
    appends: u64,
    commands: u64,
    reads: u64,
    handled: u64,
    repeated: u64,
    unanswered: u64,
    found_unanswered: u64,
}

impl Totals {
    fn add(&mut self, witness: &Witness) {
        self.appends += witness.appends;
        self.commands += witness.commands;
        self.reads += witness.reads;
        self.handled += witness.handled_in_all;
        self.repeated += witness.repeated;
        self.unanswered += witness.unanswered;
        self.found_unanswered += witness.found_unanswered;
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Totals { cycles, appends, commands, reads, handled, repeated, .. } = self;
        write!(
            f,
            "{cycles} kills: {appends} appends and {commands} commands answered, {reads} reads, \
             {handled} events handled; {} calls unanswered ({} found written), {repeated} repeated",
            self.unanswered, self.found_unanswered
        )
    }
}
