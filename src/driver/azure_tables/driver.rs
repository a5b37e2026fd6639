//! The driver: each method of the contract as a call on the table.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::row;
use super::service::Continuation;
use super::table::{AzureTable, LIMITS, PAGE, SNAPSHOT_BYTES};
use crate::driver::remote::{CallKind, SharedConnection, check_snapshot_size, engine_key_pages};
use crate::driver::{Driver, EventPages, Fetch, KeyPages, Limits, Put, PutReceipt, SnapshotStore};
use crate::error::DriverError;
use crate::event::{AggregateKey, Sequence};

/// Events in a table of Azure Storage. See the [module](super).
pub struct AzureTablesDriver {
    shared: Arc<SharedConnection<AzureTable>>,
}

impl fmt::Debug for AzureTablesDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureTablesDriver")
            .field("table", &self.shared.connection.service.name())
            .finish_non_exhaustive()
    }
}

impl AzureTablesDriver {
    pub(super) fn new(connection: AzureTable) -> Self {
        AzureTablesDriver { shared: SharedConnection::new(connection) }
    }
}

#[async_trait]
impl Driver for AzureTablesDriver {
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        let connection = self.shared.open()?;
        let row_key = row::row_key(sequence);
        let found = connection
            .retry(CallKind::Read, "a query", || connection.row(key, &row_key, "RowKey"))
            .await?;
        Ok(!found.rows.is_empty())
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        self.shared.pages(key, fetch, |shared, key, fetch| async move {
            let connection = shared.open()?;
            connection.retry(CallKind::Read, "a query", || connection.page(&key, fetch)).await
        })
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        let connection = self.shared.open()?;
        LIMITS.check(&put)?;
        connection.retry(CallKind::Write, "a transaction", || connection.send(&put)).await?;
        Ok(PutReceipt::default())
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.shared.close();
        Ok(())
    }

    async fn latest_sequence(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        let connection = self.shared.open()?;
        connection.retry(CallKind::Read, "a query", || connection.latest(key)).await
    }

    fn keys(&self, prefix: &str, after: Option<&AggregateKey>) -> KeyPages {
        let (shared, prefix) = (self.shared.clone(), prefix.to_owned());
        let filter = row::keys_filter(&prefix, after);
        engine_key_pages(move |place: Option<Continuation>| {
            let (shared, prefix, filter) = (shared.clone(), prefix.clone(), filter.clone());
            async move {
                let table = shared.open()?;
                let ask = || table.service.query(&filter, "PartitionKey", PAGE, place.as_ref());
                let found = table.retry(CallKind::Read, "a query", ask).await?;
                let mut keys: Vec<AggregateKey> =
                    found.rows.iter().map(row::key_of).collect::<Result<_, _>>()?;
                // Keys with the prefix stand together, from the prefix on.
                let wanted = |key: &AggregateKey| key.as_str().starts_with(&prefix);
                let is_past = keys.last().is_some_and(|last| !wanted(last));
                keys.retain(wanted);
                Ok((keys, found.next.filter(|_| !is_past)))
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
        LIMITS
    }
}

#[async_trait]
impl SnapshotStore for AzureTablesDriver {
    async fn load_snapshot(&self, key: &AggregateKey) -> Result<Option<Bytes>, DriverError> {
        let connection = self.shared.open()?;
        connection.retry(CallKind::Read, "a query", || connection.load_snapshot(key)).await
    }

    async fn save_snapshot(&self, key: &AggregateKey, snapshot: Bytes) -> Result<(), DriverError> {
        let connection = self.shared.open()?;
        check_snapshot_size(key, &snapshot, SNAPSHOT_BYTES)?;
        // Nothing rests on it and it can be written twice, so it is tried again like a read.
        let save = || connection.save_snapshot(key, &snapshot);
        connection.retry(CallKind::Read, "writing a snapshot", save).await
    }
}
