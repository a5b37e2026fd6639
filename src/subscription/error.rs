//! The errors of consumers.

use crate::driver::DriverError;
use crate::error::{NoLog, ReadError};
use crate::event::{AggregateKey, Position};

/// Why a consumer ended, or a question about one was not answered.
///
/// ```
/// use seriatim::subscription::ConsumerError;
/// use seriatim::{Append, EventStore, KeyedEvent, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let placed = Append::to("order/1").event(NewEvent::raw("Placed", "{}"));
/// store.append(placed).await?;
/// let pause = std::time::Duration::ZERO;
/// let mailer = store.consumer("mailer").retry(1, pause, pause);
/// match mailer.run(|_: KeyedEvent| async { Err("the mail server is down") }).await {
///     Err(ConsumerError::Failed { key, reason, .. }) => {
///         assert_eq!((key.as_str(), reason.as_str()), ("order/1", "the mail server is down"));
///     }
///     other => panic!("{other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// The store's driver keeps no log.
    #[error(transparent)]
    NoLog(#[from] NoLog),
    /// A consumer of this name already runs in this process. Stop it first, or use another name.
    #[error("the consumer {name:?} already runs")]
    Owned {
        /// The name.
        name: String,
    },
    /// The name is empty, too long or has control characters.
    #[error(
        "{name:?} cannot name a consumer: 1 to {} bytes without control characters",
        MAX_NAME_BYTES
    )]
    InvalidName {
        /// The name.
        name: String,
    },
    /// An event failed as often as it may. The checkpoint stays before it. Fix the handler and run
    /// the consumer again, or park failed events with [`OnFailure::Park`](super::OnFailure::Park).
    #[error(
        "the consumer {name:?} failed on {key} at position {position}, {attempts} times: {reason}"
    )]
    Failed {
        /// The consumer.
        name: String,
        /// The aggregate of the event, or of the first of the batch that failed.
        key: AggregateKey,
        /// The position of that event.
        position: Position,
        /// How often it was tried.
        attempts: u32,
        /// The reason of the last failure.
        reason: String,
    },
    /// As many aggregates are parked as may be. Retry them, or raise
    /// [`Consumer::max_parked`](super::Consumer::max_parked).
    #[error(
        "the consumer {name:?} has parked {aggregates} aggregates, as many as it may; retry them \
         or raise max_parked"
    )]
    TooManyParked {
        /// The consumer.
        name: String,
        /// How many there are.
        aggregates: usize,
    },
    /// A projection could not say or reset its own position.
    #[error("the projection of {name:?}: {reason}")]
    Projection {
        /// The consumer.
        name: String,
        /// Its error.
        reason: String,
    },
    /// The consumer's checkpoint could not be read or saved.
    #[error("the checkpoint of {name:?}: {source}")]
    Checkpoint {
        /// The consumer.
        name: String,
        /// The driver's error.
        source: DriverError,
    },
    /// The log could not be read.
    #[error(transparent)]
    Read(ReadError),
    /// A checkpoint or a projection's own position is beyond the end of the log: the store was
    /// restored from an older backup, or the read model belongs to another store. Rebuild.
    #[error(
        "{name:?} is at position {position}, beyond the last event at {last}: it belongs to \
         another or a newer store; rebuild it"
    )]
    AheadOfLog {
        /// The consumer.
        name: String,
        /// Its position.
        position: Position,
        /// The last position of the log.
        last: Position,
    },
    /// The name belongs to a projection, whose checkpoint says nothing about this handler. Use
    /// another name, or [rebuild](super::Consumer::rebuild).
    #[error("the name {name:?} belongs to a projection; use another name, or rebuild")]
    NameOfProjection {
        /// The name.
        name: String,
    },
    /// The consumer's own handler called what waits for the handler. Call it from elsewhere.
    #[error("the handler of {name:?} would wait for itself; call it from another task")]
    InHandler {
        /// The consumer.
        name: String,
    },
    /// The consumer no longer runs.
    #[error("the consumer {name:?} has ended")]
    Ended {
        /// The name.
        name: String,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

pub(super) const MAX_NAME_BYTES: usize = 256;

impl ConsumerError {
    /// Whether running the consumer again may succeed without a change.
    pub fn is_retryable(&self) -> bool {
        match self {
            ConsumerError::Checkpoint { source, .. } => source.is_retryable(),
            ConsumerError::Read(source) => source.is_retryable(),
            _ => false,
        }
    }
}

impl ConsumerError {
    /// Whether every further run would meet it too, until somebody changes something.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(
            self,
            ConsumerError::NoLog(_)
                | ConsumerError::Owned { .. }
                | ConsumerError::InvalidName { .. }
                | ConsumerError::AheadOfLog { .. }
                | ConsumerError::NameOfProjection { .. }
        )
    }
}

impl From<ReadError> for ConsumerError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed => ConsumerError::Closed,
            ReadError::NoLog(none) => ConsumerError::NoLog(none),
            other => ConsumerError::Read(other),
        }
    }
}
