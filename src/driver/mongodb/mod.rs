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
//! The driver sets read preference, read and write concerns, retries and
//! `serverSelectionTimeoutMS` itself; those of the URL have no effect. Within a user's name or
//! password `/ ? # @ : %` must be percent-encoded. No error repeats a part of the URL except hosts,
//! database and collection.
//!
//! Signing in:
//!
//! | mechanism | how | tested on |
//! |---|---|---|
//! | SCRAM | user and password in the URL | nothing here; it is the client's own |
//! | X.509 | `authMechanism=MONGODB-X509&tls=true&tlsCertificateKeyFile=…` | a scripted server |
//! | OIDC | `authMechanism=MONGODB-OIDC` and [`MongoDbBuilder::token_source`] | a scripted server |
//! | OIDC, k8s | `authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s` | nothing |
//! | AWS | `authMechanism=MONGODB-AWS`, and this crate's feature `mongodb-aws` | nothing |
//!
//! The client's own OIDC in Azure and Google Cloud needs its features `azure-oidc` and `gcp-oidc`:
//! add the package `mongodb` with them to your own dependencies. No mechanism was tried on a
//! `mongod`.
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
//! A failover within a replica set loses nothing that was answered, because a majority has it.
//! Where a majority is lost for good and the rest is made primary by force, what only the lost
//! members had is lost, answered or not.
//!
//! **What `create=true` does not set.** Sharding, validation and compression. Time-outs of the
//! server, the oplog's size and backups are the cluster's.
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
//! second longer than `timeout_ms`, unless its builder is told otherwise. An attempt looks for a
//! server to write to for a quarter of its time at most, so that an engine that is down is
//! [`DriverError::Unavailable`] and not unknown.
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
//! - `driver`: the contract's methods, as calls
//! - `calls`: how puts are written, and events and keys read
//! - `collection`: the collection and its indexes, checked and made
//! - `snapshot`: snapshots beside the events
//! - `connection`: the open collection, and how a call is tried
//! - `document`: a put as a document, and events out of it
//! - `failure`: what a failed call means
//!
//! [`DriverError::Unavailable`]: crate::driver::DriverError::Unavailable
//! [`DriverError::Unknown`]: crate::driver::DriverError::Unknown

mod builder;
mod calls;
mod collection;
mod connection;
mod document;
mod driver;
mod failure;
mod snapshot;

pub use builder::MongoDbBuilder;
pub(super) use builder::open_url;
pub use driver::MongoDbDriver;
