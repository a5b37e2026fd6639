//! Trying again what surely was not done and may succeed later.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::error::DriverError;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long an operation may be tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryPolicy {
    /// From the first attempt to the last answer.
    pub(crate) deadline: Duration,
}

impl RetryPolicy {
    /// Runs `attempt` until it answers anything but [`DriverError::Unavailable`], or the deadline
    /// has passed; pauses between two attempts double and are jittered, so that writers that were
    /// throttled together do not come back together.
    ///
    /// `late` is the error of an attempt still under way at the deadline: [`DriverError::unknown`]
    /// for a put, because its request may be with the engine, [`DriverError::unavailable`] for a
    /// read.
    pub(crate) async fn run<T, A, R>(
        self,
        late: impl FnOnce() -> DriverError,
        mut attempt: A,
    ) -> Result<T, DriverError>
    where
        A: FnMut() -> R,
        R: Future<Output = Result<T, DriverError>>,
    {
        let deadline = Instant::now() + self.deadline;
        let mut pause = FIRST_PAUSE;
        loop {
            let refusal = match timeout_at(deadline, attempt()).await {
                Err(_elapsed) => return Err(late()),
                Ok(Err(error @ DriverError::Unavailable { .. })) => error,
                Ok(answer) => return answer,
            };
            let jittered = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            if Instant::now() + jittered >= deadline {
                return Err(refusal);
            }
            sleep(jittered).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const RETRY: RetryPolicy = RetryPolicy { deadline: Duration::from_secs(5) };

    fn late() -> DriverError {
        DriverError::unknown("late")
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_throttled_is_tried_until_it_succeeds() {
        let tries = Cell::new(0);
        let answer = RETRY
            .run(late, || async {
                tries.set(tries.get() + 1);
                if tries.get() < 4 { Err(DriverError::unavailable("throttled")) } else { Ok(7) }
            })
            .await;
        assert_eq!((answer.unwrap(), tries.get()), (7, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_it_with_the_last_refusal() {
        let began = Instant::now();
        let answer: Result<(), _> =
            RETRY.run(late, || async { Err(DriverError::unavailable("throttled")) }).await;
        assert_eq!(answer.unwrap_err().to_string(), "throttled");
        assert!(began.elapsed() <= RETRY.deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_under_way_at_the_deadline_is_late() {
        let answer: Result<(), _> = RETRY.run(late, std::future::pending).await;
        assert!(answer.unwrap_err().may_have_been_written());
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_been_written_is_not_tried_again() {
        let tries = Cell::new(0);
        let answer: Result<(), _> = RETRY
            .run(late, || async {
                tries.set(tries.get() + 1);
                Err(DriverError::unknown("no answer"))
            })
            .await;
        assert!(answer.unwrap_err().may_have_been_written());
        assert_eq!(tries.get(), 1);
    }
}
