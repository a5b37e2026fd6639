//! What a call does, and what no answer to it means.

use crate::driver::DriverError;

/// What a call does, which decides what no answer to it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Nothing is lost by asking again.
    Read,
    /// It may have been written.
    Write,
}

impl Call {
    /// The error of a call that nothing was said to.
    pub(crate) fn unanswered(self, message: String) -> DriverError {
        match self {
            Call::Read => DriverError::unavailable(message),
            Call::Write => DriverError::unknown(message),
        }
    }
}

/// The error of a call that was under way at the deadline.
#[cfg(any(feature = "mongodb", feature = "cassandra", feature = "azure-tables"))]
pub(crate) fn late(call: Call, doing: &str) -> DriverError {
    call.unanswered(format!("{doing}: no answer within the timeout"))
}
