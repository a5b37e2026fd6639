//! Why a driver could not do what it was asked.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::event::{AggregateKey, RecordError, Sequence};

/// A driver's failure. One failure can answer many callers, so it is `Clone`.
///
/// For a put the one question is whether it may have been written:
/// [`DriverError::may_have_been_written`]. Say `Unknown` whenever the request may have left and no
/// answer came back; say anything else only when nothing was written for certain.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// An event of the put exists already; nothing was written.
    #[error("{key}: an event of the put exists already, at sequence {sequence} or near it")]
    Conflict {
        /// The aggregate.
        key: AggregateKey,
        /// A sequence that is taken, or the put's first where the engine does not say which.
        sequence: Sequence,
    },
    /// The put would leave a gap: the sequence before its first is not there. Nothing was written.
    #[error("{key}: a put from sequence {first} would leave a gap behind {latest}")]
    Gap {
        /// The aggregate.
        key: AggregateKey,
        /// The put's first sequence.
        first: Sequence,
        /// The latest sequence that is there.
        latest: Sequence,
    },
    /// The put is over a limit of the driver; nothing was sent.
    #[error(transparent)]
    LimitExceeded(#[from] LimitExceeded),
    /// The driver cannot do this at all.
    #[error("{message}")]
    Unsupported {
        /// What it cannot do.
        message: Arc<str>,
    },
    /// The driver is closed.
    #[error("the driver is closed")]
    Closed,
    /// The driver could not be reached, or is overloaded. Nothing was written; trying again may
    /// help.
    #[error("{message}")]
    Unavailable {
        /// What happened.
        message: Arc<str>,
        /// Where it comes from.
        #[source]
        source: Option<Arc<dyn Error + Send + Sync>>,
    },
    /// The driver failed. Nothing was written; trying again will not help.
    #[error("{message}")]
    Failed {
        /// What happened.
        message: Arc<str>,
        /// Where it comes from.
        #[source]
        source: Option<Arc<dyn Error + Send + Sync>>,
    },
    /// What is stored cannot be read: it is damaged, or was written by a later version.
    #[error("{message}")]
    Damaged {
        /// What is damaged, and where.
        message: Arc<str>,
    },
    /// No answer, or one that leaves it open: a put may have been written, or may be written yet.
    #[error("{message}")]
    Unknown {
        /// What happened.
        message: Arc<str>,
        /// Where it comes from.
        #[source]
        source: Option<Arc<dyn Error + Send + Sync>>,
    },
}

impl DriverError {
    /// [`DriverError::Unsupported`] with this message.
    pub fn unsupported(message: impl Into<Arc<str>>) -> Self {
        DriverError::Unsupported { message: message.into() }
    }

    /// [`DriverError::Unavailable`] with this message.
    pub fn unavailable(message: impl Into<Arc<str>>) -> Self {
        DriverError::Unavailable { message: message.into(), source: None }
    }

    /// [`DriverError::Failed`] with this message.
    pub fn failed(message: impl Into<Arc<str>>) -> Self {
        DriverError::Failed { message: message.into(), source: None }
    }

    /// [`DriverError::Damaged`] with this message.
    pub fn damaged(message: impl Into<Arc<str>>) -> Self {
        DriverError::Damaged { message: message.into() }
    }

    /// [`DriverError::Unknown`] with this message.
    pub fn unknown(message: impl Into<Arc<str>>) -> Self {
        DriverError::Unknown { message: message.into(), source: None }
    }

    /// The same error with the failure it comes from.
    pub fn caused_by(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        if let DriverError::Unavailable { source, .. }
        | DriverError::Failed { source, .. }
        | DriverError::Unknown { source, .. } = &mut self
        {
            *source = Some(Arc::new(cause));
        }
        self
    }

    /// Whether the put that failed so may have been written, or may be written yet.
    pub fn may_have_been_written(&self) -> bool {
        matches!(self, DriverError::Unknown { .. })
    }

    /// Whether an event of the put exists already.
    pub fn is_conflict(&self) -> bool {
        matches!(self, DriverError::Conflict { .. })
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, DriverError::Unavailable { .. } | DriverError::Unknown { .. })
    }
}

impl From<RecordError> for DriverError {
    fn from(error: RecordError) -> Self {
        DriverError::damaged(error.to_string())
    }
}

/// A limit of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// [`Limits::events_per_put`](crate::driver::Limits::events_per_put).
    EventsPerPut,
    /// [`Limits::bytes_per_put`](crate::driver::Limits::bytes_per_put).
    BytesPerPut,
    /// [`Limits::bytes_per_event`](crate::driver::Limits::bytes_per_event).
    BytesPerEvent,
    /// [`Limits::bytes_per_key`](crate::driver::Limits::bytes_per_key).
    BytesPerKey,
    /// [`Limits::aggregates_per_put`](crate::driver::Limits::aggregates_per_put).
    AggregatesPerPut,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::EventsPerPut => "events per put",
            Limit::BytesPerPut => "bytes per put",
            Limit::BytesPerEvent => "bytes per event",
            Limit::BytesPerKey => "bytes per key",
            Limit::AggregatesPerPut => "aggregates per put",
        })
    }
}

/// Which limit was exceeded, and by how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{actual} {limit} are over the driver's limit of {max}")]
#[non_exhaustive]
pub struct LimitExceeded {
    /// The limit.
    pub limit: Limit,
    /// What it allows.
    pub max: usize,
    /// What was asked for.
    pub actual: usize,
}

impl LimitExceeded {
    /// `actual` is more than the `max` that `limit` allows.
    pub fn new(limit: Limit, max: usize, actual: usize) -> Self {
        LimitExceeded { limit, max, actual }
    }
}
