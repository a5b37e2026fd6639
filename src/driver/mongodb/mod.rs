//! MongoDB: a document per put, and a unique index over every event's sequence.
//!
//! ```no_run
//! use seriatim::{Append, EventStore, Expected, NewEvent};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = EventStore::open("mongodb://db1,db2,db3/bank?replicaSet=rs0&create=true").await?;
//! let opened = NewEvent::raw("AccountOpened", r#"{"owner":"Ada"}"#);
//! store.append(Append::to("account/1").expect(Expected::NoEvents).event(opened)).await?;
//! # Ok(()) }
//! ```
//!
//! # URL
//!
//! A MongoDB connection string: `mongodb://[USER:PASSWORD@]HOST[:PORT][,…]/DATABASE?option=value&…`
//! or `mongodb+srv://…`. It takes the client's own options (`replicaSet`, `tls`, `tlsCAFile`,
//! `authSource`, `authMechanism`, …) and these of the driver; [`MongoDbBuilder`] has them too.
//!
//! | option | meaning | default |
//! |---|---|---|
//! | `collection` | the collection of the events | `events` |
//! | `create` | `true` makes the collection's indexes, and so the collection | `false` |
//! | `timeout_ms` | the time for one operation, all attempts together | 5000 |
//! | `attempt_timeout_ms` | the time for one attempt, see below | `timeout_ms` |
//! | `maxPoolSize` | connections to a server, one call at a time on each | 100 |
//! | `maxConnecting` | connections made at once | 8 |
//!
//! The driver sets read preference, read and write concerns and retries itself; those of the URL
//! have no effect. Within a user's name or password `/ ? # @ : %` must be percent-encoded. No error
//! repeats a part of the URL except hosts, database and collection.
//!
//! Signing in: SCRAM (user and password) is tested by the client's authors, not here. X.509 works
//! as the client has it: `authMechanism=MONGODB-X509&tls=true&tlsCertificateKeyFile=…`.
//! `MONGODB-AWS` needs this crate's feature `mongodb-aws`. Neither was tried on a server.
//! `MONGODB-OIDC` is not supported.
//!
//! # Which deployments
//!
//! | deployment | reads that decide a put's fate | tested on |
//! |---|---|---|
//! | replica set | `linearizable` | a scripted server |
//! | sharded cluster, behind mongos | `linearizable` | a scripted server |
//! | standalone server | `majority`: it refuses linearizable reads | the same, SecantusDB 0.7.0b3 |
//!
//! The kind of deployment is asked for when the driver is opened. The address of a `mongod` or of a
//! replica set in `SERIATIM_MONGODB_URL` runs the engine tests there.
//!
//! # Schema
//!
//! | field | type | what |
//! |---|---|---|
//! | `_id` | UUID | the put's id |
//! | `v` | int | the version of this form: 1 |
//! | `k` | string | the aggregate key |
//! | `f`, `l` | long | the first and the last sequence in the document |
//! | `e` | array | the events |
//!
//! Each event has `s` (sequence, long), `t` (type) and `c` (commit id) for people and for the
//! index, and `r`, its [record](crate::KeyedEvent::encode_record).
//!
//! Two unique indexes: `{k: 1, "e.s": 1}` holds across documents, so of two puts that share a
//! sequence one is refused; `{k: 1, f: 1}` serves reads. Opening refuses, by name:
//!
//! - a missing index, or one that is not unique, partial, sparse, hidden or with a collation;
//! - any index that lets documents expire;
//! - a collection that is capped, a view, a time series, or has a collation.
//!
//! Documents must not be changed or deleted. A sharded collection must have `k` (or a prefix of it,
//! hashed or not) as its shard key, because a unique index holds within one shard only. `create`
//! does not shard the collection.
//!
//! Snapshots are documents `{_id: key, s: bytes}` in the collection `COLLECTION_snapshots`.
//!
//! # Consistency
//!
//! A put is one insert with `w: majority, j: true`. Reads go to the primary with read concern
//! `majority`: they see every answered put, and nothing that can be rolled back. A primary that was
//! deposed and does not know it yet can show a past state for some seconds; the unique index
//! corrects that on the next put.
//!
//! # Limits
//!
//! 1,000 events and 15 MiB a put and an event (16 MiB a document). What is over them is refused
//! before anything is sent. A snapshot has 15 MiB at most.
//!
//! # Cost
//!
//! | what | round trips |
//! |---|---|
//! | append to a resident aggregate | 1 |
//! | append to one that is not resident, expecting sequence n | 2 |
//! | a put that was refused | 2: the insert, and the read that tells whose the events are |
//! | the latest sequence, a snapshot | 1 |
//! | events | 1 per some 1,000 events or 4 MiB |
//! | keys, in ascending byte order | 1 per 1,000 keys |
//!
//! # Failures and timeouts
//!
//! An attempt that is not answered within `attempt_timeout_ms` ends: a read is asked again until
//! `timeout_ms`, a put is unknown, and the store sends it again. The store waits for a put half a
//! second longer than `timeout_ms`, unless its builder is told otherwise.
//!
//! Nothing was written where there was no server to speak to, the server was not primary, the user
//! may not write, or the document itself was refused (validation, size). The first two are tried
//! again, with jittered backoff, until the timeout; so is a call that waited for a free connection
//! until the timeout, which was never sent. **Everything else is unknown**
//! ([`DriverError::Unknown`]): a timeout, a broken connection, an unsatisfied write concern, and
//! every other write error, because mongos reports a shard's lost answer as one. The store then
//! sends the same put again: its `_id` and its sequences refuse it if it was written, and the
//! document under that `_id` says so. The client's own retries are off.
//!
//! # Permissions
//!
//! `find`, `insert` and, for snapshots, `update` on both collections; `listIndexes` and
//! `listCollections`; `createIndex` and `createCollection` with `create`. The role `readWrite` has
//! all of them.
//!
//! # What it cannot do
//!
//! There is no log: events have no position, and reads over all aggregates are not offered. A put
//! is one document, so it cannot hold several aggregates.
//!
//! # Layout
//!
//! - `builder`: options and the URL
//! - `collection`: the collection and its indexes, checked and made
//! - `document`: a put as a document, and events out of it
//! - `failure`: what a failed call means
//! - `snapshot`: snapshots beside the events

