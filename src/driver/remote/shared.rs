//! What a driver and the pages it handed out have in common.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt, stream};

use super::paged;
#[cfg(any(feature = "dynamodb", feature = "cassandra", feature = "azure-tables"))]
use crate::driver::KeyPages;
use crate::driver::{DriverError, EventPage, EventPages, Fetch};
use crate::event::AggregateKey;

/// A connection, until the driver is closed.
pub(crate) struct Shared<C> {
    pub(crate) connection: C,
    closed: AtomicBool,
}

impl<C> Shared<C> {
    pub(crate) fn new(connection: C) -> Arc<Self> {
        Arc::new(Shared { connection, closed: AtomicBool::new(false) })
    }

    pub(crate) fn open(&self) -> Result<&C, DriverError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(DriverError::Closed);
        }
        Ok(&self.connection)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

impl<C: Send + Sync + 'static> Shared<C> {
    /// An aggregate's events, [page by page](paged), or one error where the driver is closed.
    pub(crate) fn pages<F, R>(
        self: &Arc<Self>,
        key: &AggregateKey,
        fetch: Fetch,
        page: F,
    ) -> EventPages
    where
        F: Fn(Arc<Self>, AggregateKey, Fetch) -> R + Send + 'static,
        R: Future<Output = Result<EventPage, DriverError>> + Send + 'static,
    {
        if let Err(closed) = self.open() {
            return stream::iter([Err(closed)]).boxed();
        }
        let (shared, key) = (self.clone(), key.clone());
        paged(fetch, move |fetch| page(shared.clone(), key.clone(), fetch))
    }
}

#[cfg(any(feature = "dynamodb", feature = "cassandra", feature = "azure-tables"))]
const KEYS_PER_PAGE: usize = 1_000;

/// Keys that an engine has in no order: all are waited for, sorted, and handed out in pages.
#[cfg(any(feature = "dynamodb", feature = "cassandra", feature = "azure-tables"))]
pub(crate) fn sorted_pages<R>(keys: R) -> KeyPages
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
