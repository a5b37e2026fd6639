//! What a failed call means.
//!
//! The one question for a put is whether it may have been written. It surely was not where no node
//! could be spoken to, where the coordinator found too few replicas before it began, and where the
//! statement itself is refused. Everything else leaves it open: timeouts, a broken connection, the
//! unknown end of a Paxos round.

use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};

use crate::driver::remote::{CallKind, FailureKind};
use crate::error::DriverError;

fn kind_of(error: &ExecutionError) -> FailureKind {
    match error {
        ExecutionError::BadQuery(_) => FailureKind::Permanent,
        ExecutionError::EmptyPlan | ExecutionError::ConnectionPoolError(_) => {
            FailureKind::Transient
        }
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
        RequestAttemptError::DbError(refused, _) => match refused {
            DbError::SyntaxError
            | DbError::Invalid
            | DbError::AuthenticationError
            | DbError::Unauthorized
            | DbError::ConfigError => FailureKind::Permanent,
            DbError::Unavailable { .. } | DbError::Overloaded | DbError::IsBootstrapping => {
                FailureKind::Transient
            }
            _ => FailureKind::Ambiguous,
        },
        _ => FailureKind::Ambiguous,
    }
}

/// The error of a call that failed. `doing` says which and where.
pub(super) fn classify(call: CallKind, doing: &str, error: ExecutionError) -> DriverError {
    let message = format!("{doing}: {error}");
    let answer = kind_of(&error).into_error(call, message);
    answer.caused_by(error)
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
    fn too_few_replicas_and_overload_wrote_nothing() {
        let few = DbError::Unavailable { consistency: Consistency::Serial, required: 2, alive: 1 };
        for error in [few, DbError::Overloaded, DbError::IsBootstrapping] {
            let error = of(error);
            assert!(matches!(error, DriverError::Unavailable { .. }), "{error:?}");
            assert!(error.to_string().starts_with("here: "), "{error}");
        }
    }

    #[test]
    fn a_refused_statement_is_not_tried_again() {
        for error in [DbError::Invalid, DbError::Unauthorized, DbError::SyntaxError] {
            assert!(matches!(of(error), DriverError::Failed { .. }));
        }
    }
}
