//! Azure Tables: a row per event, and an entity group transaction per put.
//!
//! ```no_run
//! use seriatim::{Append, EventStore, Expected, NewEvent};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // The key stands in the environment, as AZURE_STORAGE_KEY.
//! let store = EventStore::open("azure-tables://bankaccount/events?create=true").await?;
//! let opened = NewEvent::raw("AccountOpened", r#"{"owner":"Ada"}"#);
//! store.append(Append::to("account/1").expect(Expected::NoEvents).event(opened)).await?;
//! # Ok(()) }
//! ```
//!
//! # URL
//!
//! `azure-tables://ACCOUNT/TABLE?option=value&…`, values percent-encoded; [`AzureTablesBuilder`]
//! has the same options and more. No error repeats a part of the URL except the table and the
//! endpoint.
//!
//! | option | meaning | default |
//! |---|---|---|
//! | `key` | the storage account's key, base64 | the environment's |
//! | `sas` | a shared access signature in place of the key: its whole query | none |
//! | `endpoint` | the table service's address | `https://ACCOUNT.table.core.windows.net` |
//! | `create` | `true` makes a missing table | `false` |
//! | `timeout_ms` | the time for one operation, all attempts together | 5000 |
//! | `attempt_timeout_ms` | the time for one attempt, see below | `timeout_ms` |
//!
//! The credential is the first of these that is there: a source of signatures
//! ([`AzureTablesBuilder::sas_source`], asked before every request), `sas`, `key`, a connection
//! string ([`AzureTablesBuilder::connection_string`]), the variable `AZURE_STORAGE_KEY`, the
//! variable `AZURE_STORAGE_CONNECTION_STRING`. A connection string also says where the service is,
//! unless `endpoint` does. A secret in a URL can end up in logs and process lists: prefer the
//! environment. There is no sign-in with Entra ID.
//!
//! The tables of a Cosmos DB account answer to the same requests, but keep neither the order of
//! rows nor the limits that the driver relies on: their endpoints are refused.
//!
//! # Schema
//!
//! | row | RowKey | properties |
//! |---|---|---|
//! | an event | its sequence, 20 digits | `type` and `commit_id`, for people; `r0`, `r1`, … |
//! | the head | `head` | `latest`: the latest sequence |
//! | the snapshot | `snapshot` | `r0`, `r1`, … |
//!
//! `r0`, `r1`, … are the event's [record](crate::KeyedEvent::encode_record), or the snapshot, in
//! pieces of 64 KiB. The PartitionKey is the aggregate key; what the service forbids in it is
//! escaped: `/` is `!s`, `\` is `!b`, `#` is `!h`, `?` is `!q`, `%` is `!p` and `!` is `!e`. Rows
//! of events must not be changed or deleted.
//!
//! # How a put is written, and consistency
//!
//! One transaction inserts every event, each of which fails where its row exists, and replaces the
//! head without a condition: the head changes only together with events, so it is never ahead of
//! them nor behind. The service is strongly consistent within its primary region. The secondary
//! endpoint of a geo-redundant account is not: do not open it. After a failover of the account
//! events that were answered can be missing, because the copy is made afterwards.
//!
//! # Limits
//!
//! 99 events (100 rows) and 2,900,000 bytes a put (4 MiB a transaction, in base64), 900 KiB an
//! event and a snapshot (1 MiB a row), and 512 characters a key once it is escaped (1 KiB). What is
//! over them is refused before anything is sent. A partition takes some 2,000 rows a second.
//!
//! # Cost
//!
//! | what | round trips |
//! |---|---|
//! | append to a resident aggregate | 1 |
//! | append to one that is not resident, expecting sequence n | 2 |
//! | the latest sequence, a snapshot | 1 |
//! | events | 1 per 1,000 events or 4 MB; backwards from the end 1 more |
//! | keys | 1 per 1,000 keys at best, from the prefix on |
//!
//! Keys come in the order of the escaped keys, one page of the service at a time. A page can be
//! empty, because the service looks through other rows too.
//!
//! # Failures and timeouts
//!
//! An attempt that is not answered within `attempt_timeout_ms` ends: a read is asked again until
//! `timeout_ms`, a put is unknown, and the store sends it again. The store waits for a put half a
//! second longer than `timeout_ms`, unless its builder is told otherwise.
//!
//! A connection that could not be made means that nothing was written; that is tried again, with
//! jittered backoff, until the timeout. A timeout after the request went out, a broken connection,
//! throttling and any status from 500 on leave it open ([`DriverError::Unknown`]), and the store
//! sends the same put again: its rows refuse it if it was written, and the store finds its own
//! events by their commit ids. A transaction answers 202 whatever became of it; the answers inside
//! count.
//!
//! # Permissions
//!
//! With a shared access signature: query and add on the table, update for the head and the snapshot
//! (`rau`), and create on the service with `create`. The account's key may do everything.
//!
//! # What it cannot do
//!
//! There is no log: events have no position, and reads over all aggregates are not offered. A
//! transaction is one partition, so a put cannot hold several aggregates.
//!
//! # What was tested on what
//!
//! The engine tests run on Azurite 3.35.0 with the account's key, not on the service itself.
//! Azurite does not throttle; those answers, signatures that change and connection strings are
//! tested on a scripted server.
//!
//! # Layout
//!
//! - `builder`: options, the URL, the table
//! - `credential`: keys, signatures and connection strings
//! - `service`: requests, signed and sent
//! - `row`: keys, events and snapshots as rows, and back
//! - `batch`: a put as a transaction, and its answer
//! - `failure`: what a failed call means

