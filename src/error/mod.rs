//! One error enum per operation.
//!
//! Each has `is_conflict()` (decide again on fresh state) and `is_retryable()` (the same call may
//! succeed later). The documentation of a variant says what to do about it.

use std::time::Duration;

use uuid::Uuid;

mod driver;
mod read;
mod wait;

pub use driver::{DriverError, Limit, LimitExceeded};
pub use read::{LoadError, NoLog, ReadError};
pub use wait::WaitError;

use crate::append::Expected;
use crate::event::{AggregateKey, EventError, KeyError, Sequence};

/// Why a store could not be opened.
///
/// ```
/// use seriatim::{EventStore, OpenError};
///
/// # #[tokio::main] async fn main() {
/// match EventStore::open("reddb:./data").await {
///     Err(OpenError::UnknownScheme { known, .. }) => assert!(known.contains("redb:")),
///     _ => panic!("a misspelt URL was opened"),
/// }
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The part of the URL before the first `:` names no driver of this build. Check its spelling,
    /// and that the cargo feature of that driver is enabled.
    #[error("{url:?} names no driver of this build; known are: {known}")]
    UnknownScheme {
        /// The URL. Of an engine's URL only the scheme is kept, because the rest may hold secrets.
        url: String,
        /// The forms of URL this build knows.
        known: String,
    },
    /// Neither a URL nor a driver was given to the builder.
    #[error("the builder needs a URL or a driver")]
    NoDriver,
    /// The driver could not open what the URL names; the message says why.
    #[error("{url:?} could not be opened: {source}")]
    Driver {
        /// The URL. Of an engine's URL only the scheme is kept, because the rest may hold secrets.
        url: String,
        /// The driver's error.
        source: DriverError,
    },
    /// An option of the builder has a value that cannot work.
    #[error("the option {option} {problem}")]
    InvalidOption {
        /// The builder's method.
        option: &'static str,
        /// Why its value cannot work.
        problem: &'static str,
    },
    /// The door of `Builder::serve_local` (feature `door`) could not be opened; the message says
    /// why. The store is closed again.
    #[error("the store's door could not be opened: {0}")]
    Door(DriverError),
    /// Two upcasters take events of the same kind, type and version. Remove one of them.
    #[error("two upcasters for events of kind {kind:?}, type {event_type:?} and version {version}")]
    DuplicateUpcaster {
        /// The kind of the aggregates.
        kind: String,
        /// The type of the events.
        event_type: String,
        /// Their schema version.
        version: u16,
    },
    /// The store's own threads could not be started: the process has no threads or descriptors
    /// left.
    #[error("the store's threads could not be started: {message}")]
    Runtime {
        /// The operating system's error.
        message: String,
    },
}