mod builder;
mod collection;
mod document;
mod failure;
mod snapshot;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::mongodb::Collection;
use ::mongodb::bson::{Document, RawDocumentBuf, doc};
use ::mongodb::options::ReadConcern;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

pub use builder::MongoDbBuilder;

use super::remote::{CallKind, RetryPolicy, SharedConnection, check_snapshot_size, late};
use super::{
    Driver, EventPage, EventPages, Fetch, KeyPages, Limits, Put, PutReceipt, SnapshotStore,
};
use crate::error::DriverError;
use crate::event::{AggregateKey, Sequence};
use failure::classify;
use snapshot::SNAPSHOT_BYTES;

/// What a document can hold, with room for what it has beside the events.
const LIMITS: Limits = Limits {
    events_per_put: EVENTS_PER_DOCUMENT as usize,
    bytes_per_put: 15 << 20,
    bytes_per_event: 15 << 20,
    bytes_per_key: AggregateKey::MAX_BYTES,
    aggregates_per_put: 1,
};
/// Part of the stored form: whoever looks for the document with a sequence looks no further back
/// than this.
const EVENTS_PER_DOCUMENT: i64 = 1_000;
/// Less than this is no time to send in: the answer would not be heard.
const LEAST_TIME: Duration = Duration::from_millis(20);
const PAGE_EVENTS: usize = 1_000;
const PAGE_BYTES: usize = 4 << 20;
const KEYS_PER_PAGE: i64 = 1_000;

pub(super) async fn open_url(url: &str) -> Result<Arc<dyn Driver>, DriverError> {
    Ok(Arc::new(MongoDbDriver::builder().open(url).await?))
}

