//! A `tracing` span around every append, command and fetch.

use tracing::{Instrument, Span, debug_span, field};

use super::{
    Execution, FetchRequest, Middleware, NextAppend, NextExecute, NextFetch, Outcome, async_trait,
};
use crate::append::{Append, Appended};
use crate::driver::EventPage;
use crate::error::{AppendError, ReadError};

/// `tracing` spans at debug level: `append` (`key`, `events`, then `last` or `error`), `execute`
/// (`key`, then `outcome` or `error`) and `fetch` (`key`, then `events` or `error`).
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

#[async_trait]
impl Middleware for Spans {
    async fn append(&self, append: Append, next: NextAppend<'_>) -> Result<Appended, AppendError> {
        let span = debug_span!(
            "append",
            key = append.key().map(field::display).ok(),
            events = append.len(),
            last = field::Empty,
            error = field::Empty,
        );
        let answer = next.run(append).instrument(span.clone()).await;
        match &answer {
            Ok(appended) => span.record("last", appended.last.get()),
            Err(error) => span.record("error", field::display(error)),
        };
        answer
    }

    async fn execute(
        &self,
        execution: Execution,
        next: NextExecute<'_>,
    ) -> Result<Outcome, AppendError> {
        let span = debug_span!(
            "execute",
            key = %execution.key,
            outcome = field::Empty,
            error = field::Empty,
        );
        let answer = next.run(execution).instrument(span.clone()).await;
        match &answer {
            Ok(outcome) => span.record("outcome", field::debug(outcome)),
            Err(error) => span.record("error", field::display(error)),
        };
        answer
    }

    async fn fetch(
        &self,
        request: FetchRequest,
        next: NextFetch<'_>,
    ) -> Result<EventPage, ReadError> {
        let span: Span = debug_span!(
            "fetch",
            key = %request.key,
            events = field::Empty,
            error = field::Empty,
        );
        let answer = next.run(request).instrument(span.clone()).await;
        match &answer {
            Ok(page) => span.record("events", page.events.len()),
            Err(error) => span.record("error", field::display(error)),
        };
        answer
    }
}
