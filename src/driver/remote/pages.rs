//! Pages of events and of keys, read from the engine one by one.

use std::future::Future;

use futures_util::{StreamExt, stream};

use crate::driver::{EventPage, EventPages, Fetch, KeyPages};
use crate::error::DriverError;
use crate::event::AggregateKey;

const KEYS_PER_PAGE: usize = 1_000;

/// Pages made one by one by a function that asks the engine for the page at a [`Fetch`], each
/// behind the last event of the one before. An engine's own page limit therefore never cuts a
/// history short.
pub(crate) fn paged_events<F, R>(fetch: Fetch, read: F) -> EventPages
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

/// Keys that an engine has in no order: all are waited for, sorted, and handed out in pages.
pub(crate) fn sorted_key_pages<R>(keys: R) -> KeyPages
where
    R: Future<Output = Result<Vec<AggregateKey>, DriverError>> + Send + 'static,
{
    stream::once(async move {
        let pages = match keys.await {
            Ok(mut keys) => {
                keys.sort_unstable();
                keys.dedup();
                keys.chunks(KEYS_PER_PAGE).map(|page| Ok(page.to_vec())).collect()
            }
            Err(error) => vec![Err(error)],
        };
        stream::iter(pages)
    })
    .flatten()
    .boxed()
}