/// Why an append failed.
///
/// Every variant but [`AppendError::Indeterminate`] means that nothing was written.
///
/// ```
/// use seriatim::{Append, AppendError, EventStore, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = EventStore::open("memory:").await?;
/// let stale = Append::to("light/1").expect(7).event(NewEvent::raw("Switched", "{}"));
/// match store.append(stale.clone()).await {
///     // Read what is new, decide again.
///     Err(AppendError::Conflict { actual, .. }) => assert_eq!(actual, 0),
///     // The same append under this id is written once.
///     Err(AppendError::Indeterminate { commit_id, .. }) => {
///         store.append(stale.commit_id(commit_id)).await?;
///     }
///     Err(error) if error.is_retryable() => { /* later */ }
///     answer => drop(answer?),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The aggregate's latest sequence is not the expected one. Read what is new, decide again, and
    /// append with the new expectation.
    #[error("{key}: expected {expected}, but the latest sequence is {actual}")]
    Conflict {
        /// The aggregate.
        key: AggregateKey,
        /// What the writer expected.
        expected: Expected,
        /// The latest sequence known. By now it may be a later one.
        actual: Sequence,
    },
    /// The key is not an aggregate key. Fix the key before retrying.
    #[error("invalid aggregate key: {0}")]
    InvalidKey(#[source] KeyError),
    /// The append has no event. Add an event.
    #[error("{key}: an append needs at least one event")]
    Empty {
        /// The aggregate.
        key: AggregateKey,
    },
    /// An event cannot be stored. Fix the event before retrying.
    #[error("{key}: event {index} of the append: {source}")]
    InvalidEvent {
        /// The aggregate.
        key: AggregateKey,
        /// Which of the append's events, counted from 0.
        index: usize,
        /// Why it cannot be stored.
        source: EventError,
    },
    /// The append is over a limit of the driver. Appends are never split: make it smaller.
    #[error("{key}: {exceeded}")]
    TooLarge {
        /// The aggregate.
        key: AggregateKey,
        /// Which limit, and by how much.
        exceeded: LimitExceeded,
    },
    /// The commit id was used for this aggregate before, with other content. Use a new id, and
    /// check how ids are made: this is not a repetition.
    #[error("{key}: commit id {commit_id} was used before with other content")]
    CommitIdReused {
        /// The aggregate.
        key: AggregateKey,
        /// The id.
        commit_id: Uuid,
    },
    /// It is not known whether the append was written: the driver did not answer before the
    /// deadline, and the write may still land. Repeat the append with this commit id: it is written
    /// once, or found to be written.
    #[error("{key}: it is not known whether commit {commit_id} was written: {cause}")]
    Indeterminate {
        /// The aggregate.
        key: AggregateKey,
        /// The append's commit id.
        commit_id: Uuid,
        /// The driver's last error.
        cause: DriverError,
    },
    /// A middleware, or the closure of [`append_with`](crate::EventStore::append_with), refused it
    /// and gave this reason.
    #[error("{key}: refused: {reason}")]
    Refused {
        /// The aggregate.
        key: AggregateKey,
        /// The reason.
        reason: String,
    },
    /// All permits of the aggregate, or of the whole store, are taken. Only
    /// [`try_append`](crate::EventStore::try_append) fails with this. Retry later, or use `append`,
    /// which waits.
    #[error("{key}: the mailbox is full")]
    Busy {
        /// The aggregate.
        key: AggregateKey,
    },
    /// The append waited in its mailbox behind unanswered puts until the deadline, and was not
    /// sent. Retry it.
    #[error("{key}: not sent within {deadline:?}")]
    Timeout {
        /// The aggregate.
        key: AggregateKey,
        /// The store's deadline for a put.
        deadline: Duration,
    },
    /// The aggregate's actor died before it sent the append. A new actor has taken its place: retry
    /// the append.
    #[error("{key}: the aggregate's actor died before the append was sent")]
    ActorFailed {
        /// The aggregate.
        key: AggregateKey,
    },
    /// The closure of [`append_with`](crate::EventStore::append_with) panicked, and nothing was
    /// written. Fix the closure.
    #[error("{key}: the closure that decides the append panicked")]
    Panicked {
        /// The aggregate.
        key: AggregateKey,
    },
    /// The driver failed and wrote nothing. [`DriverError::is_retryable`] says whether a retry may
    /// help.
    #[error("{key}: not written: {source}")]
    Driver {
        /// The aggregate.
        key: AggregateKey,
        /// The driver's error.
        source: DriverError,
    },
    /// The store is closed, or closing.
    #[error("the store is closed")]
    Closed,
}

impl AppendError {
    /// Whether the expectation was wrong.
    pub fn is_conflict(&self) -> bool {
        matches!(self, AppendError::Conflict { .. })
    }

    /// Whether the same append may succeed later. After [`AppendError::Indeterminate`] it must
    /// carry the commit id named there.
    pub fn is_retryable(&self) -> bool {
        match self {
            AppendError::Indeterminate { .. }
            | AppendError::Busy { .. }
            | AppendError::Timeout { .. }
            | AppendError::ActorFailed { .. } => true,
            AppendError::Driver { source, .. } => source.is_retryable(),
            _ => false,
        }
    }
}

/// Why a close was not clean. The store is closed nevertheless, and every answered append is
/// durable.
///
/// ```
/// # use seriatim::EventStore;
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// if let Err(error) = store.close().await {
///     eprintln!("closed, but not cleanly: {error}");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// Some admitted appends did not finish before the deadline. Their callers got
    /// [`AppendError::Indeterminate`] or [`AppendError::ActorFailed`].
    #[error("{unfinished} appends did not finish within {deadline:?}")]
    Unfinished {
        /// The number of unfinished appends.
        unfinished: usize,
        /// The store's deadline for closing.
        deadline: Duration,
    },
    /// The driver failed to close.
    #[error("the driver could not be closed: {0}")]
    Driver(#[from] DriverError),
}
