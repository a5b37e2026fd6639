//! The driver: each method of the contract as a call on the table.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::connection::DynamoDbTable;
use super::item::AttributeMap;
use super::snapshot::SNAPSHOT_BYTES;
use crate::driver::remote::{CallKind, SharedConnection, check_snapshot_size, engine_key_pages};
use crate::driver::{Driver, EventPages, Fetch, KeyPages, Limits, Put, PutReceipt, SnapshotStore};
use crate::error::DriverError;
use crate::event::{AggregateKey, Sequence};

/// Events in a table of DynamoDB. See the [module](super).
pub struct DynamoDbDriver {
    pub(super) shared: Arc<SharedConnection<DynamoDbTable>>,
}

impl fmt::Debug for DynamoDbDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDbDriver")
            .field("table", &self.shared.connection.table)
            .field("address", &self.shared.connection.address)
            .finish_non_exhaustive()
    }
}

impl DynamoDbDriver {
    pub(super) fn new(connection: DynamoDbTable) -> Self {
        DynamoDbDriver { shared: SharedConnection::new(connection) }
    }
}

#[async_trait]
impl Driver for DynamoDbDriver {
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        let connection = self.shared.open()?;
        connection.retry(CallKind::Read, "GetItem", || connection.has(key, sequence)).await
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        self.shared.pages(key, fetch, |shared, key, fetch| async move {
            let connection = shared.open()?;
            connection.retry(CallKind::Read, "Query", || connection.page(&key, fetch)).await
        })
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        let connection = self.shared.open()?;
        connection.limits.check(&put)?;
        let operation = if put.events().len() == 1 { "PutItem" } else { "TransactWriteItems" };
        connection.retry(CallKind::Write, operation, || connection.send(&put)).await?;
        Ok(PutReceipt::default())
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.shared.close();
        Ok(())
    }

    async fn latest_sequence(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        let connection = self.shared.open()?;
        connection.retry(CallKind::Read, "Query", || connection.latest(key)).await
    }

    fn keys(&self, prefix: &str, after: Option<&AggregateKey>) -> KeyPages {
        let (shared, prefix, after) = (self.shared.clone(), prefix.to_owned(), after.cloned());
        engine_key_pages(move |place: Option<AttributeMap>| {
            let (shared, prefix, after) = (shared.clone(), prefix.clone(), after.clone());
            async move {
                let table = shared.open()?;
                let ask = || table.scan_keys(&prefix, after.as_ref(), place.clone());
                table.retry(CallKind::Read, "Scan", ask).await
            }
        })
    }

    fn snapshots(&self) -> Option<&dyn SnapshotStore> {
        Some(self)
    }

    fn put_timeout(&self) -> Option<Duration> {
        Some(self.shared.connection.policy.deadline())
    }

    fn limits(&self) -> Limits {
        self.shared.connection.limits
    }
}

#[async_trait]
impl SnapshotStore for DynamoDbDriver {
    async fn load_snapshot(&self, key: &AggregateKey) -> Result<Option<Bytes>, DriverError> {
        let connection = self.shared.open()?;
        connection.retry(CallKind::Read, "GetItem", || connection.load_snapshot(key)).await
    }

    async fn save_snapshot(&self, key: &AggregateKey, snapshot: Bytes) -> Result<(), DriverError> {
        let connection = self.shared.open()?;
        check_snapshot_size(key, &snapshot, SNAPSHOT_BYTES)?;
        // Nothing rests on it and it can be written twice, so it is tried again like a read.
        let save = || connection.save_snapshot(key, &snapshot);
        connection.retry(CallKind::Read, "PutItem", save).await
    }
}
