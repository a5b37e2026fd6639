//! Cassandra: a row per event, and a lightweight transaction per put.
//!
//! ```no_run
//! use seriatim::{Append, EventStore, Expected, NewEvent};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = EventStore::open("cassandra://db1:9042,db2:9042/bank?create=true").await?;
//! let opened = NewEvent::raw("AccountOpened", r#"{"owner":"Ada"}"#);
//! store.append(Append::to("account/1").expect(Expected::NoEvents).event(opened)).await?;
//! # Ok(()) }
//! ```
//!
//! # URL
//!
//! `cassandra://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/KEYSPACE?option=value&…`, values
//! percent-encoded, user and password too; [`CassandraBuilder`] has the same options. A few nodes
//! are enough: the others are asked for.
//!
//! | option | meaning | unless given |
//! |---|---|---|
//! | `table` | the table of the events | `events` |
//! | `create` | `true` makes a missing keyspace and table | `false` |
//! | `replication` | copies of each row in a keyspace that is made | 1 |
//! | `serial` | `global`: one order for all datacentres; `local`: for this one | `global` |
//! | `fixed_address` | `true` speaks to every node through the first host given: behind a forwarded port, where nodes tell addresses that cannot be reached | `false` |
//! | `timeout_ms` | how long an operation may be tried, all attempts together | 5000 |
//!
//! A keyspace that is made has the `SimpleStrategy`: good for tests and one datacentre. Make that
//! of a larger cluster by hand, with `NetworkTopologyStrategy`.
//!
//! # Schema
//!
//! | column | type | what |
//! |---|---|---|
//! | `k` | text, partition key | the aggregate key |
//! | `s` | bigint, clustering key | the sequence |
//! | `p` | uuid | the id of the put that wrote the row |
//! | `t` | text | the event's type, for people |
//! | `c` | uuid | the commit id of the event's append, for people |
//! | `r` | blob | everything about the event, see [`KeyedEvent::encode_record`](crate::KeyedEvent::encode_record) |
//!
//! Rows must not expire, be changed or be deleted, and nothing may be written to the table without
//! a condition: a plain write and a conditional one on the same row are in no order.
//!
//! # How a put is written, and consistency
//!
//! One event is an `INSERT … IF NOT EXISTS`, several are an unlogged batch of them in their one
//! partition: one Paxos round, all written or none. The serial consistency is `SERIAL`, the learned
//! value is written at `QUORUM`. Reads are made at `SERIAL` too: they finish a round that was left
//! open before they answer, so they see every answered put and nothing that can be taken back. With
//! `serial=local` it is `LOCAL_SERIAL` and `LOCAL_QUORUM`: right only where **all** writers of a
//! store are in one datacentre, because two datacentres then do not arbitrate between them.
//!
//! # Limits
//!
//! 1,000 events and 8 MiB a put, 1 MiB an event (a page of 100 must fit a response; a put must stay
//! under half a commit log segment, 16 MiB unless the server is told otherwise). What is over them
//! is refused before anything is sent. An aggregate is one partition: some 100 MB are what
//! Cassandra advises for one.
//!
//! # Cost
//!
//! | what | round trips of the client | rounds among the replicas |
//! |---|---|---|
//! | append to a resident aggregate | 1 | 4 (a Paxos round) |
//! | append to one that is not resident, expecting sequence n | 2 | 4 and 2 |
//! | the latest sequence | 1 | 2 |
//! | events | 1 per 100 events | 2 for each |
//! | keys | 1 per 1,000 keys **of the whole table** | 1 for each |
//!
//! Keys come sorted although a cluster has no order of partitions: all that match are collected and
//! sorted in memory before the first is handed out. It is for tools and small stores. They are read
//! at `QUORUM`, because `SERIAL` reads one partition only.
//!
//! # Failures and timeouts
//!
//! No node to speak to, too few replicas and an overloaded one mean that nothing was written; that
//! is tried again, with jittered backoff, until the timeout. A timeout (the client's, or the
//! coordinator's write timeout), an unknown end of a Paxos round and a broken connection leave it
//! open ([`DriverError::Unknown`]): a round may be finished later, even after a read found nothing.
//! The store sends the same put again; its rows refuse it if it was written, and say by `p` that
//! they are its own. The client's own retries and speculative executions are off.
//!
//! # Permissions
//!
//! `SELECT` and `MODIFY` on the table; `CREATE` on the keyspace (or on all keyspaces) with
//! `create`.
//!
//! # What it cannot do
//!
//! There is no log: events have no position, and reads over all aggregates are not offered. A put
//! is one partition, so it cannot hold several aggregates. Snapshots are not kept.
//!
//! Tested on one node of Apache Cassandra 5.0.8. The client speaks to ScyllaDB as well; that was
//! not tested.
//!
//! # Layout
//!
//! - `builder`: options, the URL, keyspace and table
//! - `table`: the statements, and rows as events
//! - `failure`: what a failed call means

mod builder;
mod failure;
mod snapshot;
mod table;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use scylla::response::PagingState;

pub use builder::CassandraBuilder;

use super::remote::{CallKind, SharedConnection, check_snapshot_size, engine_key_pages};
use super::{Driver, EventPages, Fetch, KeyPages, Limits, Put, PutReceipt, SnapshotStore};
use crate::error::DriverError;
use crate::event::{AggregateKey, Sequence};
use snapshot::SNAPSHOT_BYTES;
use table::CassandraTable;

const LIMITS: Limits = Limits {
    events_per_put: 1_000,
    bytes_per_put: 8 << 20,
    bytes_per_event: 1 << 20,
    bytes_per_key: AggregateKey::MAX_BYTES,
    aggregates_per_put: 1,
};

pub(super) async fn open_url(rest: &str) -> Result<Arc<dyn Driver>, DriverError> {
    Ok(Arc::new(builder::open_url(rest).await?))
}

/// Events in a table of Cassandra. See the [module](self).
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
    /// Opens a driver with options of its own.
    pub fn builder() -> CassandraBuilder {
        CassandraBuilder::default()
    }

    fn new(connection: CassandraTable) -> Self {
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
