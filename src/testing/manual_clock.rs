//! A clock that a test moves.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// A clock that stands still until a test moves it, for [`Builder::clock`](crate::Builder::clock).
/// Clones are the same clock. It stamps events and is the time of decisions; deadlines and pauses
/// do not go by it.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use seriatim::testing::ManualClock;
/// use seriatim::{Append, EventStore, NewEvent, Timestamp};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = ManualClock::at(SystemTime::UNIX_EPOCH);
/// let store = EventStore::builder().url("memory:").clock(clock.reader()).open().await?;
/// clock.advance(Duration::from_secs(60));
/// store.append(Append::to("light/1").event(NewEvent::raw("SwitchedOn", "{}"))).await?;
///
/// let event = store.read("light/1").collect().await?.remove(0);
/// assert_eq!(event.recorded_at, Timestamp::from_micros(60_000_000));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<SystemTime>>);

impl ManualClock {
    /// A clock that shows this time.
    pub fn at(time: impl Into<SystemTime>) -> Self {
        ManualClock(Arc::new(Mutex::new(time.into())))
    }

    /// The time that it shows.
    pub fn now(&self) -> SystemTime {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows this time, which may be earlier.
    pub fn set(&self, time: impl Into<SystemTime>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = time.into();
    }

    /// Shows a time that is later by `span`. Without effect where the platform has no such time.
    pub fn advance(&self, span: Duration) {
        let mut time = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *time = time.checked_add(span).unwrap_or(*time);
    }

    /// What [`Builder::clock`](crate::Builder::clock) takes.
    pub fn reader(&self) -> impl Fn() -> SystemTime + Send + Sync + use<> + 'static {
        let clock = self.clone();
        move || clock.now()
    }
}
