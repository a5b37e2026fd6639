//! Why something is not served, and how a failed request is answered.

use std::fmt;
use std::net::SocketAddr;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;
use seriatim::driver::DriverError;
use seriatim::{ConsumerError, NoLog, ReadError};

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Others than this machine can reach the address, and no token is set. Set
    /// [`Inspector::token`](crate::Inspector::token), or listen on a loopback address.
    #[error("{address} can be reached from elsewhere: that needs a token")]
    TokenNeeded {
        /// Where the socket listens.
        address: SocketAddr,
    },
    /// The socket or a thread failed.
    #[error("the server did not start: {0}")]
    Io(#[from] std::io::Error),
}

/// A request that is answered with an error: a status, and `{"error": …}`.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Refusal { status, message: message.into() }
    }

    pub(crate) fn senseless(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, message)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        HttpResponse::build(self.status).json(json!({ "error": self.message }))
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let status = match &error {
            ReadError::InvalidKey(_) => StatusCode::BAD_REQUEST,
            ReadError::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            ReadError::Refused { .. } => StatusCode::FORBIDDEN,
            ReadError::NoLog(_) | ReadError::Driver(DriverError::Unsupported { .. }) => {
                StatusCode::NOT_IMPLEMENTED
            }
            ReadError::Closed => StatusCode::SERVICE_UNAVAILABLE,
            ReadError::Driver(driver) if driver.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refusal::new(status, error.to_string())
    }
}

impl From<NoLog> for Refusal {
    fn from(error: NoLog) -> Self {
        Refusal::from(ReadError::NoLog(error))
    }
}

impl From<ConsumerError> for Refusal {
    fn from(error: ConsumerError) -> Self {
        match error {
            ConsumerError::NoLog(error) => Refusal::from(error),
            ConsumerError::Read(error) => Refusal::from(error),
            other => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, other.to_string()),
        }
    }
}
