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
    deadline: Duration,
    /// For one attempt.
    attempt: Duration,
}

impl RetryPolicy {
    /// How long an operation may be tried, unless told.
    pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

    /// The policy with these options of a builder.
    ///
    /// # Errors
    ///
    /// [`DriverError::Failed`] where one is zero.
    pub(crate) fn new(
        timeout: Option<Duration>,
        attempt_timeout: Option<Duration>,
    ) -> Result<Self, DriverError> {
        let deadline = timeout.unwrap_or(Self::DEFAULT_TIMEOUT);
        let attempt = attempt_timeout.unwrap_or(deadline).min(deadline);
        if attempt.is_zero() {
            return Err(DriverError::failed(
                "timeout_ms and attempt_timeout_ms must be greater than zero",
            ));
        }
        Ok(RetryPolicy { deadline, attempt })
    }

    /// From the first attempt to the last answer.
    pub(crate) fn deadline(self) -> Duration {
        self.deadline
    }

    /// How long a client may look for a server, or for a connection to it, within one attempt. It
    /// ends well before the attempt does: an attempt that is cut while it connects could not be
    /// told from one whose request was sent.
    pub(crate) fn connect_timeout(self) -> Duration {
        self.attempt / 4
    }

    /// An attempt that begins with less time than this could be cut while it connects.
    fn least_time(self) -> Duration {
        self.connect_timeout() + self.attempt / 20
    }

    /// Runs `attempt` until it answers anything but [`DriverError::Unavailable`], or the deadline
    /// has passed. Pauses between two attempts double and are jittered, so that writers that were
    /// throttled together do not come back together. A put is not tried again without time to
    /// [connect](Self::connect_timeout), because the attempt would end as unknown though nothing
    /// was sent.
    ///
    /// `late` is the error of an attempt that took too long: [`DriverError::unknown`] for a put,
    /// because its request may be with the engine, [`DriverError::unavailable`] for a read, which
    /// is tried again.
    pub(crate) async fn run<T, A, R>(
        self,
        late: impl Fn() -> DriverError,
        attempt: A,
    ) -> Result<T, DriverError>
    where
        A: FnMut() -> R,
        R: Future<Output = Result<T, DriverError>>,
    {
        self.run_until(Instant::now() + self.deadline, late, attempt).await
    }

    /// The same with a deadline that began earlier.
    pub(crate) async fn run_until<T, A, R>(
        self,
        deadline: Instant,
        late: impl Fn() -> DriverError,
        mut attempt: A,
    ) -> Result<T, DriverError>
    where
        A: FnMut() -> R,
        R: Future<Output = Result<T, DriverError>>,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            let attempt_ends = deadline.min(Instant::now() + self.attempt);
            let answer = timeout_at(attempt_ends, attempt()).await;
            let unavailable = match answer.unwrap_or_else(|_elapsed| Err(late())) {
                Err(error @ DriverError::Unavailable { .. }) => error,
                answer => return answer,
            };
            let jittered = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            let is_open_when_late = late().may_have_been_written();
            let least = if is_open_when_late { self.least_time() } else { Duration::ZERO };
            if Instant::now() + jittered + least >= deadline {
                return Err(unavailable);
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

    const RETRY: RetryPolicy =
        RetryPolicy { deadline: Duration::from_secs(5), attempt: Duration::from_secs(2) };

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
    async fn an_attempt_that_connects_for_as_long_as_it_may_is_never_late() {
        let policy = RetryPolicy::new(None, None).unwrap();
        for first in [0, 1_000, 3_000, 3_600, 4_999] {
            let tries = Cell::new(0);
            let answer: Result<(), _> = policy
                .run(late, || async {
                    let refused_first = tries.replace(tries.get() + 1) == 0 && first > 0;
                    let wait = Duration::from_millis(first);
                    sleep(if refused_first { wait } else { policy.connect_timeout() }).await;
                    Err(DriverError::unavailable("no connection"))
                })
                .await;
            let error = answer.unwrap_err();
            assert!(!error.may_have_been_written(), "{first}: {error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_under_way_at_the_deadline_is_late() {
        let answer: Result<(), _> = RETRY.run(late, std::future::pending).await;
        assert!(answer.unwrap_err().may_have_been_written());
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_hangs_is_asked_again_after_the_attempts_timeout() {
        let (tries, began) = (Cell::new(0), Instant::now());
        let answer = RETRY
            .run(
                || DriverError::unavailable("late"),
                || async {
                    tries.set(tries.get() + 1);
                    if tries.get() < 3 { std::future::pending().await } else { Ok(7) }
                },
            )
            .await;
        assert_eq!((answer.unwrap(), tries.get()), (7, 3));
        assert!(began.elapsed() < RETRY.deadline);
    }

    #[test]
    fn a_timeout_of_zero_is_refused() {
        for (timeout, attempt) in [(Some(0), None), (None, Some(0))] {
            let of = |ms: Option<u64>| ms.map(Duration::from_millis);
            assert!(RetryPolicy::new(of(timeout), of(attempt)).is_err());
        }
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
