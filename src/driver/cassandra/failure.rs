//! What a failed call means.
//!
//! The one question for a put is whether it may have been written. It surely was not where no node
//! could be spoken to, and where the statement itself is refused. Everything else leaves it open:
//! timeouts, a broken connection, the unknown end of a Paxos round. So do too few replicas and
//! overload: a coordinator reports them in every phase of a round, also behind the one in which the
//! put was accepted.

use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError,
    MetadataError, NewSessionError, PrepareError, RequestAttemptError,
};

use crate::driver::remote::{CallKind, FailureKind};
use crate::error::DriverError;

fn kind_of(error: &ExecutionError) -> FailureKind {
    match error {
        ExecutionError::BadQuery(_) => FailureKind::Permanent,
        ExecutionError::EmptyPlan => FailureKind::Transient,
        ExecutionError::ConnectionPoolError(error) => of_pool(error),
        ExecutionError::PrepareError(PrepareError::AllAttemptsFailed { first_attempt }) => {
            // Nothing was executed.
            match of_attempt(first_attempt) {
                FailureKind::Permanent => FailureKind::Permanent,
                _ => FailureKind::Transient,
            }
        }
        ExecutionError::PrepareError(_) => FailureKind::Transient,
        ExecutionError::LastAttemptError(attempt) => of_attempt(attempt),
        _ => FailureKind::Ambiguous,
    }
}

fn of_attempt(error: &RequestAttemptError) -> FailureKind {
    match error {
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_) => FailureKind::Permanent,
        RequestAttemptError::UnableToAllocStreamId => FailureKind::Transient,
        RequestAttemptError::DbError(
            DbError::SyntaxError
            | DbError::Invalid
            | DbError::AuthenticationError
            | DbError::Unauthorized
            | DbError::ConfigError,
            _,
        ) => FailureKind::Permanent,
        _ => FailureKind::Ambiguous,
    }
}

/// No connection could be had, so nothing was sent. That a user is refused does not pass.
fn of_pool(error: &ConnectionPoolError) -> FailureKind {
    let setup = match error {
        ConnectionPoolError::Broken {
            last_connection_error: ConnectionError::ConnectionSetupRequestError(setup),
        } => setup,
        // A certificate that is refused, and nothing else, has data in it that is not valid.
        ConnectionPoolError::Broken { last_connection_error: ConnectionError::IoError(error) }
            if error.kind() == std::io::ErrorKind::InvalidData =>
        {
            return FailureKind::Permanent;
        }
        _ => return FailureKind::Transient,
    };
    match &setup.error {
        ConnectionSetupRequestErrorKind::MissingAuthentication
        | ConnectionSetupRequestErrorKind::StartAuthSessionError(_)
        | ConnectionSetupRequestErrorKind::AuthChallengeEvaluationError(_)
        | ConnectionSetupRequestErrorKind::AuthFinishError(_)
        | ConnectionSetupRequestErrorKind::DbError(
            DbError::AuthenticationError | DbError::Unauthorized,
            _,
        ) => FailureKind::Permanent,
        _ => FailureKind::Transient,
    }
}

/// The error of a call that failed. `doing` says which and where.
pub(super) fn classify(call: CallKind, doing: &str, error: ExecutionError) -> DriverError {
    kind_of(&error).into_error(call, format!("{doing}: {error}")).caused_by(error)
}

/// The error of a session that could not be made.
pub(super) fn not_opened(doing: &str, error: NewSessionError) -> DriverError {
    let kind = match &error {
        NewSessionError::MetadataError(MetadataError::ConnectionPoolError(pool)) => of_pool(pool),
        NewSessionError::IllegalConfig(_) | NewSessionError::EmptyKnownNodesList => {
            FailureKind::Permanent
        }
        _ => FailureKind::Transient,
    };
    kind.into_error(CallKind::Read, format!("{doing}: {error}")).caused_by(error)
}

#[cfg(test)]
mod tests {
    use scylla::statement::Consistency;

    use super::*;

    /// What an error answer of the engine is turned into, for a put.
    fn of(error: DbError) -> DriverError {
        let attempt = RequestAttemptError::DbError(error, "said".to_owned());
        classify(CallKind::Write, "here", ExecutionError::LastAttemptError(attempt))
    }

    #[test]
    fn an_unknown_end_leaves_a_put_open() {
        // CAS_WRITE_UNKNOWN
        assert!(of(DbError::Other(0x1700)).may_have_been_written());
        assert!(of(DbError::ServerError).may_have_been_written());
        let timeout = ExecutionError::RequestTimeout(std::time::Duration::from_secs(1));
        assert!(classify(CallKind::Write, "here", timeout.clone()).may_have_been_written());
        assert!(!classify(CallKind::Read, "here", timeout).may_have_been_written());
    }

    #[test]
    fn too_few_replicas_and_overload_leave_a_put_open() {
        let few = DbError::Unavailable { consistency: Consistency::Serial, required: 2, alive: 1 };
        for error in [few, DbError::Overloaded, DbError::IsBootstrapping] {
            let attempt = RequestAttemptError::DbError(error.clone(), "said".to_owned());
            let read = ExecutionError::LastAttemptError(attempt);
            let read = classify(CallKind::Read, "here", read);
            assert!(matches!(read, DriverError::Unavailable { .. }), "{read:?}");
            let put = of(error);
            assert!(put.may_have_been_written(), "{put:?}");
            assert!(put.to_string().starts_with("here: "), "{put}");
        }
    }

    #[test]
    fn a_refused_statement_is_not_tried_again() {
        for error in [DbError::Invalid, DbError::Unauthorized, DbError::SyntaxError] {
            assert!(matches!(of(error), DriverError::Failed { .. }));
        }
    }
}
