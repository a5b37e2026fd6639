//! Why a call of a driver failed.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::event::{AggregateKey, RecordError, Sequence};

/// The failure of a driver. It is `Clone`, because one failure can answer many callers.
///
/// For a put, [`DriverError::may_have_been_written`] decides what follows. A driver returns
/// `Unknown` whenever the request may have left and no answer came back, and any other variant only
/// when nothing was written for certain.
///
/// ```
/// use seriatim::driver::DriverError;
///
/// // Nothing was written, and a later try may succeed.
/// assert!(DriverError::unavailable("no connection").is_retryable());
/// // Nothing was written, and no try will change that.
/// assert!(!DriverError::failed("no such table").is_retryable());
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// An event of the put exists already. Nothing was written.
    #[error("{key}: an event of the put exists already, at sequence {sequence} or near it")]
    Conflict {
        /// The aggregate.
        key: AggregateKey,
        /// A sequence that is taken, or the put's first where the engine does not say which.
        sequence: Sequence,
    },
    /// The put would leave a gap: the sequence before its first does not exist. Nothing was
    /// written.
    #[error("{key}: a put from sequence {first} would leave a gap behind {latest}")]
    Gap {
        /// The aggregate.
        key: AggregateKey,
        /// The put's first sequence.
        first: Sequence,
        /// The latest sequence that exists.
        latest: Sequence,
    },
    /// The put is over a limit of the driver. Nothing was sent.
    #[error(transparent)]
    LimitExceeded(#[from] LimitExceeded),
    /// The driver does not support the call.
    #[error("{message}")]
    Unsupported {
        /// What is not supported.
        message: Arc<str>,
    },
    /// The driver is closed.
    #[error("the driver is closed")]
    Closed,
    /// The driver could not be reached, or is overloaded. Nothing was written. A retry may help.
    #[error("{message}")]
    Unavailable {
        /// What happened.
        message: Arc<str>,
        /// The cause.
        #[source]
        source: Option<Arc<dyn Error + Send + Sync>>,
    },
    /// The driver failed. Nothing was written. A retry will not help.
    #[error("{message}")]
    Failed {
        /// What happened.
        message: Arc<str>,
        /// The cause.
        #[source]
        source: Option<Arc<dyn Error + Send + Sync>>,
    },
    /// Stored data cannot be read: it is damaged, or a later version wrote it.
    #[error("{message}")]
    Damaged {
        /// What is damaged, and where.
        message: Arc<str>,
    },
    /// There was no answer, or an inconclusive one: a put may have been written, or may be written
    /// yet.
    #[error("{message}")]
    Unknown {
        /// What happened.
        message: Arc<str>,
        /// The cause.
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

    /// The same error with its cause.
    pub fn caused_by(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        if let DriverError::Unavailable { source, .. }
        | DriverError::Failed { source, .. }
        | DriverError::Unknown { source, .. } = &mut self
        {
            *source = Some(Arc::new(cause));
        }
        self
    }

    /// Whether the put may have been written, or may be written yet.
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
    /// What the limit allows.
    pub max: usize,
    /// What was requested.
    pub actual: usize,
}

impl LimitExceeded {
    /// `actual` is more than the `max` that `limit` allows.
    pub fn new(limit: Limit, max: usize, actual: usize) -> Self {
        LimitExceeded { limit, max, actual }
    }
}