mod batch;
mod builder;
mod credential;
mod failure;
mod row;
mod service;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub use builder::AzureTablesBuilder;

use super::remote::{
    CallKind, RetryPolicy, SharedConnection, check_snapshot_size, engine_key_pages, late,
};
use super::{
    Driver, EventPage, EventPages, Fetch, KeyPages, Limits, Put, PutReceipt, SnapshotStore,
};
use crate::error::DriverError;
use crate::event::{AggregateKey, Sequence};
use service::{Continuation, RowPage, Service};

/// One row of a transaction is the head's.
const LIMITS: Limits = Limits {
    events_per_put: 99,
    bytes_per_put: 2_900_000,
    bytes_per_event: 900 << 10,
    bytes_per_key: AggregateKey::MAX_BYTES,
    aggregates_per_put: 1,
};
/// As much as an event's row.
const SNAPSHOT_BYTES: usize = 900 << 10;
/// Rows asked for at once; the service's own most.
const PAGE: u64 = 1_000;

pub(super) async fn open_url(rest: &str) -> Result<Arc<dyn Driver>, DriverError> {
    Ok(Arc::new(builder::open_url(rest).await?))
}

/// Events in a table of Azure Storage. See the [module](self).
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

struct AzureTable {
    service: Service,
    policy: RetryPolicy,
}

impl AzureTable {
    async fn retry<T, R>(
        &self,
        call: CallKind,
        operation: &str,
        attempt: impl FnMut() -> R,
    ) -> Result<T, DriverError>
    where
        R: Future<Output = Result<T, DriverError>>,
    {
        self.policy.run(|| late(call, &self.service.doing(operation)), attempt).await
    }

    /// The rows of a query that has one at most.
    async fn row(
        &self,
        key: &AggregateKey,
        row_key: &str,
        of: &str,
    ) -> Result<RowPage, DriverError> {
        let filter = format!("{} and RowKey eq '{row_key}'", row::partition_filter(key));
        self.service.query_all(&filter, of, 1).await
    }

    async fn latest(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        match self.row(key, row::HEAD, "latest").await?.rows.first() {
            Some(head) => row::latest(key, head),
            None => Ok(Sequence::NONE),
        }
    }

    /// The page at this fetch; empty only where nothing more is there.
    async fn page(&self, key: &AggregateKey, fetch: Fetch) -> Result<EventPage, DriverError> {
        let Some((low, high)) = fetch.bounds() else { return Ok(EventPage::default()) };
        let wanted = fetch.limit.map_or(PAGE, |limit| PAGE.min(limit as u64));
        if !fetch.backwards {
            let filter = row::range_filter(key, low, high);
            let found = self.service.query_all(&filter, row::RECORD, wanted).await?;
            let events: Result<Vec<_>, _> =
                found.rows.iter().map(|found| row::event(key, found)).collect();
            return Ok(EventPage::new(events?, found.next.is_some()));
        }
        // The service goes forwards only, so the way back is gone in windows from the latest one
        // down.
        let high = match fetch.after {
            Some(_) => high,
            None => self.latest(key).await?,
        };
        let page = self.window(key, low, high, wanted).await?;
        if !page.events.is_empty() || fetch.after.is_none() {
            return Ok(page);
        }
        // Whoever asked began behind the end.
        let latest = self.latest(key).await?;
        if latest < high { self.window(key, low, latest, wanted).await } else { Ok(page) }
    }

    /// The last `wanted` events up to `high`, backwards.
    async fn window(
        &self,
        key: &AggregateKey,
        low: Sequence,
        high: Sequence,
        wanted: u64,
    ) -> Result<EventPage, DriverError> {
        if high < low {
            return Ok(EventPage::default());
        }
        let from = low.max(Sequence::new(high.get().saturating_sub(wanted - 1)));
        let filter = row::range_filter(key, from, high);
        let (mut events, mut next) = (Vec::new(), None);
        loop {
            let found = self.service.query(&filter, row::RECORD, PAGE, next.as_ref()).await?;
            for found in &found.rows {
                events.push(row::event(key, found)?);
            }
            next = found.next;
            if next.is_none() {
                break;
            }
        }
        events.reverse();
        Ok(EventPage::new(events, from > low))
    }

    async fn load_snapshot(&self, key: &AggregateKey) -> Result<Option<Bytes>, DriverError> {
        let found = self.row(key, row::SNAPSHOT, row::RECORD).await?;
        found.rows.first().map(|found| row::snapshot(key, found)).transpose()
    }

    async fn save_snapshot(&self, key: &AggregateKey, snapshot: &Bytes) -> Result<(), DriverError> {
        row::check_key(key)?;
        let row = row::of_snapshot(key, snapshot);
        self.service.replace_row(&row::partition(key), row::SNAPSHOT, row).await
    }

    async fn send(&self, put: &Put) -> Result<(), DriverError> {
        let batch = batch::of(&self.service, put)?;
        let answer = self.service.send_batch(&batch).await?;
        batch::verdict(&self.service, put, &answer)
    }
}

impl AzureTablesDriver {
    /// Opens a driver with options of its own.
    pub fn builder() -> AzureTablesBuilder {
        AzureTablesBuilder::default()
    }

    fn new(connection: AzureTable) -> Self {
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
