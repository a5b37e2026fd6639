//! Why a read or the loading of an entity did not succeed. Each can be the cause of the other.

use std::time::Duration;

use super::DriverError;
use crate::event::{AggregateKey, KeyError, Sequence};

/// Why a read (of events, of keys, of a latest sequence) failed.
///
/// A stream that yields an error has ended: what it yielded before is right, and what follows was not
/// read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The key is no aggregate key. Mend the key.
    #[error("invalid aggregate key: {0}")]
    InvalidKey(#[source] KeyError),
    /// The driver failed. [`DriverError`] says whether trying again helps.
    #[error("the read failed: {0}")]
    Driver(#[from] DriverError),
    /// The driver did not answer within the read deadline. Try again.
    #[error("the driver did not answer a read within {deadline:?}")]
    Timeout {
        /// The store's deadline for one read of the driver.
        deadline: Duration,
    },
    /// A middleware refused it; the reason is its own.
    #[error("{key}: refused: {reason}")]
    Refused {
        /// The aggregate.
        key: AggregateKey,
        /// Why.
        reason: String,
    },
    /// An event could not be brought into its latest form; see [`LoadError::Upcast`].
    #[error(transparent)]
    Upcast(Box<LoadError>),
    /// The store's driver keeps no log.
    #[error(transparent)]
    NoLog(#[from] NoLog),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// The store's driver keeps no log, so there are no positions and no subscriptions. Open the store with a
/// driver that has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("the store's driver keeps no log; drivers that do: {}", LOG_URLS)]
#[non_exhaustive]
pub struct NoLog;

/// The URLs of drivers with a log.
const LOG_URLS: &str = "memory:, redb:DIRECTORY";

impl ReadError {
    pub(crate) fn from_driver(error: DriverError) -> Self {
        match error {
            DriverError::Closed => ReadError::Closed,
            other => ReadError::Driver(other),
        }
    }

    /// Always false: a read expects nothing.
    pub fn is_conflict(&self) -> bool {
        false
    }

    /// Whether the same read may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            ReadError::Timeout { .. } => true,
            ReadError::Driver(source) => source.is_retryable(),
            _ => false,
        }
    }
}

/// Why an entity's state could not be loaded.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The id makes no aggregate key, or the kind does not. Mend it.
    #[error("no key for an entity: {0}")]
    InvalidKey(#[source] KeyError),
    /// Another Rust type uses the same kind in this store. Give one of them another
    /// [`KIND`](crate::Aggregate::KIND).
    #[error("{kind:?} is the kind of {other}, not of {this}")]
    WrongKind {
        /// The kind.
        kind: &'static str,
        /// The type that had it first.
        other: &'static str,
        /// The type that asked.
        this: &'static str,
    },
    /// The enum has no variant of this type. Add it, register an upcaster, or skip unknown types with
    /// [`Entities::skip_unknown_types`](crate::Entities::skip_unknown_types).
    #[error("{key} at {sequence}: unknown event type {event_type:?}")]
    UnknownType {
        /// The aggregate.
        key: AggregateKey,
        /// The event.
        sequence: Sequence,
        /// Its type.
        event_type: String,
    },
    /// The event's data is not what the enum's variant of that type takes. Register an upcaster for its
    /// schema version.
    #[error("{key} at {sequence}: data of {event_type:?}: {message}")]
    Data {
        /// The aggregate.
        key: AggregateKey,
        /// The event.
        sequence: Sequence,
        /// Its type.
        event_type: String,
        /// What serde said.
        message: String,
    },
    /// An upcaster failed, or upcasters turn an event in circles. Mend the upcaster.
    #[error("{key} at {sequence}: upcasting {event_type:?}: {message}")]
    Upcast {
        /// The aggregate.
        key: AggregateKey,
        /// The event.
        sequence: Sequence,
        /// Its type.
        event_type: String,
        /// What the upcaster said.
        message: String,
    },
    /// `apply` (or an upcaster) panicked on this event. Mend it.
    #[error("{key} at {sequence}: applying the event panicked")]
    Panicked {
        /// The aggregate.
        key: AggregateKey,
        /// The event.
        sequence: Sequence,
    },
    /// The driver could not read. [`DriverError`] says whether trying again helps.
    #[error("{key}: {source}")]
    Driver {
        /// The aggregate.
        key: AggregateKey,
        /// What the driver said.
        source: DriverError,
    },
    /// The events could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl LoadError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            LoadError::Driver { source, .. } => source.is_retryable(),
            LoadError::Read(source) => source.is_retryable(),
            _ => false,
        }
    }
}
