//! Why somebody who waits for a consumer gives up.

use std::time::Duration;

use crate::event::Position;

/// Why a consumer was not seen to reach a position.
///
/// ```
/// use std::time::Duration;
/// use seriatim::subscription::WaitError;
/// use seriatim::{EventStore, KeyedEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let run = store.consumer("mailer").run(|event: KeyedEvent| async move {
///     println!("a mail about {}", event.key);
///     Ok::<_, std::io::Error>(())
/// });
/// let mailer = run.handle();
/// tokio::spawn(run);
/// let waited = mailer.wait_for(7, Duration::from_millis(1)).await;
/// assert!(matches!(waited, Err(WaitError::Timeout { .. }))); // there are no seven events
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// It did not reach the position within the deadline.
    #[error("{name:?} is at position {reached}, and did not reach {wanted} within {deadline:?}")]
    Timeout {
        /// The consumer.
        name: String,
        /// Its position.
        reached: Position,
        /// The position waited for.
        wanted: Position,
        /// The deadline.
        deadline: Duration,
    },
    /// It ended before it reached the position.
    #[error("{name:?} ended at position {reached}, before {wanted}")]
    Ended {
        /// The consumer.
        name: String,
        /// Its last position.
        reached: Position,
        /// The position waited for.
        wanted: Position,
    },
}
