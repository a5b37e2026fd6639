//! Streams of pages, made of a function that reads one page.

use futures_util::StreamExt;

use super::{DriverError, EventPage, EventPages, Fetch, KeyPages};
use crate::event::AggregateKey;

/// A stream of pages from a function that reads one page: what most drivers need for
/// [`Driver::fetch_events`](super::Driver::fetch_events). Each page begins after the last event of
/// the page before it.
pub fn paged<F>(fetch: Fetch, mut read: F) -> EventPages
where
    F: FnMut(Fetch) -> Result<EventPage, DriverError> + Send + 'static,
{
    let mut next = Some(fetch);
    let pages = std::iter::from_fn(move || {
        let mut fetch = next.take()?;
        match read(fetch) {
            Err(error) => Some(Err(error)),
            Ok(page) => {
                let last = page.events.last()?.sequence;
                fetch.after = Some(last);
                fetch.limit = fetch.limit.map(|limit| limit.saturating_sub(page.events.len()));
                if page.more && fetch.bounds().is_some() {
                    next = Some(fetch);
                }
                Some(Ok(page.events))
            }
        }
    });
    futures_util::stream::iter(pages).boxed()
}

/// A stream of pages of keys from a function that reads the page after a key: what most drivers
/// need for [`Driver::keys`](super::Driver::keys). An empty page is the end.
pub fn paged_keys<F>(after: Option<AggregateKey>, mut read: F) -> KeyPages
where
    F: FnMut(Option<&AggregateKey>) -> Result<Vec<AggregateKey>, DriverError> + Send + 'static,
{
    let mut next = Some(after);
    let pages = std::iter::from_fn(move || match read(next.take()?.as_ref()) {
        Err(error) => Some(Err(error)),
        Ok(page) => {
            next = Some(Some(page.last()?.clone()));
            Some(Ok(page))
        }
    });
    futures_util::stream::iter(pages).boxed()
}
