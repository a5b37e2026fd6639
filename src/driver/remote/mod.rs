//! What the drivers of remote engines share: options from a URL, retries, pages read one by one, a connection that
//! is closed once.
//!
//! Whatever speaks to an engine keeps to three rules. What surely was not written and may succeed later
//! ([`DriverError::Unavailable`]) is tried again here, with jittered backoff, until the driver's
//! deadline. What may have been written ([`DriverError::Unknown`]) is not: the mailroom sends the same
//! put again. A put over a limit is refused before anything is sent.

mod call;
mod retry;
mod shared;
// MongoDB's addresses are its client's to read.
#[cfg(any(feature = "dynamodb", feature = "cassandra", feature = "azure-tables"))]
mod url;

use std::future::Future;

use futures_util::StreamExt;
use futures_util::stream;

use super::{DriverError, EventPage, EventPages, Fetch};

pub(crate) use call::Call;
#[cfg(any(feature = "mongodb", feature = "cassandra", feature = "azure-tables"))]
pub(crate) use call::late;
pub(crate) use retry::Retry;
pub(crate) use shared::Shared;
#[cfg(any(feature = "dynamodb", feature = "cassandra", feature = "azure-tables"))]
pub(crate) use shared::sorted_pages;
#[cfg(any(feature = "dynamodb", feature = "cassandra", feature = "azure-tables"))]
pub(crate) use url::RemoteUrl;
#[cfg(feature = "cassandra")]
pub(crate) use url::decoded;

/// Pages made one by one by a function that asks the engine for the page at a [`Fetch`], each behind the
/// last event of the one before. An empty page that says there is more is asked for again behind what
/// the function moved on to; an engine's own page limit therefore never cuts a history short.
fn paged<F, R>(fetch: Fetch, read: F) -> EventPages
where
    F: Fn(Fetch) -> R + Send + 'static,
    R: Future<Output = Result<EventPage, DriverError>> + Send + 'static,
{
    let first = fetch.bounds().map(|_| fetch);
    stream::unfold((first, read), |(next, read)| async move {
        let mut fetch = next?;
        let page = match read(fetch).await {
            Err(error) => return Some((Err(error), (None, read))),
            Ok(page) => page,
        };
        fetch.after = Some(page.events.last()?.sequence);
        fetch.limit = fetch.limit.map(|limit| limit.saturating_sub(page.events.len()));
        let next = (page.more && fetch.bounds().is_some()).then_some(fetch);
        Some((Ok(page.events), (next, read)))
    })
    .boxed()
}
