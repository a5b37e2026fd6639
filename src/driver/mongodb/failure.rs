//! What a failed call means.
//!
//! The one question for a put is whether it may have been written. It surely was not where no
//! server was found, where the server is not primary, where the client may not write at all, and
//! where the document itself is refused. Everything else leaves it open: a broken connection, a
//! timeout, a change of the primary, an unsatisfied write concern, and every other error that a
//! router reports of a write, because it reports a lost answer of a shard in the same way.

use ::mongodb::error::{Error, ErrorKind, WriteFailure};

use crate::driver::remote::{CallKind, FailureKind};
use crate::error::DriverError;

const DUPLICATE_KEY: i32 = 11_000;
/// NotWritablePrimary and NotPrimaryNoSecondaryOk, in answer to a whole command: refused before
/// anything was done.
const NOT_PRIMARY: [i32; 2] = [10_107, 13_435];
/// DocumentValidationFailure, BSONObjectTooLarge, KeyTooLong: the document itself is refused.
const DOCUMENT_FAULTS: [i32; 3] = [121, 10_334, 17_280];
/// Unauthorized, AuthenticationFailed, CommandNotFound, InvalidNamespace, in answer to a whole
/// command: checked before it begins.
const COMMAND_REFUSED: [i32; 4] = [13, 18, 59, 73];
/// What asking again does not change: BadValue, FailedToParse, NamespaceNotFound,
/// CannotCreateIndex, InvalidOptions, IndexOptionsConflict, IndexKeySpecsConflict,
/// CommandNotSupported, AtlasError, DuplicateKey (of an index that is being made).
const READ_REFUSED: [i32; 10] = [2, 9, 26, 67, 72, 85, 86, 115, 8_000, 11_000];

/// Whether a unique index refused the document.
pub(super) fn is_duplicate(error: &Error) -> bool {
    matches!(
        &*error.kind,
        ErrorKind::Write(WriteFailure::WriteError(refused)) if refused.code == DUPLICATE_KEY
    )
}

fn kind_of(call: CallKind, error: &Error) -> FailureKind {
    match &*error.kind {
        ErrorKind::InvalidArgument { .. }
        | ErrorKind::Authentication { .. }
        | ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::IncompatibleServer { .. } => FailureKind::Permanent,
        ErrorKind::ServerSelection { .. } | ErrorKind::DnsResolve { .. } => FailureKind::Transient,
        ErrorKind::Write(WriteFailure::WriteError(refused))
            if DOCUMENT_FAULTS.contains(&refused.code) =>
        {
            FailureKind::Permanent
        }
        ErrorKind::Command(refused) => of_command(call, refused.code),
        _ => FailureKind::Ambiguous,
    }
}

fn of_command(call: CallKind, code: i32) -> FailureKind {
    if NOT_PRIMARY.contains(&code) {
        FailureKind::Transient
    } else if COMMAND_REFUSED.contains(&code)
        || DOCUMENT_FAULTS.contains(&code)
        || (call == CallKind::Read && READ_REFUSED.contains(&code))
    {
        FailureKind::Permanent
    } else {
        FailureKind::Ambiguous
    }
}

/// The error of a call that failed. `doing` says which and where.
pub(super) fn classify(call: CallKind, doing: &str, error: Error) -> DriverError {
    kind_of(call, &error).into_error(call, format!("{doing}: {error}")).caused_by(error)
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
    fn only_what_is_checked_before_a_write_begins_is_definite() {
        for (code, kind) in [
            (10_107, FailureKind::Transient),
            (13, FailureKind::Permanent),
            (121, FailureKind::Permanent),
            (2, FailureKind::Ambiguous),
            (8_000, FailureKind::Ambiguous),
            (6, FailureKind::Ambiguous),
        ] {
            assert_eq!(of_command(CallKind::Write, code), kind, "{code}");
        }
        assert_eq!(of_command(CallKind::Read, 85), FailureKind::Permanent);
    }

    #[test]
    fn a_custom_error_leaves_a_put_open_too() {
        let error = answer(CallKind::Write, Error::custom("whatever"));
        assert!(error.may_have_been_written());
        assert!(error.to_string().starts_with("here: "), "{error}");
    }
}
