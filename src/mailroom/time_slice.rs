//! How long a task of the store keeps its thread.
//!
//! All aggregates of a thread wait for the task that runs on it. A task that goes through many
//! events without waiting for anything gives way by itself, after about half a millisecond.

use std::time::{Duration, Instant};

const LENGTH: Duration = Duration::from_micros(500);
/// The clock is read once in so many steps.
const STEPS: u32 = 16;

/// A task's turn on its thread.
pub(super) struct TimeSlice {
    began: Instant,
    steps: u32,
}

impl TimeSlice {
    pub(super) fn begin() -> Self {
        TimeSlice { began: Instant::now(), steps: 0 }
    }

    /// Called after each step of the work. Lets the other tasks of the thread run, if this one had
    /// its turn.
    pub(super) async fn give_way_if_over(&mut self) {
        self.steps += 1;
        if self.steps >= STEPS {
            self.steps = 0;
            self.give_way().await;
        }
    }

    async fn give_way(&mut self) {
        if self.began.elapsed() >= LENGTH {
            tokio::task::yield_now().await;
            self.began = Instant::now();
        }
    }
}
