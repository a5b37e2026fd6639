//! The suite that proves a driver.
//!
//! The author of a driver writes a [`Harness`], which opens the driver on data that stays between
//! two openings, and runs [`run`] under tokio. Every check has a name and a line of its own in the
//! [`Report`]. What a driver cannot do by nature (list keys, see a gap) is reported as skipped,
//! with the reason, and never as passed.
//!
//! ```
//! use std::sync::Arc;
//! use seriatim::testing::conformance::{Harness, async_trait, run};
//! use seriatim::driver::memory::MemoryDriver;
//! use seriatim::driver::{Driver, DriverError};
//!
//! struct Memory(MemoryDriver);
//!
//! #[async_trait]
//! impl Harness for Memory {
//!     async fn open(&self) -> Result<Arc<dyn Driver>, DriverError> {
//!         Ok(Arc::new(self.0.reopen()))
//!     }
//! }
//!
//! # #[tokio::main] async fn main() {
//! let report = run(&Memory(MemoryDriver::new())).await;
//! assert!(report.is_conformant(), "{report}");
//! # }
//! ```
//!
//! # Layout
//!
//! - `basics`: start, stop, write, read
//! - `writing`: conflicts, races, all or nothing, gaps
//! - `reading`: order, pages, keys
//! - `payloads`: what must come back byte for byte, and limits
//! - `log`: the log, its bell and checkpoints, where the driver has them
//! - `faulted`: the driver under a store, with injected faults

mod basics;
mod faulted;
mod harness;
mod log;
mod payloads;
mod reading;
mod support;
mod writing;

use std::pin::Pin;

pub use async_trait::async_trait;
pub use harness::{CheckOutcome, Harness, Report};

use harness::Checked;
use support::Bench;

type Checking<'a> = Pin<Box<dyn Future<Output = Checked> + Send + 'a>>;
type Check = (&'static str, for<'a> fn(&'a Bench<'a>) -> Checking<'a>);

/// Names each check after its function.
macro_rules! checks {
    ($($module:ident: $($name:ident),+;)+) => {
        const CHECKS: &[Check] =
            &[$($((stringify!($name), |bench| Box::pin($module::$name(bench)))),+),+];
    };
}

checks! {
    basics: starts_and_stops, writes_and_reads, appends_and_reads_250_rounds, reopens_and_reads,
        is_closed_after_close, knows_the_latest_sequence;
    writing: stale_put_conflicts, put_past_the_end_is_refused, one_of_two_racing_puts_wins,
        put_is_all_or_nothing, put_sent_twice_is_written_once, keys_do_not_share_sequences;
    reading: ten_thousand_events_in_order, pages_follow_one_another, odd_keys_are_kept_apart,
        keys_are_listed_by_prefix;
    payloads: json_comes_back_byte_for_byte, everything_about_an_event_comes_back,
        limits_hold_to_the_byte;
    log: the_log_is_dense_and_in_commit_order, the_bell_is_rung_when_events_can_be_read,
        checkpoints_are_kept_and_take_no_position;
    faulted: stale_append_conflicts, append_past_the_end_is_refused, one_of_two_racing_appends_wins,
        lost_answer_is_found_out, late_write_is_not_doubled, failure_before_the_write_is_told,
        slow_put_is_awaited, hanging_put_is_given_up, unreadable_page_ends_the_read;
}

/// The names of all checks, in the order in which [`run`] makes them.
pub fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, _)| *name)
}

/// Makes all checks, one after another. Those of the log are left out where the driver has none.
pub async fn run(harness: &dyn Harness) -> Report {
    let mut report = Report::default();
    for (name, _) in CHECKS {
        report.checks.extend(run_one(harness, name).await.checks);
    }
    report
}

/// Makes the check of this name; the report is empty where there is none.
pub async fn run_one(harness: &dyn Harness, name: &str) -> Report {
    let mut report = Report::default();
    for (found, check) in CHECKS.iter().filter(|(found, _)| *found == name) {
        let bench = Bench::new(harness, found);
        let outcome = check(&bench).await.unwrap_or_else(CheckOutcome::Failed);
        if outcome != CheckOutcome::Skipped(log::NO_LOG) {
            report.checks.push((found, outcome));
        }
    }
    report
}