/// Events in a collection of MongoDB. See the [module](self).
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

/// The collection, and how it is spoken of.
struct MongoDbCollection {
    collection: Collection<RawDocumentBuf>,
    snapshots: Collection<RawDocumentBuf>,
    /// The collection and its hosts, for messages.
    name: String,
    policy: RetryPolicy,
    /// As many calls at once as the client's pool has connections.
    calls: Semaphore,
    pool: u32,
    /// How a read sees that decides a put's fate.
    deciding: ReadConcern,
}

impl MongoDbDriver {
    /// Opens a driver with options of its own.
    pub fn builder() -> MongoDbBuilder {
        MongoDbBuilder::default()
    }

    fn new(connection: MongoDbCollection) -> Self {
        MongoDbDriver { shared: SharedConnection::new(connection) }
    }
}

/// Documents that may hold sequences of `low..=high`, by the index `{k, f}`.
fn holding(key: &AggregateKey, low: i64, high: i64) -> Document {
    let earliest = low.saturating_sub(EVENTS_PER_DOCUMENT);
    doc! { "k": key.as_str(), "f": { "$gt": earliest, "$lte": high }, "l": { "$gte": low } }
}

/// MongoDB's integers are signed; no sequence is ever above.
fn stored(sequence: Sequence) -> i64 {
    i64::try_from(sequence.get()).unwrap_or(i64::MAX)
}

impl MongoDbCollection {
    /// An operation, where it was done: the beginning of every message of a failure.
    fn doing(&self, operation: &str) -> String {
        format!("MongoDB, {operation} on {}", self.name)
    }

    async fn retry<T, R>(
        &self,
        call: CallKind,
        operation: &str,
        attempt: impl FnMut() -> R,
    ) -> Result<T, DriverError>
    where
        R: Future<Output = Result<T, DriverError>>,
    {
        let deadline = Instant::now() + self.policy.deadline();
        let waiting =
            timeout_at(deadline - LEAST_TIME.min(self.policy.deadline()), self.calls.acquire());
        let Ok(Ok(_call)) = waiting.await else {
            return Err(DriverError::unavailable(format!(
                "{}: all {} connections were busy until the timeout, so nothing was sent: add \
                 ?maxPoolSize=… for more",
                self.doing(operation),
                self.pool
            )));
        };
        self.policy.run_until(deadline, || late(call, &self.doing(operation)), attempt).await
    }

    async fn has(&self, key: &AggregateKey, sequence: Sequence) -> Result<bool, DriverError> {
        if sequence == Sequence::NONE || sequence.get() > i64::MAX as u64 {
            return Ok(false);
        }
        let filter = holding(key, stored(sequence), stored(sequence));
        let found = self.collection.find_one(filter).projection(doc! { "_id": 1 }).await;
        Ok(found.map_err(|e| classify(CallKind::Read, &self.doing("find"), e))?.is_some())
    }

    async fn latest(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        let last = self.collection.find_one(doc! { "k": key.as_str() });
        let found = last.sort(doc! { "f": -1 }).projection(doc! { "_id": 0, "l": 1 }).await;
        match found.map_err(|e| classify(CallKind::Read, &self.doing("find"), e))? {
            Some(last) => document::sequence(key, &last, "l"),
            None => Ok(Sequence::NONE),
        }
    }

