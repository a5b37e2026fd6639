//! The options of a consumer.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{AggregateKey, Position, Sequence};

/// What happens to an event that failed as often as it may.
///
/// ```
/// use std::time::Duration;
/// use seriatim::EventStore;
/// use seriatim::subscription::OnFailure;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let mailer = store
///     .consumer("mailer")
///     .retry(3, Duration::from_millis(100), Duration::from_secs(10))
///     .on_failure(OnFailure::Park);
/// # drop(mailer);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFailure {
    /// The consumer ends with [`ConsumerError::Failed`](super::ConsumerError::Failed). Its
    /// checkpoint stays before the event. The default.
    #[default]
    Stop,
    /// The event is parked, and so is every later event of its aggregate, so that they stay in
    /// order. The consumer continues with the other aggregates. See
    /// [`ConsumerHandle::retry_parked`](super::ConsumerHandle::retry_parked).
    Park,
}

impl OnFailure {
    pub(super) fn action(self) -> ErrorAction {
        match self {
            OnFailure::Stop => ErrorAction::Stop,
            OnFailure::Park => ErrorAction::Park,
        }
    }
}

/// What to do about one failed attempt, for [`Consumer::on_error`](super::Consumer::on_error).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorAction {
    /// Retry as often as [`Consumer::retry`](super::Consumer::retry) allows, then do what
    /// [`OnFailure`] says. The default.
    #[default]
    Policy,
    /// Retry after a pause, without a limit: for an outage, which every event would meet.
    Retry,
    /// Park the event's aggregate now.
    Park,
    /// End the consumer now.
    Stop,
    /// Skip the event. It counts as handled.
    Skip,
}

/// A failed attempt to handle an event.
///
/// ```
/// use seriatim::EventStore;
/// use seriatim::subscription::ErrorAction;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let mailer = store.consumer("mailer").on_error(|failed| {
///     eprintln!("{} at {}: {}", failed.key, failed.position, failed.reason);
///     match failed.attempt {
///         1..=3 => ErrorAction::Retry,
///         _ => ErrorAction::Park,
///     }
/// });
/// # drop(mailer);
/// # Ok(()) }
/// ```
#[non_exhaustive]
pub struct FailedEvent<'a> {
    /// The aggregate of the event, or of the first event of a batch.
    pub key: &'a AggregateKey,
    /// The event's sequence.
    pub sequence: Sequence,
    /// The event's position.
    pub position: Position,
    /// The number of this attempt, from 1 on.
    pub attempt: u32,
    /// The error, as text.
    pub reason: &'a str,
    pub(super) error: Option<&'a dyn Any>,
}

impl FailedEvent<'_> {
    /// The handler's error, if it is of this type. An event that no upcaster can read fails with
    /// [`ReadError`](crate::ReadError). A panic has no error.
    pub fn error<E: 'static>(&self) -> Option<&E> {
        self.error?.downcast_ref()
    }
}

impl fmt::Debug for FailedEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailedEvent")
            .field("key", &self.key)
            .field("sequence", &self.sequence)
            .field("position", &self.position)
            .field("attempt", &self.attempt)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

pub(super) type ErrorHook = Arc<dyn Fn(&FailedEvent<'_>) -> ErrorAction + Send + Sync>;

/// Where a consumer without a checkpoint begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    At(Position),
    End,
}

/// How a consumer handles events, fails and saves its checkpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConsumerOptions {
    pub(super) batch: usize,
    /// How many events are handled at once.
    pub(super) concurrency: usize,
    pub(super) checkpoint_every: usize,
    pub(super) checkpoint_interval: Duration,
    pub(super) attempts: u32,
    pub(super) pause: Duration,
    pub(super) longest_pause: Duration,
    pub(super) on_failure: OnFailure,
    pub(super) max_parked: usize,
    pub(super) rebuild: bool,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        ConsumerOptions {
            batch: 256,
            concurrency: 1,
            checkpoint_every: 1_000,
            checkpoint_interval: Duration::from_secs(1),
            attempts: 5,
            pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(5),
            on_failure: OnFailure::Stop,
            max_parked: 1_000,
            rebuild: false,
        }
    }
}
