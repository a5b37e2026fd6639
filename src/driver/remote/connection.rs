//! The connection that a driver shares with the pages it handed out, until the driver is closed.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt, stream};

use super::paged_events;
use crate::driver::{EventPage, EventPages, Fetch};
use crate::error::DriverError;
use crate::event::AggregateKey;

/// A connection, until the driver is closed.
pub(crate) struct SharedConnection<C> {
    pub(crate) connection: C,
    closed: AtomicBool,
}

impl<C> SharedConnection<C> {
    pub(crate) fn new(connection: C) -> Arc<Self> {
        Arc::new(SharedConnection { connection, closed: AtomicBool::new(false) })
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

impl<C: Send + Sync + 'static> SharedConnection<C> {
    /// An aggregate's events, [page by page](paged_events), or one error where the driver is
    /// closed.
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
        paged_events(fetch, move |fetch| page(shared.clone(), key.clone(), fetch))
    }
}
