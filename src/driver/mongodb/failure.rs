//! What a failed call means.
//!
//! The one question for a put is whether it may have been written. It surely was not where no
//! server was found, where the server is not primary, and where an error answer refuses the
//! document itself. Everything else leaves it open: a broken connection, a timeout, a change of the
//! primary, an unsatisfied write concern.

use ::mongodb::error::{Error, ErrorKind, WriteFailure};

use crate::driver::remote::CallKind;
use crate::error::DriverError;

const DUPLICATE_KEY: i32 = 11_000;
/// NotWritablePrimary and NotPrimaryNoSecondaryOk: refused before anything was done.
const NOT_PRIMARY: [i32; 2] = [10_107, 13_435];
/// Refusals that trying again does not change: BadValue, FailedToParse, Unauthorized,
/// AuthenticationFailed, NamespaceNotFound, CommandNotFound, InvalidOptions, InvalidNamespace,
/// Location (unknown command), AtlasError, BSONObjectTooLarge.
const LASTING: [i32; 11] = [2, 9, 13, 18, 26, 59, 72, 73, 115, 8_000, 10_334];

/// Whether a unique index refused the document.
pub(super) fn is_duplicate(error: &Error) -> bool {
    matches!(
        &*error.kind,
        ErrorKind::Write(WriteFailure::WriteError(refused)) if refused.code == DUPLICATE_KEY
    )
}

/// The error of a call that failed. `doing` says which and where.
pub(super) fn classify(call: CallKind, doing: &str, error: Error) -> DriverError {
    let lasting = || DriverError::failed(format!("{doing}: {error}"));
    let passing = || DriverError::unavailable(format!("{doing}: {error}"));
    let answer = match &*error.kind {
        ErrorKind::InvalidArgument { .. }
        | ErrorKind::Authentication { .. }
        | ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::IncompatibleServer { .. }
        | ErrorKind::Write(WriteFailure::WriteError(_)) => lasting(),
        ErrorKind::Command(refused) if LASTING.contains(&refused.code) => lasting(),
        ErrorKind::ServerSelection { .. } | ErrorKind::DnsResolve { .. } => passing(),
        ErrorKind::Command(refused) if NOT_PRIMARY.contains(&refused.code) => passing(),
        _ => match call {
            CallKind::Read => passing(),
            CallKind::Write => DriverError::unknown(format!("{doing}: {error}")),
        },
    };
    answer.caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::remote::late;

    fn answer(call: CallKind, error: Error) -> DriverError {
        classify(call, "here", error)
    }

    fn broken() -> Error {
        std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()
    }

    #[test]
    fn a_broken_connection_leaves_a_put_open() {
        assert!(answer(CallKind::Write, broken()).may_have_been_written());
        assert!(matches!(answer(CallKind::Read, broken()), DriverError::Unavailable { .. }));
        assert!(late(CallKind::Write, "here").may_have_been_written());
        assert!(!late(CallKind::Read, "here").may_have_been_written());
    }

    #[test]
    fn a_custom_error_leaves_a_put_open_too() {
        let error = answer(CallKind::Write, Error::custom("whatever"));
        assert!(error.may_have_been_written());
        assert!(error.to_string().starts_with("here: "), "{error}");
    }
}
