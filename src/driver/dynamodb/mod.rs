//! DynamoDB: one item an event, and a condition on every item.
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use std::collections::BTreeSet;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use futures_util::{StreamExt, stream};

pub use builder::DynamoDbBuilder;

use super::remote::{Retry, paged};
use super::{Driver, DriverError, EventPages, Fetch, KeyPages, Limits, Put, PutReceipt};
use crate::event::{AggregateKey, Sequence};
use item::LIMITS;
use refusal::Call;

mod builder;
mod item;
mod read;
mod refusal;
mod table;
mod write;

/// Keys handed out at once.
const KEYS_PER_PAGE: usize = 1_000;

pub(super) async fn open_url(rest: &str) -> Result<Arc<dyn Driver>, DriverError> {
    Ok(builder::open_url(rest).await?)
}

/// Events in a table of DynamoDB. See the [module](self).
pub struct DynamoDbDriver {
    shared: Arc<Shared>,
}

impl fmt::Debug for DynamoDbDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDbDriver")
            .field("table", &self.shared.connection.table)
            .field("address", &self.shared.connection.address)
            .finish_non_exhaustive()
    }
}

/// The client and what it speaks of.
struct Connection {
    client: Client,
    table: String,
    /// The endpoint or the region, for messages.
    address: String,
    retry: Retry,
}

impl Connection {
    /// An operation, where it was done: the beginning of every message of a failure.
    fn doing(&self, operation: &str) -> String {
        format!("DynamoDB, {operation} on the table {} at {}", self.table, self.address)
    }
}

/// What the driver and the pages it handed out have in common.
struct Shared {
    connection: Connection,
    closed: AtomicBool,
}

impl Shared {
    fn open(&self) -> Result<&Connection, DriverError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(DriverError::Closed);
        }
        Ok(&self.connection)
    }

    /// All keys with this prefix behind `after`, sorted, in pages.
    async fn keys(
        &self,
        prefix: &str,
        after: Option<&AggregateKey>,
    ) -> Result<Vec<Vec<AggregateKey>>, DriverError> {
        let mut keys = BTreeSet::new();
        let mut start = None;
        loop {
            let connection = self.open()?;
            let (at, found) = connection
                .retry(Call::Read, "Scan", || connection.scan_keys(prefix, after, start.clone()))
                .await?;
            keys.extend(found);
            start = at;
            if start.is_none() {
                break;
            }
        }
        let keys: Vec<AggregateKey> = keys.into_iter().collect();
        Ok(keys.chunks(KEYS_PER_PAGE).map(<[_]>::to_vec).collect())
    }
}

impl DynamoDbDriver {
    /// Opens a driver with options of its own.
    pub fn builder() -> DynamoDbBuilder {
        DynamoDbBuilder::default()
    }

    fn new(connection: Connection) -> Self {
        DynamoDbDriver { shared: Arc::new(Shared { connection, closed: AtomicBool::new(false) }) }
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
        connection.retry(Call::Read, "GetItem", || connection.has(key, sequence)).await
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        let (shared, key) = (self.shared.clone(), key.clone());
        if let Err(closed) = shared.open() {
            return stream::iter([Err(closed)]).boxed();
        }
        paged(fetch, move |fetch| {
            let (shared, key) = (shared.clone(), key.clone());
            async move {
                let connection = shared.open()?;
                connection.retry(Call::Read, "Query", || connection.page(&key, fetch)).await
            }
        })
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        let connection = self.shared.open()?;
        LIMITS.check(&put)?;
        let operation = if put.events().len() == 1 { "PutItem" } else { "TransactWriteItems" };
        connection.retry(Call::Write, operation, || connection.send(&put)).await?;
        Ok(PutReceipt::default())
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.shared.closed.store(true, Ordering::Release);
        Ok(())
    }

    async fn latest_sequence(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        let connection = self.shared.open()?;
        connection.retry(Call::Read, "Query", || connection.latest(key)).await
    }

    fn keys(&self, prefix: &str, after: Option<&AggregateKey>) -> KeyPages {
        let (shared, prefix, after) = (self.shared.clone(), prefix.to_owned(), after.cloned());
        stream::once(async move {
            let pages = match shared.keys(&prefix, after.as_ref()).await {
                Ok(pages) => pages.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            stream::iter(pages)
        })
        .flatten()
        .boxed()
    }

    fn limits(&self) -> Limits {
        LIMITS
    }
}
