//! Why a read failed, or the load of an entity. Either can be the cause of the other.

use std::time::Duration;

use super::DriverError;
use crate::event::{AggregateKey, KeyError, Sequence};

/// Why a read (of events, of keys, of a latest sequence) failed.
///
/// A stream ends with its first error. The items before it are right; the items behind it were not
/// read.
///
/// ```
/// use seriatim::{EventStore, ReadError};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let nothing = store.read("light/1").collect().await?;
/// assert!(nothing.is_empty()); // no events are no error
/// let refused = store.read("").collect().await;
/// assert!(matches!(refused, Err(ReadError::InvalidKey(_))));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The key is not an aggregate key. Fix the key before retrying.
    #[error("invalid aggregate key: {0}")]
    InvalidKey(#[source] KeyError),
    /// The driver failed. [`DriverError::is_retryable`] says whether a retry may help.
    #[error("the read failed: {0}")]
    Driver(#[from] DriverError),
    /// The driver did not answer before the read deadline. Retry the read.
    #[error("the driver did not answer a read within {deadline:?}")]
    Timeout {
        /// The store's deadline for one read of the driver.
        deadline: Duration,
    },
    /// A middleware refused it and gave this reason.
    #[error("{key}: refused: {reason}")]
    Refused {
        /// The aggregate.
        key: AggregateKey,
        /// The reason.
        reason: String,
    },
    /// An upcaster failed on an event; see [`LoadError::Upcast`].
    #[error(transparent)]
    Upcast(Box<LoadError>),
    /// The store's driver keeps no log.
    #[error(transparent)]
    NoLog(#[from] NoLog),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// The store's driver keeps no log, so there are no positions and no subscriptions. Open the store
/// with a driver that has one.
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

/// Why the state of an entity could not be loaded.
///
/// ```
/// # use seriatim::{Aggregate, Context, EventStore};
/// # #[derive(Default, serde::Serialize, serde::Deserialize)]
/// # struct Tally { n: u64 }
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum Event { Counted }
/// # impl Aggregate for Tally {
/// #     const KIND: &'static str = "tally";
/// #     type Command = ();
/// #     type Event = Event;
/// #     type Error = String;
/// #     type Services = ();
/// #     fn handle(&self, _: &(), _: &Context<'_>) -> Result<Vec<Event>, String> {
/// #         Ok(vec![Event::Counted])
/// #     }
/// #     fn apply(&mut self, _: &Event) { self.n += 1; }
/// # }
/// use seriatim::{Append, LoadError, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// // Written by a later version of this program.
/// let event = NewEvent::raw("Reset", "{}");
/// store.append(Append::to("tally/visitors").event(event)).await?;
/// match store.entities::<Tally>().state("visitors").await {
///     Err(LoadError::UnknownType { event_type, .. }) => assert_eq!(event_type, "Reset"),
///     _ => panic!("an unknown event was folded"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Kind and id do not make an aggregate key. Fix the id, or the kind.
    #[error("kind and id make no aggregate key: {0}")]
    InvalidKey(#[source] KeyError),
    /// Another Rust type uses the same kind in this store. Give one of them another
    /// [`KIND`](crate::Aggregate::KIND).
    #[error("{kind:?} is the kind of {other}, not of {this}")]
    WrongKind {
        /// The kind.
        kind: &'static str,
        /// The type that used it first.
        other: &'static str,
        /// The type that asked for it.
        this: &'static str,
    },
    /// The builder was not given the services that the entities of this kind need. Call
    /// [`Builder::services`](crate::Builder::services) with a value of this type.
    #[error("entities of kind {kind:?} need services of type {services}, which the builder lacks")]
    NoServices {
        /// The kind.
        kind: &'static str,
        /// The Rust type of the services.
        services: &'static str,
    },
    /// The enum has no variant for this event type. Add one, register an upcaster, or skip unknown
    /// types with [`SKIP_UNKNOWN_TYPES`](crate::Aggregate::SKIP_UNKNOWN_TYPES).
    #[error("{key} at {sequence}: unknown event type {event_type:?}")]
    UnknownType {
        /// The aggregate.
        key: AggregateKey,
        /// The event.
        sequence: Sequence,
        /// Its type.
        event_type: String,
    },
    /// The event's data does not fit the enum's variant. Register an upcaster for its schema
    /// version.
    #[error("{key} at {sequence}: data of {event_type:?}: {message}")]
    Data {
        /// The aggregate.
        key: AggregateKey,
        /// The event.
        sequence: Sequence,
        /// Its type.
        event_type: String,
        /// serde's message.
        message: String,
    },
    /// An upcaster failed, or upcasters form a loop. Fix the upcaster before retrying.
    #[error("{key} at {sequence}: upcasting {event_type:?}: {message}")]
    Upcast {
        /// The aggregate.
        key: AggregateKey,
        /// The event.
        sequence: Sequence,
        /// Its type.
        event_type: String,
        /// The upcaster's message.
        message: String,
    },
    /// `apply` or an upcaster panicked on this event. Fix it before retrying.
    #[error("{key} at {sequence}: applying the event panicked")]
    Panicked {
        /// The aggregate.
        key: AggregateKey,
        /// The event.
        sequence: Sequence,
    },
    /// The driver could not read. [`DriverError::is_retryable`] says whether a retry may help.
    #[error("{key}: {source}")]
    Driver {
        /// The aggregate.
        key: AggregateKey,
        /// The driver's error.
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
