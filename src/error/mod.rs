//! One error enum per operation.
//!
//! Each answers the two questions that callers ask: `is_conflict()` (decide again on fresh state) and
//! `is_retryable()` (the same call may succeed later). The documentation of a variant says what to do
//! about it.

use std::time::Duration;

use uuid::Uuid;

mod driver;
mod read;

pub use driver::{DriverError, Limit, LimitExceeded};
pub use read::{LoadError, NoLog, ReadError};

use crate::append::Expected;
use crate::event::{AggregateKey, EventError, KeyError, Sequence};

/// Why a store could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No driver answers to what stands before the first `:` of the URL. Check its spelling, and that
    /// the cargo feature of that driver is on.
    #[error("{url:?} names no driver of this build; known are: {known}")]
    UnknownScheme {
        /// The URL given, without its options and without what stands before an `@`: it may hold secrets.
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
        /// The URL given, without its options and without what stands before an `@`: it may hold secrets.
        url: String,
        /// What the driver said.
        source: DriverError,
    },
    /// An option of the builder has a value that cannot work.
    #[error("the option {option} {problem}")]
    InvalidOption {
        /// The builder's method.
        option: &'static str,
        /// What is wrong with its value.
        problem: &'static str,
    },
    /// The store's own threads could not be started: the process is out of threads or descriptors.
    #[error("the store's threads could not be started: {message}")]
    Runtime {
        /// What the operating system said.
        message: String,
    },
}

/// Why an append was not answered with [`Appended`](crate::Appended).
///
/// Every variant but [`AppendError::Indeterminate`] means that nothing was written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The aggregate's latest sequence is not the expected one. Read what is new, decide again, and
    /// append with the new expectation.
    #[error("{key}: expected {expected}, but the latest sequence is {actual}")]
    Conflict {
        /// The aggregate.
        key: AggregateKey,
        /// What the writer believed.
        expected: Expected,
        /// The latest sequence known; by now it may be later.
        actual: Sequence,
    },
    /// The key is no aggregate key. Mend the key.
    #[error("invalid aggregate key: {0}")]
    InvalidKey(#[source] KeyError),
    /// The append has no event. Add one, or do not append.
    #[error("{key}: an append needs at least one event")]
    Empty {
        /// The aggregate.
        key: AggregateKey,
    },
    /// An event cannot be stored. Mend the event.
    #[error("{key}: event {index} of the append: {source}")]
    InvalidEvent {
        /// The aggregate.
        key: AggregateKey,
        /// Which of the append's events, counted from 0.
        index: usize,
        /// What is wrong with it.
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
    /// The commit id was used for this aggregate before, with other events. Use a new id: this is a
    /// mistake in how ids are made, not a repetition.
    #[error("{key}: commit id {commit_id} was used before with other content")]
    CommitIdReused {
        /// The aggregate.
        key: AggregateKey,
        /// The id.
        commit_id: Uuid,
    },
    /// It is not known whether the append was written: the driver did not say until the deadline, and
    /// a write may still land. Repeat the append with this commit id: it is then written once, or
    /// found written.
    #[error("{key}: it is not known whether commit {commit_id} was written: {cause}")]
    Indeterminate {
        /// The aggregate.
        key: AggregateKey,
        /// The append's commit id.
        commit_id: Uuid,
        /// What the driver said last.
        cause: DriverError,
    },
    /// A middleware refused it; the reason is its own.
    #[error("{key}: refused: {reason}")]
    Refused {
        /// The aggregate.
        key: AggregateKey,
        /// Why.
        reason: String,
    },
    /// All permits of the aggregate, or of the whole store, are taken
    /// ([`try_append`](crate::EventStore::try_append) only). Try later, or wait with `append`.
    #[error("{key}: the mailbox is full")]
    Busy {
        /// The aggregate.
        key: AggregateKey,
    },
    /// The append waited in its mailbox for longer than the deadline behind puts that were not
    /// answered, and was not sent. Try again.
    #[error("{key}: not sent within {deadline:?}")]
    Timeout {
        /// The aggregate.
        key: AggregateKey,
        /// The store's deadline for a put.
        deadline: Duration,
    },
    /// The aggregate's actor died before it sent the append. A fresh one has taken its place: try
    /// again.
    #[error("{key}: the aggregate's actor died before the append was sent")]
    ActorFailed {
        /// The aggregate.
        key: AggregateKey,
    },
    /// The driver failed, and surely wrote nothing. [`DriverError`] says whether trying again helps.
    #[error("{key}: not written: {source}")]
    Driver {
        /// The aggregate.
        key: AggregateKey,
        /// What the driver said.
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

    /// Whether the same append may succeed later. After [`AppendError::Indeterminate`] it must carry
    /// the commit id named there.
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

/// Why closing did not end as it should. The store is closed all the same, and what was answered is
/// durable.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// What was admitted did not finish within the deadline; its callers were told
    /// [`AppendError::Indeterminate`] or [`AppendError::ActorFailed`].
    #[error("{unfinished} appends did not finish within {deadline:?}")]
    Unfinished {
        /// How many were left.
        unfinished: usize,
        /// The store's deadline for closing.
        deadline: Duration,
    },
    /// The driver could not be closed in good order.
    #[error("the driver could not be closed: {0}")]
    Driver(#[from] DriverError),
}