    async fn page(&self, key: &AggregateKey, fetch: Fetch) -> Result<EventPage, DriverError> {
        let Some((low, high)) = fetch.bounds() else { return Ok(EventPage::default()) };
        if low.get() > i64::MAX as u64 {
            return Ok(EventPage::default());
        }
        let wanted = fetch.limit.unwrap_or(PAGE_EVENTS).min(PAGE_EVENTS);
        let mut filter = holding(key, stored(low), stored(high));
        if fetch.backwards {
            // From the other end the bound would cut off what is asked for first.
            filter.insert("f", doc! { "$lte": stored(high) });
        } else {
            // Only the first document can begin before `low`.
            filter.insert("f", doc! { "$gt": stored(low).saturating_sub(EVENTS_PER_DOCUMENT) });
        }
        let order = if fetch.backwards { -1 } else { 1 };
        let failed = |e| classify(CallKind::Read, &self.doing("find"), e);
        // Every document has an event at least.
        let documents = i64::try_from(wanted).unwrap_or(i64::MAX);
        let asking = self.collection.find(filter).sort(doc! { "f": order }).limit(documents);
        let mut cursor = asking.await.map_err(failed)?;
        let (mut events, mut bytes, mut seen) = (Vec::new(), 0, 0);
        while let Some(found) = cursor.try_next().await.map_err(failed)? {
            seen += 1;
            let mut inside = document::events(key, &found, low, high)?;
            if fetch.backwards {
                inside.reverse();
            }
            let room = wanted - events.len();
            let cut = inside.len() > room;
            inside.truncate(room);
            bytes += inside.iter().map(crate::KeyedEvent::size_bytes).sum::<usize>();
            events.extend(inside);
            if cut || events.len() == wanted || bytes >= PAGE_BYTES {
                return Ok(EventPage::new(events, true));
            }
        }
        Ok(EventPage::new(events, seen == documents))
    }

    async fn keys_page(
        &self,
        prefix: &str,
        after: Option<&AggregateKey>,
    ) -> Result<Vec<AggregateKey>, DriverError> {
        // Keys compare as bytes do, so those with the prefix stand together from the prefix on.
        let from = match after {
            Some(after) if after.as_str() >= prefix => doc! { "$gt": after.as_str() },
            _ => doc! { "$gte": prefix },
        };
        let failed = |e| classify(CallKind::Read, &self.doing("find"), e);
        let asking = self.collection.find(doc! { "k": from, "f": 1_i64 });
        let asking = asking.sort(doc! { "k": 1 }).limit(KEYS_PER_PAGE);
        let found = asking.projection(doc! { "_id": 0, "k": 1 }).await.map_err(failed)?;
        let found: Vec<RawDocumentBuf> = found.try_collect().await.map_err(failed)?;
        let keys: Result<Vec<_>, _> = found.iter().map(document::key).collect();
        Ok(keys?.into_iter().take_while(|key| key.as_str().starts_with(prefix)).collect())
    }

    async fn insert(&self, put: &Put) -> Result<(), DriverError> {
        let document = document::of(put).map_err(|problem| {
            DriverError::failed(format!("{}: {problem}", self.doing("insert")))
        })?;
        match self.collection.insert_one(document).await {
            Ok(_) => Ok(()),
            Err(error) if failure::is_duplicate(&error) => self.whose(put).await,
            Err(error) => Err(classify(CallKind::Write, &self.doing("insert"), error)),
        }
    }

    /// Some unique index refused the put: because it is there already, or because another has one
    /// of its sequences.
    async fn whose(&self, put: &Put) -> Result<(), DriverError> {
        let doing = self.doing("find");
        let (Some(first), Some(last)) = (put.events().first(), put.events().last()) else {
            return Ok(());
        };
        let key = &first.key;
        let filter = holding(key, stored(first.sequence), stored(last.sequence));
        let asking = self.collection.find_one(filter).sort(doc! { "f": 1 });
        let asking = asking.projection(doc! { "_id": 1, "f": 1, "l": 1 });
        let found = asking.read_concern(self.deciding.clone()).await;
        // The put itself was refused, so nothing that fails here can mean that it was written now;
        // but an earlier sending of it may have been.
        let found = found.map_err(|e| classify(CallKind::Write, &doing, e))?;
        let Some(found) = found else {
            return Err(DriverError::unknown(format!(
                "{doing}: {key}: an event of the put is there, but not for good yet"
            )));
        };
        if document::is_of(&found, put) {
            return Ok(());
        }
        let sequence = document::sequence(key, &found, "f")?.max(first.sequence);
        Err(DriverError::Conflict { key: key.clone(), sequence })
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
