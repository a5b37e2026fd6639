//! Calls of a driver with a deadline and a guard against panics.
//!
//! A driver is foreign code: it may hang, and it may panic. Every call that the store awaits goes
//! through [`bounded`], so that both become an answer.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

use super::DriverError;

/// Why a call of a driver has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The driver panicked.
    Panicked,
    /// The driver did not answer within this time.
    TimedOut(Duration),
}

impl NoAnswer {
    /// As the failure of a read.
    pub(crate) fn to_read(self) -> DriverError {
        match self {
            NoAnswer::Panicked => DriverError::failed("the driver panicked while reading"),
            NoAnswer::TimedOut(limit) => DriverError::unavailable(format!(
                "the driver did not answer a read within {limit:?}"
            )),
        }
    }

    /// As the failure of a put, which may have been written.
    pub(crate) fn to_put(self) -> DriverError {
        match self {
            NoAnswer::Panicked => DriverError::unknown("the driver panicked while putting"),
            NoAnswer::TimedOut(limit) => {
                DriverError::unknown(format!("the driver did not answer a put within {limit:?}"))
            }
        }
    }

    /// As the failure to close.
    pub(crate) fn to_close(self) -> DriverError {
        match self {
            NoAnswer::Panicked => DriverError::failed("the driver panicked while closing"),
            NoAnswer::TimedOut(limit) => {
                DriverError::unavailable(format!("the driver did not close within {limit:?}"))
            }
        }
    }
}

/// Awaits what `call` makes, for at most `limit`. A panic of `call` or of its future is caught.
///
/// # Errors
///
/// [`NoAnswer`], when the call panics or does not end in time.
pub(crate) async fn bounded<F: Future>(
    limit: Duration,
    call: impl FnOnce() -> F,
) -> Result<F::Output, NoAnswer> {
    let timed_out = |_elapsed| Err(NoAnswer::TimedOut(limit));
    tokio::time::timeout(limit, guarded(call)).await.unwrap_or_else(timed_out)
}

/// [`bounded`] without a deadline: for what bounds each of its calls itself.
///
/// # Errors
///
/// [`NoAnswer::Panicked`].
pub(crate) async fn guarded<F: Future>(call: impl FnOnce() -> F) -> Result<F::Output, NoAnswer> {
    let guarded = AssertUnwindSafe(async { call().await }).catch_unwind();
    guarded.await.map_err(|_panic| NoAnswer::Panicked)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_answer_a_panic_and_silence_are_told_apart() {
        assert_eq!(bounded(LIMIT, || ready(1)).await, Ok(1));
        let timed_out = bounded(LIMIT, pending::<()>).await;
        assert_eq!(timed_out, Err(NoAnswer::TimedOut(LIMIT)));
        let panics_late = bounded(LIMIT, || async { panic!("late") }).await;
        assert_eq!(panics_late, Err::<(), _>(NoAnswer::Panicked));
        let panics_at_once = || -> std::future::Ready<()> { panic!("at once") };
        assert_eq!(bounded(LIMIT, panics_at_once).await, Err(NoAnswer::Panicked));
    }

    #[test]
    fn a_put_without_an_answer_may_have_been_written() {
        for no_answer in [NoAnswer::Panicked, NoAnswer::TimedOut(LIMIT)] {
            assert!(no_answer.to_put().may_have_been_written());
            assert!(!no_answer.to_read().may_have_been_written());
        }
    }
}
