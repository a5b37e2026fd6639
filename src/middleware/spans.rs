//! A `tracing` span around every append, command and fetch.

use serde::Deserialize;
use tracing::{Instrument, Span, debug_span, field};

use super::{
    Execution, FetchRequest, Middleware, NextAppend, NextExecute, NextFetch, Outcome, async_trait,
};
use crate::append::{Append, Appended};
use crate::driver::EventPage;
use crate::error::{AppendError, ReadError};
use crate::event::AggregateKey;

/// `tracing` spans at debug level: `append`, `execute` and `fetch`.
///
/// Their fields have the names that OpenTelemetry's conventions give to calls of a database, so
/// that `tracing-opentelemetry` exports them as such: `otel.kind` (`client`), `otel.name` (the
/// operation and the category), `db.system.name` (`seriatim`), `db.operation.name`,
/// `db.collection.name` (the category), and after a failure `otel.status_code` (`ERROR`) and
/// `error.type` (the error's variant). What OpenTelemetry has no name for is the store's own:
/// `seriatim.key`, `seriatim.events` (how many are appended), `seriatim.last` (the last one's
/// sequence), `seriatim.outcome` of a command, `seriatim.error` (the message).
/// `db.response.returned_rows` counts the events of a page.
///
/// `correlation_id` and `causation_id` of the first event's metadata, or of the command's, are
/// carried as `seriatim.correlation_id` and `seriatim.causation_id`, where they are text.
///
/// ```
/// use seriatim::EventStore;
/// use seriatim::middleware::Spans;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = EventStore::builder().url("memory:").middleware(Spans).open().await?;
/// # drop(store);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Spans;

/// The fields that all spans have.
macro_rules! call_span {
    ($operation:literal) => {
        debug_span!(
            $operation,
            otel.kind = "client",
            otel.name = field::Empty,
            otel.status_code = field::Empty,
            db.system.name = "seriatim",
            db.operation.name = $operation,
            db.collection.name = field::Empty,
            db.response.returned_rows = field::Empty,
            "error.type" = field::Empty,
            seriatim.key = field::Empty,
            seriatim.events = field::Empty,
            seriatim.last = field::Empty,
            seriatim.outcome = field::Empty,
            seriatim.error = field::Empty,
            seriatim.correlation_id = field::Empty,
            seriatim.causation_id = field::Empty,
        )
    };
}

/// Says which aggregate the call is for. The span is named for its operation.
fn name(span: &Span, key: Option<&AggregateKey>) {
    let operation = span.metadata().filter(|_| !span.is_disabled()).map(|span| span.name());
    if let (Some(operation), Some(key)) = (operation, key) {
        span.record("otel.name", format!("{operation} {}", key.category()));
        span.record("db.collection.name", key.category());
        span.record("seriatim.key", key.as_str());
    }
}

/// What an event's metadata says of the events before it; fields that are not text are the user's
/// own.
#[derive(Default, Deserialize)]
struct Trace {
    #[serde(default)]
    correlation_id: Option<serde_json::Value>,
    #[serde(default)]
    causation_id: Option<serde_json::Value>,
}

fn carry(span: &Span, metadata: Option<&[u8]>) {
    let Some(metadata) = metadata.filter(|_| !span.is_disabled()) else { return };
    let trace: Trace = serde_json::from_slice(metadata).unwrap_or_default();
    let text = |id: Option<serde_json::Value>| id?.as_str().map(str::to_owned);
    if let Some(id) = text(trace.correlation_id) {
        span.record("seriatim.correlation_id", id);
    }
    if let Some(id) = text(trace.causation_id) {
        span.record("seriatim.causation_id", id);
    }
}

fn failed(span: &Span, kind: &'static str, error: &dyn std::fmt::Display) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", kind);
    span.record("seriatim.error", field::display(error));
}

#[async_trait]
impl Middleware for Spans {
    async fn append(&self, append: Append, next: NextAppend<'_>) -> Result<Appended, AppendError> {
        let span = call_span!("append");
        name(&span, append.key().ok());
        carry(&span, append.metadata_bytes());
        span.record("seriatim.events", append.len());
        let answer = next.run(append).instrument(span.clone()).await;
        match &answer {
            Ok(appended) => drop(span.record("seriatim.last", appended.last.get())),
            Err(error) => failed(&span, append_error(error), error),
        }
        answer
    }

    async fn execute(
        &self,
        execution: Execution,
        next: NextExecute<'_>,
    ) -> Result<Outcome, AppendError> {
        let span = call_span!("execute");
        name(&span, Some(&execution.key));
        let metadata = execution.options.metadata.as_ref().and_then(|json| json.as_ref().ok());
        carry(&span, metadata.map(|json| json.as_str().as_bytes()));
        let answer = next.run(execution).instrument(span.clone()).await;
        match &answer {
            Ok(outcome) => drop(span.record("seriatim.outcome", field::debug(outcome))),
            Err(error) => failed(&span, append_error(error), error),
        }
        answer
    }

    async fn fetch(
        &self,
        request: FetchRequest,
        next: NextFetch<'_>,
    ) -> Result<EventPage, ReadError> {
        let span = call_span!("fetch");
        name(&span, Some(&request.key));
        let answer = next.run(request).instrument(span.clone()).await;
        match &answer {
            Ok(page) => drop(span.record("db.response.returned_rows", page.events.len())),
            Err(error) => failed(&span, read_error(error), error),
        }
        answer
    }
}

fn append_error(error: &AppendError) -> &'static str {
    match error {
        AppendError::Conflict { .. } => "Conflict",
        AppendError::InvalidKey(_) => "InvalidKey",
        AppendError::Empty { .. } => "Empty",
        AppendError::InvalidEvent { .. } => "InvalidEvent",
        AppendError::TooLarge { .. } => "TooLarge",
        AppendError::CommitIdReused { .. } => "CommitIdReused",
        AppendError::Indeterminate { .. } => "Indeterminate",
        AppendError::Refused { .. } => "Refused",
        AppendError::Busy { .. } => "Busy",
        AppendError::Timeout { .. } => "Timeout",
        AppendError::ActorFailed { .. } => "ActorFailed",
        AppendError::Panicked { .. } => "Panicked",
        AppendError::Driver { .. } => "Driver",
        AppendError::Closed => "Closed",
    }
}

fn read_error(error: &ReadError) -> &'static str {
    match error {
        ReadError::InvalidKey(_) => "InvalidKey",
        ReadError::Driver(_) => "Driver",
        ReadError::Timeout { .. } => "Timeout",
        ReadError::Refused { .. } => "Refused",
        ReadError::Upcast(_) => "Upcast",
        ReadError::NoLog(_) => "NoLog",
        ReadError::Closed => "Closed",
    }
}
