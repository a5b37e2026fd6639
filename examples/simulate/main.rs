//! Lets stores live and die on a simulated disk, history after history, and looks for a fault.
//!
//! ```text
//! cargo run --release --example simulate -- --seeds 1000
//! cargo run --release --example simulate -- --minutes 10
//! cargo run --release --example simulate -- --seed 17
//! ```
//!
//! A history is some lives of one store ([`history`]). In each, clients append, execute commands, read,
//! subscribe and consume; it ends by closing, by a kill, by a loss of power (at a write or flush, or at
//! any moment), or by a flush that fails and is reported once. What was not flushed is lost, torn at 512
//! bytes or 4 KiB, or reordered. Then the store is held against what its clients know
//! (`examples/witness`). At last one bit rots, in any file but
//! redb's: what is read is right, or an error.
//!
//! **What a seed decides:** the store's options, what the clients send and in which batches, how each life
//! ends and at which write, flush or batch, which unflushed writes survive in which sectors, and which bit
//! rots. **What it does not decide:** in which order the threads of the store and of its driver run, and
//! the clock. So a seed repeats the plan of a history, but not the history to the byte; a fault that
//! depends on a race comes again only after some tries (`--tries N` runs each seed N times).
//!
//! It ends with 0 if nothing was found, 1 if a history had a fault (its seed is printed), and 2 if it was
//! called wrongly.

#![allow(clippy::print_stderr, reason = "what went wrong is told on standard error")]
// The simulated disk belongs to the tests.
#![allow(unreachable_pub, clippy::unwrap_used)]

mod clients;
mod history;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/support/sim_disk.rs"]
mod sim_disk;
#[path = "../witness/mod.rs"]
mod witness;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use history::Totals;
use witness::{Fault, options_or_end};

const HELP: &str = "Usage: simulate [--seeds N] [--seed S] [--minutes M] [--tries T]

  --seeds N    how many histories; 100 unless told
  --seed S     the first seed; with it alone, the only one; random unless told
  --minutes M  fresh seeds for so long, instead of a number of them
  --tries T    how often each seed is run; once unless told";

struct Options {
    seeds: u64,
    first: u64,
    time: Option<Duration>,
    tries: u64,
}

/// `None` where only help was wanted.
fn read_options() -> Result<Option<Options>, Fault> {
    use lexopt::prelude::*;

    let (mut seeds, mut first, mut time, mut tries) = (None, None, None, 1);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("seeds") => seeds = Some(arguments.value()?.parse()?),
            Long("seed") => first = Some(arguments.value()?.parse()?),
            Long("minutes") => {
                let minutes: f64 = arguments.value()?.parse()?;
                time = Some(Duration::try_from_secs_f64(minutes * 60.0)?);
            }
            Long("tries") => tries = arguments.value()?.parse()?,
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(argument.unexpected().into()),
        }
    }
    let all = if first.is_some() { 1 } else { 100 };
    let seeds = if time.is_some() { u64::MAX } else { seeds.unwrap_or(all) };
    // Below 2^32, so that a seed can be read aloud.
    let first = first.unwrap_or_else(|| u64::from(fastrand::u32(..)));
    Ok(Some(Options { seeds, first, time, tries }))
}

fn main() -> ExitCode {
    let options = match options_or_end("simulate", HELP, read_options()) {
        Ok(options) => options,
        Err(end) => return end,
    };
    let _ = writeln!(io::stdout(), "The first seed is {}", options.first);
    let began = Instant::now();
    let mut told = Duration::ZERO;
    let mut totals = Totals::default();
    for seed in (options.first..).take(usize::try_from(options.seeds).unwrap_or(usize::MAX)) {
        if options.time.is_some_and(|time| began.elapsed() >= time) {
            break;
        }
        for _ in 0..options.tries {
            if let Err(fault) = history::run(seed, &mut totals) {
                eprintln!("simulate: seed {seed}: {fault}");
                eprintln!("cargo run --release --example simulate -- --seed {seed} --tries 20");
                return ExitCode::FAILURE;
            }
        }
        if began.elapsed() >= told + Duration::from_secs(10) {
            told = began.elapsed();
            let _ = writeln!(io::stdout(), "{totals}, {} s", told.as_secs());
        }
    }
    let _ = writeln!(io::stdout(), "{totals}, {} s", began.elapsed().as_secs());
    ExitCode::SUCCESS
}
