//! What a failed call means.
//!
//! The one question for a put is whether it may have been written. It surely was not where no
//! connection could be made, and where an error answer names a fault of the request. Everything
//! else leaves it open.

use reqwest::StatusCode;

use crate::driver::remote::CallKind;
use crate::error::DriverError;

/// So much of an error answer is shown.
const SHOWN: usize = 400;

/// The error of a call that an answer refused.
pub(super) fn refused(call: CallKind, doing: &str, status: StatusCode, body: &str) -> DriverError {
    let said: String = body.trim().chars().take(SHOWN).collect();
    let message = format!("{doing}: {status}: {said}");
    if body.contains("TableNotFound") {
        return DriverError::failed(format!("{message}: add ?create=true to make it"));
    }
    // Throttling has no promise that nothing was done.
    let passing = status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT;
    match (passing, call) {
        (true, CallKind::Write) => DriverError::unknown(message),
        (true, CallKind::Read) => DriverError::unavailable(message),
        // A collision of two transactions on the head; neither of which was refused for good.
        (false, _)
            if status == StatusCode::CONFLICT || status == StatusCode::PRECONDITION_FAILED =>
        {
            DriverError::unavailable(message)
        }
        (false, _) => DriverError::failed(message),
    }
}

/// The error of a call that got no answer.
pub(super) fn unanswered(call: CallKind, doing: &str, error: reqwest::Error) -> DriverError {
    let mut message = format!("{doing}: {error}");
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        message += &format!(": {cause}");
        source = cause.source();
    }
    let answer = if error.is_builder() {
        DriverError::failed(message)
    } else if error.is_connect() || call == CallKind::Read {
        DriverError::unavailable(message)
    } else {
        DriverError::unknown(message)
    };
    answer.caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_request_is_to_blame_for_is_not_tried_again() {
        let of = |status, body| refused(CallKind::Write, "here", status, body);
        assert!(of(StatusCode::SERVICE_UNAVAILABLE, "ServerBusy").may_have_been_written());
        assert!(of(StatusCode::INTERNAL_SERVER_ERROR, "").may_have_been_written());
        assert!(of(StatusCode::TOO_MANY_REQUESTS, "").may_have_been_written());
        let forbidden = of(StatusCode::FORBIDDEN, "AuthenticationFailed");
        assert!(matches!(forbidden, DriverError::Failed { .. }));
        let missing = of(StatusCode::NOT_FOUND, "TableNotFound").to_string();
        assert!(missing.contains("?create=true"), "{missing}");
        let busy = refused(CallKind::Read, "here", StatusCode::SERVICE_UNAVAILABLE, "ServerBusy");
        assert!(matches!(busy, DriverError::Unavailable { .. }));
    }
}
