//! Searches the interleavings of the mailroom's threads for one that breaks what must stay true.
//!
//! The mailroom's own code runs: doors, lines, registry, slots, and the actors, each as a thread of
//! the model checker. `harness` has the driver, which answers puts from a thread of its own and
//! checks that each aggregate has one in flight, and the checks at the end of each run. No lock, no
//! atomic and no wake-up is left out; clocks stand still, so no deadline passes.
//!
//! Each search prints its seed. `SERIATIM_MODEL_SEED` repeats one, `SERIATIM_MODEL_SECONDS` sets
//! how long each model searches. A failure prints the schedule, with which shuttle replays it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod appends;
mod closing;
mod commands;
mod conflicts;
mod harness;
mod passivation;
