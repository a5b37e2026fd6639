//! What an answer of DynamoDB, or the lack of one, says of the call.
//!
//! The one question for a put is whether it may have been written. An error answer that names its
//! cause says no; a server's own failure, a broken connection and a timeout leave it open. What
//! came before anything was sent (no credentials, no connection) says no again.

use std::error::Error;
use std::fmt::Write;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::CancellationReason;

use crate::driver::remote::{CallKind, FailureKind};
use crate::error::DriverError;

/// Codes of refusals that a later attempt may not meet.
const PASSING: &[&str] = &[
    "ProvisionedThroughputExceededException",
    "ReplicatedWriteConflictException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "TransactionConflictException",
];

/// The same in a cancelled transaction's reasons, which have names of their own.
const PASSING_REASONS: &[&str] =
    &["ProvisionedThroughputExceeded", "ThrottlingError", "TransactionConflict"];

/// The reason of an item whose condition did not hold.
const CONDITION_FAILED: &str = "ConditionalCheckFailed";

/// What the failure of a call means.
pub(super) fn kind_of<E: ProvideErrorMetadata>(error: &SdkError<E>) -> FailureKind {
    match error {
        SdkError::ConstructionFailure(_) => FailureKind::Permanent,
        SdkError::DispatchFailure(failure) => {
            let source = failure.as_connector_error().map(|error| error as &(dyn Error + 'static));
            if failure.is_user() {
                FailureKind::Permanent
            } else if source.is_some_and(before_sending) {
                FailureKind::Transient
            } else {
                FailureKind::Ambiguous
            }
        }
        SdkError::ServiceError(refusal) => {
            let code = refusal.err().code().unwrap_or_default();
            of_answer(code, refusal.raw().status().as_u16())
        }
        // A timeout, an answer that could not be read, and whatever a later client may add.
        _ => FailureKind::Ambiguous,
    }
}

/// What an error answer means.
fn of_answer(code: &str, status: u16) -> FailureKind {
    match code {
        // An earlier sending of the same put is being worked on.
        "TransactionInProgressException" => FailureKind::Ambiguous,
        // A gateway's word for no answer from behind it.
        code if code.contains("Timeout") => FailureKind::Ambiguous,
        _ if status == 408 => FailureKind::Ambiguous,
        code if PASSING.contains(&code) => FailureKind::Transient,
        _ if status == 429 => FailureKind::Transient,
        _ if (400..500).contains(&status) => FailureKind::Permanent,
        _ => FailureKind::Ambiguous,
    }
}

/// Whether the failure came before anything was sent: no credentials, or no connection.
fn before_sending(error: &(dyn Error + 'static)) -> bool {
    // The client's connector says so in words only; where they change, the failure counts as open,
    // which is safe. A test of this file keeps watch.
    chain(error).any(|cause| {
        cause.downcast_ref::<CredentialsError>().is_some()
            || cause.to_string() == "client error (Connect)"
    })
}

/// The failure as the driver says it; `doing` names the call, the table and the address.
pub(super) fn classify<E>(call: CallKind, doing: &str, error: SdkError<E>) -> DriverError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let message = format!("{doing}: {}", reason(&error));
    let refusal = kind_of(&error).into_error(call, message);
    refusal.caused_by(error)
}

/// The failure in one line.
fn reason<E>(error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let SdkError::ServiceError(refusal) = error {
        let meta = refusal.err().meta();
        let code = meta.code().unwrap_or("an error without a code");
        return match meta.message() {
            Some(message) => format!("{code}: {message}"),
            None => format!("{code}, status {}", refusal.raw().status()),
        };
    }
    let mut line = error.to_string();
    for cause in chain(error).skip(1) {
        let _ = write!(line, ": {cause}");
    }
    line
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Why a transaction was cancelled. Nothing of it was written, whatever the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cancelled {
    /// The condition of the item of this index did not hold: its event exists already.
    Taken(usize),
    /// Others were at work on an item, or the table is over its capacity.
    Passing(String),
    /// Trying again will not help.
    Lasting(String),
}

/// Reads the reasons, one per item; an item that was not to blame has the reason `None`, as a
/// string.
pub(super) fn cancelled(reasons: &[CancellationReason]) -> Cancelled {
    let codes = || reasons.iter().map(|reason| reason.code().unwrap_or("None"));
    if let Some(index) = codes().position(|code| code == CONDITION_FAILED) {
        return Cancelled::Taken(index);
    }
    let told = |reason: &CancellationReason| {
        let code = reason.code().filter(|code| *code != "None")?;
        Some(format!("{code}: {}", reason.message().unwrap_or("without a message")))
    };
    let lasting = reasons.iter().find_map(|reason| {
        let passes = PASSING_REASONS.contains(&reason.code().unwrap_or("None"));
        if passes { None } else { told(reason) }
    });
    match lasting {
        Some(reason) => Cancelled::Lasting(reason),
        None => Cancelled::Passing(
            reasons.iter().find_map(told).unwrap_or_else(|| "without a reason".to_owned()),
        ),
    }
}

/// Whether a put's token was used with another request, as the engine sees it.
pub(super) fn token_mismatch<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    matches!(error, SdkError::ServiceError(refusal)
        if refusal.err().code() == Some("IdempotentParameterMismatchException"))
}

/// Whether the table is not there.
pub(super) fn no_table<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    matches!(error, SdkError::ServiceError(refusal)
        if refusal.err().code() == Some("ResourceNotFoundException"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(codes: &[&str]) -> Vec<CancellationReason> {
        codes.iter().map(|code| CancellationReason::builder().code(*code).build()).collect()
    }

    #[test]
    fn an_answer_is_judged_by_its_code_and_then_by_its_status() {
        for (code, status, meaning) in [
            ("ThrottlingException", 400, FailureKind::Transient),
            ("ProvisionedThroughputExceededException", 400, FailureKind::Transient),
            ("TransactionConflictException", 400, FailureKind::Transient),
            ("TransactionInProgressException", 400, FailureKind::Ambiguous),
            ("ValidationException", 400, FailureKind::Permanent),
            ("AccessDeniedException", 400, FailureKind::Permanent),
            ("InternalServerError", 500, FailureKind::Ambiguous),
            ("ServiceUnavailable", 503, FailureKind::Ambiguous),
            ("RequestTimeoutException", 400, FailureKind::Ambiguous),
            ("", 408, FailureKind::Ambiguous),
            ("", 502, FailureKind::Ambiguous),
            ("", 200, FailureKind::Ambiguous),
        ] {
            assert_eq!(of_answer(code, status), meaning, "{code} {status}");
        }
    }

    #[test]
    fn a_cancelled_transaction_is_a_conflict_where_any_condition_failed() {
        let seen = cancelled(&reasons(&["None", "TransactionConflict", CONDITION_FAILED, "None"]));
        assert_eq!(seen, Cancelled::Taken(2));
        let seen = cancelled(&reasons(&["ValidationError", CONDITION_FAILED]));
        assert_eq!(seen, Cancelled::Taken(1));
    }

    #[test]
    fn a_cancelled_transaction_passes_where_every_reason_does() {
        for code in PASSING_REASONS {
            let seen = cancelled(&reasons(&["None", code]));
            assert!(matches!(seen, Cancelled::Passing(_)), "{code}: {seen:?}");
        }
        let seen = cancelled(&reasons(&["TransactionConflict", "ItemCollectionSizeLimitExceeded"]));
        assert!(matches!(seen, Cancelled::Lasting(_)), "{seen:?}");
        assert!(matches!(cancelled(&[]), Cancelled::Passing(_)));
    }
}
