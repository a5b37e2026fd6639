//! The driver: each method of the contract as a call on the collection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::calls::LIMITS;
use super::connection::MongoDbCollection;
use super::snapshot::SNAPSHOT_BYTES;
use crate::driver::remote::{CallKind, SharedConnection, check_snapshot_size};
use crate::driver::{Driver, EventPages, Fetch, KeyPages, Limits, Put, PutReceipt, SnapshotStore};
use crate::error::DriverError;
use crate::event::{AggregateKey, Sequence};

/// Events in a collection of MongoDB. See the [module](super).
pub struct MongoDbDriver {
    shared: Arc<SharedConnection<MongoDbCollection>>,
}

impl fmt::Debug for MongoDbDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoDbDriver")
            .field("collection", &self.shared.connection.name)
            .finish_non_exhaustive()
    }
}

impl MongoDbDriver {
    pub(super) fn new(connection: MongoDbCollection) -> Self {
        MongoDbDriver { shared: SharedConnection::new(connection) }
    }
}

#[async_trait]
impl Driver for MongoDbDriver {
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        let connection = self.shared.open()?;
        connection.retry(CallKind::Read, "find", || connection.has(key, sequence)).await
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        self.shared.pages(key, fetch, |shared, key, fetch| async move {
            let connection = shared.open()?;
            connection.retry(CallKind::Read, "find", || connection.page(&key, fetch)).await
        })
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        let connection = self.shared.open()?;
        LIMITS.check(&put)?;
        connection.retry(CallKind::Write, "insert", || connection.insert(&put)).await?;
        Ok(PutReceipt::default())
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.shared.close();
        Ok(())
    }

    async fn latest_sequence(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        let connection = self.shared.open()?;
        connection.retry(CallKind::Read, "find", || connection.latest(key)).await
    }

    fn keys(&self, prefix: &str, after: Option<&AggregateKey>) -> KeyPages {
        let first = Some((self.shared.clone(), prefix.to_owned(), after.cloned()));
        stream::unfold(first, |next| async move {
            let (shared, prefix, after) = next?;
            let page = async {
                let connection = shared.open()?;
                let page = || connection.keys_page(&prefix, after.as_ref());
                connection.retry(CallKind::Read, "find", page).await
            };
            match page.await {
                Err(error) => Some((Err(error), None)),
                Ok(keys) => {
                    let last = keys.last()?.clone();
                    Some((Ok(keys), Some((shared, prefix, Some(last)))))
                }
            }
        })
        .boxed()
    }

    fn snapshots(&self) -> Option<&dyn SnapshotStore> {
        Some(self)
    }

    fn put_timeout(&self) -> Option<Duration> {
        Some(self.shared.connection.policy.deadline())
    }

    fn limits(&self) -> Limits {
        LIMITS
    }
}

#[async_trait]
impl SnapshotStore for MongoDbDriver {
    async fn load_snapshot(&self, key: &AggregateKey) -> Result<Option<Bytes>, DriverError> {
        let connection = self.shared.open()?;
        connection.retry(CallKind::Read, "find", || connection.load_snapshot(key)).await
    }

    async fn save_snapshot(&self, key: &AggregateKey, snapshot: Bytes) -> Result<(), DriverError> {
        let connection = self.shared.open()?;
        check_snapshot_size(key, &snapshot, SNAPSHOT_BYTES)?;
        // Nothing rests on it and it can be written twice, so it is tried again like a read.
        let save = || connection.save_snapshot(key, &snapshot);
        connection.retry(CallKind::Read, "replace", save).await
    }
}
