//! What kind of call it was, and what its failure means for the caller.

use crate::error::DriverError;

/// What a call does. It decides what a missing answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// Nothing is lost by asking again.
    Read,
    /// It may have been written.
    Write,
}

/// What a client's error says of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// Not done; trying again may help.
    Transient,
    /// Not done; trying again will not help.
    Permanent,
    /// It may have been done, or may be done yet.
    Ambiguous,
}

impl FailureKind {
    /// The driver's error for a call of this kind that failed so.
    pub(crate) fn into_error(self, call: CallKind, message: String) -> DriverError {
        match self {
            FailureKind::Permanent => DriverError::failed(message),
            FailureKind::Transient => DriverError::unavailable(message),
            FailureKind::Ambiguous => call.unanswered(message),
        }
    }
}

impl CallKind {
    /// The error of a call that got no answer.
    pub(crate) fn unanswered(self, message: String) -> DriverError {
        match self {
            CallKind::Read => DriverError::unavailable(message),
            CallKind::Write => DriverError::unknown(message),
        }
    }
}

/// The error of a call that was under way at the deadline.
pub(crate) fn late(call: CallKind, doing: &str) -> DriverError {
    call.unanswered(format!("{doing}: no answer within the timeout"))
}
