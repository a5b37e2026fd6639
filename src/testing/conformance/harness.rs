//! What the author of a driver brings, and what the suite reports.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::driver::{Driver, DriverError};

/// Opens the driver under test.
#[async_trait]
pub trait Harness: Send + Sync {
    /// The driver, on the same data every time. The suite closes what it opened before it opens
    /// again.
    async fn open(&self) -> Result<Arc<dyn Driver>, DriverError>;

    /// Whether [`Driver::keys`] lists keys.
    fn lists_keys(&self) -> bool {
        true
    }

    /// Whether [`Driver::keys`] lists keys in ascending byte order, not in an order of the
    /// engine's.
    fn keys_in_byte_order(&self) -> bool {
        true
    }

    /// The time for one sending of a put in the checks with injected faults: short enough for a
    /// test, long enough for a driver that does its work. Provided: 400 ms.
    fn put_attempt(&self) -> Duration {
        Duration::from_millis(400)
    }

    /// Whether a put that would leave a gap is refused.
    fn refuses_gaps(&self) -> bool {
        true
    }
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckOutcome {
    /// The driver does what it must.
    Passed,
    /// The driver does not claim to; the reason.
    Skipped(&'static str),
    /// It does not; what was seen.
    Failed(String),
}

/// What came of each check, in order.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Name and outcome.
    pub checks: Vec<(&'static str, CheckOutcome)>,
}

impl Report {
    /// Whether no check failed.
    pub fn is_conformant(&self) -> bool {
        self.failed().next().is_none()
    }

    /// The checks that failed, and what was seen.
    pub fn failed(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.checks.iter().filter_map(|(name, outcome)| match outcome {
            CheckOutcome::Failed(seen) => Some((*name, seen.as_str())),
            _ => None,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, outcome) in &self.checks {
            match outcome {
                CheckOutcome::Passed => writeln!(f, "passed   {name}")?,
                CheckOutcome::Skipped(reason) => writeln!(f, "skipped  {name}: {reason}")?,
                CheckOutcome::Failed(seen) => writeln!(f, "FAILED   {name}: {seen}")?,
            }
        }
        Ok(())
    }
}

/// What a check answers: skipped with a reason, or seen to be right.
pub(super) type Checked = Result<CheckOutcome, String>;
