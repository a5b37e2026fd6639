//! DynamoDB: an item per event, and a condition on every item.
//!
//! ```no_run
//! use seriatim::{Append, EventStore, Expected, NewEvent};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = EventStore::open("dynamodb://events?region=eu-central-1&create=true").await?;
//! let opened = NewEvent::raw("AccountOpened", r#"{"owner":"Ada"}"#);
//! store.append(Append::to("account/1").expect(Expected::NoEvents).event(opened)).await?;
//! # Ok(()) }
//! ```
//!
//! # URL
//!
//! `dynamodb://TABLE?option=value&…`, values percent-encoded; [`DynamoDbBuilder`] has the same
//! options. No error repeats a part of the URL except the table, the region and the endpoint.
//!
//! | option | meaning | default |
//! |---|---|---|
//! | `region` | the region | the environment's; `us-east-1` with an `endpoint` |
//! | `endpoint` | an address such as `http://localhost:8000` | the region's |
//! | `profile` | a profile of the shared AWS configuration | `AWS_PROFILE`, or `default` |
//! | `access_key_id` | an access key, together with its secret | the environment's |
//! | `secret_access_key` | the secret | the environment's |
//! | `session_token` | what belongs to a temporary access key | none |
//! | `global_table` | `one_writing_region` takes a table with replicas, see below | refused |
//! | `create` | `true` makes a missing table, and waits until it is usable | `false` |
//! | `timeout_ms` | the time for one operation, all attempts together | 5000 |
//! | `attempt_timeout_ms` | the time for one attempt, see below | `timeout_ms` |
//!
//! The environment is the AWS SDK's: variables, shared configuration and credentials files (assumed
//! roles and credential processes among them), web identity tokens, container and instance
//! credentials. Profiles of IAM Identity Center (single sign-on) need the feature `dynamodb-sso`,
//! and a session from `aws sso login`. A secret in a URL can end up in logs and process lists:
//! prefer the environment. At the level `TRACE` the AWS SDK logs its requests, events and a session
//! token with them.
//!
//! **What `create=true` does not set.** The table is billed by request. Point-in-time recovery,
//! deletion protection, tags and a key of your own are not set: set them on a table that keeps what
//! you cannot lose.
//!
//! # Global tables
//!
//! The regions of a global table arbitrate by the last writer: two regions would overwrite each
//! other's answered events. What `DescribeTable` says decides:
//!
//! | table | what happens |
//! |---|---|
//! | no replicas | all features |
//! | replicas, eventual consistency | refused; taken with `global_table=one_writing_region` |
//! | replicas, strong consistency (MRSC) | one event a put: such tables have no transactions |
//!
//! With `global_table=one_writing_region` **all** writers of a store must use one region, the
//! others are for reading after a disaster. To fail over, stop every writer of the first region for
//! good, wait until its writes have arrived, then open the store in the second. What had not
//! arrived when a region was lost is lost, answered or not.
//!
//! A table that gets replicas while it is open is not noticed. Both kinds of global table were
//! tested on scripted answers alone.
//!
//! # Schema
//!
//! | attribute | type | what |
//! |---|---|---|
//! | `pk` | S, partition key | the aggregate key |
//! | `seq` | N, sort key | the sequence |
//! | `type` | S | the event's type, for people |
//! | `commit_id` | S | the commit id of the event's append, for people |
//! | `record` | B | the event's [record](crate::KeyedEvent::encode_record) |
//!
//! Only `pk`, `seq` and `record` are read back. An aggregate's snapshot is the item with `seq` 0
//! and the attribute `snapshot` (B); it is the only item that is ever replaced. A table of another
//! billing mode, with streams, with backups or with indexes serves as well; one that expires items
//! (TTL) does not, and items must not be changed or deleted.
//!
//! # How a put is written, and consistency
//!
//! One event is a `PutItem`, several are a `TransactWriteItems`, with the condition
//! `attribute_not_exists(pk)` on every item: all are written or none, and a sequence that is taken
//! refuses the put. Reads of events are strongly consistent, so they see every answered put and
//! nothing else. Within one region that holds for all writers.
//!
//! # Limits
//!
//! DynamoDB's, with room for what an item has beside the event: 100 events and 3,948,800 bytes a
//! put (100 items and 4 MB a transaction), 409,088 bytes an event (400 KB an item); about as much
//! for a snapshot. What is over them is refused before anything is sent. A partition takes some
//! 1,000 write units a second: an aggregate grows by at most 1,000 events of 1 KB a second, by half
//! of that in puts of several events.
//!
//! # Cost
//!
//! | what | round trips | units |
//! |---|---|---|
//! | append to a resident aggregate | 1 | 1 write unit per KB of each event; 2 in larger puts |
//! | append to one that is not resident, expecting n | 2 | and the read of event n |
//! | the latest sequence | 1 (`Query`, one item) | the read of the last event |
//! | a snapshot | 1 | half a read unit per 4 KB; 1 write unit per KB |
//! | events | 1 per 1,000 events or 1 MB | 1 read unit per 4 KB |
//! | keys | 1 per MB **of the whole table** | the whole table is read |
//!
//! Keys come in the order of the table's partitions, one page of the engine at a time. A prefix
//! does not make the listing cheaper.
//!
//! # Failures and timeouts
//!
//! An attempt that is not answered within `attempt_timeout_ms` ends: a read is asked again until
//! `timeout_ms`, a put is unknown, and the store sends it again. The store waits for a put half a
//! second longer than `timeout_ms`, unless its builder is told otherwise. An attempt looks for a
//! connection for a quarter of its time at most, so that an engine that is down is
//! [`DriverError::Unavailable`] and not unknown.
//!
//! Throttling, a collision with another transaction, no connection and no credentials mean that
//! nothing was written; they are tried again, with jittered backoff, until the timeout. A timeout
//! after the request went out, a connection that broke, a status from 500 on and
//! `TransactionInProgressException` leave it open ([`DriverError::Unknown`]), and the store sends
//! the same put again. The conditions make that safe for ever: what was written already is refused,
//! and the store finds its own events by their commit ids. A transaction also carries the put's id
//! as its client token, so that within ten minutes a repetition of one that was written is answered
//! like the first. The SDK's own retries are off.
//!
//! # Permissions
//!
//! On the table: `dynamodb:DescribeTable`, `dynamodb:GetItem`, `dynamodb:Query`, `dynamodb:PutItem`
//! (transactions need no other); `dynamodb:Scan` to list keys; `dynamodb:CreateTable` with
//! `create`.
//!
//! # What it cannot do
//!
//! There is no log: events have no position, and reads over all aggregates are not offered. The
//! store does not append to several aggregates at once (a put could hold them, all or nothing).
//!
//! # What was tested on what
//!
//! The engine tests run on DynamoDB Local 1.25.1, not on the service itself. Local does not
//! throttle, does not collide and has no global tables; those answers, and single sign-on, are
//! tested on a scripted server.
//!
//! # Layout
//!
//! - `builder`: options and the URL
//! - `driver`: the contract's methods, as calls
//! - `table`: looked at, and made
//! - `write`, `read`: the calls
//! - `snapshot`: snapshots beside the events
//! - `connection`: the open table, and how a call is tried
//! - `item`: an event as an item, and back
//! - `failure`: what a failed call means
//!
//! [`DriverError::Unavailable`]: crate::driver::DriverError::Unavailable
//! [`DriverError::Unknown`]: crate::driver::DriverError::Unknown

mod builder;
mod connection;
mod driver;
mod failure;
mod item;
mod read;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;
mod write;

pub use builder::DynamoDbBuilder;
pub(super) use builder::open_url;
pub use driver::DynamoDbDriver;
