//! The errors of consumers.

use std::time::Duration;

use crate::driver::DriverError;
use crate::error::{NoLog, ReadError};
use crate::event::{AggregateKey, Position};

/// Why a consumer ended, or a question about one was not answered.
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

impl From<ReadError> for ConsumerError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed => ConsumerError::Closed,
            ReadError::NoLog(none) => ConsumerError::NoLog(none),
            other => ConsumerError::Read(other),
        }
    }
}

/// Why a consumer was not seen to reach a position.
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
