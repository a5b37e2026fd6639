//! The pauses between attempts.

use std::time::Duration;

/// Pauses that double up to a bound, each shortened at random by up to a half, so that those who
/// wait for the same thing do not come back together.
pub(super) struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Pauses::new(Duration::from_millis(2), Duration::from_millis(250))
    }
}

impl Pauses {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Pauses { next: first, longest }
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.longest);
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}
