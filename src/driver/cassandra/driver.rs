//! The driver: each method of the contract as a call on the table.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use scylla::response::PagingState;

use super::partition::outgrown_by;
use super::snapshot::SNAPSHOT_BYTES;
use super::table::CassandraTable;
use crate::driver::remote::{CallKind, SharedConnection, check_snapshot_size, engine_key_pages};
use crate::driver::{Driver, EventPages, Fetch, KeyPages, Limits, Put, PutReceipt, SnapshotStore};
use crate::error::DriverError;
use crate::event::{AggregateKey, Sequence};

const LIMITS: Limits = Limits {
    events_per_put: 1_000,
    bytes_per_put: 8 << 20,
    bytes_per_event: 1 << 20,
    bytes_per_key: AggregateKey::MAX_BYTES,
    aggregates_per_put: 1,
};

/// Events in a table of Cassandra. See the [module](super).
pub struct CassandraDriver {
    shared: Arc<SharedConnection<CassandraTable>>,
}

impl fmt::Debug for CassandraDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CassandraDriver")
            .field("table", &self.shared.connection.name)
            .finish_non_exhaustive()
    }
}

impl CassandraDriver {
    pub(super) fn new(connection: CassandraTable) -> Self {
        CassandraDriver { shared: SharedConnection::new(connection) }
    }
}

#[async_trait]
impl Driver for CassandraDriver {
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        let connection = self.shared.open()?;
        connection.retry(CallKind::Read, "SELECT", || connection.has(key, sequence)).await
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        self.shared.pages(key, fetch, |shared, key, fetch| async move {
            let connection = shared.open()?;
            connection.retry(CallKind::Read, "SELECT", || connection.page(&key, fetch)).await
        })
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        let connection = self.shared.open()?;
        LIMITS.check(&put)?;
        connection.retry(CallKind::Write, "INSERT", || connection.insert(&put)).await?;
        if let Some(outgrowing) = outgrown_by(&put) {
            tracing::warn!(key = %outgrowing.key, rows = outgrowing.rows, "{outgrowing}");
        }
        Ok(PutReceipt::default())
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.shared.close();
        Ok(())
    }

    async fn latest_sequence(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        let connection = self.shared.open()?;
        connection.retry(CallKind::Read, "SELECT", || connection.latest(key)).await
    }

    fn keys(&self, prefix: &str, after: Option<&AggregateKey>) -> KeyPages {
        let (shared, prefix, after) = (self.shared.clone(), prefix.to_owned(), after.cloned());
        engine_key_pages(move |place: Option<PagingState>| {
            let (shared, prefix, after) = (shared.clone(), prefix.clone(), after.clone());
            async move {
                let table = shared.open()?;
                let ask = || table.some_keys(after.as_ref(), place.clone());
                let (mut keys, next) = table.retry(CallKind::Read, "SELECT", ask).await?;
                keys.retain(|key| key.as_str().starts_with(&prefix));
                Ok((keys, next))
            }
        })
    }

    fn snapshots(&self) -> Option<&dyn SnapshotStore> {
        self.shared.connection.keeps_snapshots().then_some(self)
    }

    fn put_timeout(&self) -> Option<Duration> {
        Some(self.shared.connection.put_timeout())
    }

    fn limits(&self) -> Limits {
        LIMITS
    }
}

#[async_trait]
impl SnapshotStore for CassandraDriver {
    async fn load_snapshot(&self, key: &AggregateKey) -> Result<Option<Bytes>, DriverError> {
        let connection = self.shared.open()?;
        connection.retry(CallKind::Read, "SELECT", || connection.load_snapshot(key)).await
    }

    async fn save_snapshot(&self, key: &AggregateKey, snapshot: Bytes) -> Result<(), DriverError> {
        let connection = self.shared.open()?;
        check_snapshot_size(key, &snapshot, SNAPSHOT_BYTES)?;
        // Nothing rests on it and it can be written twice, so it is tried again like a read.
        let save = || connection.save_snapshot(key, &snapshot);
        connection.retry(CallKind::Read, "INSERT", save).await
    }
}
