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
//! are enough: the others are asked for. No error repeats a part of the URL except hosts, keyspace
//! and table.
//!
//! | option | meaning | default |
//! |---|---|---|
//! | `table` | the table of the events | `events` |
//! | `create` | `true` makes a missing keyspace and the missing tables | `false` |
//! | `replication` | copies of each row in a keyspace that is made | 1 |
//! | `datacenter` | only nodes of this datacentre are spoken to, without failover | any node |
//! | `serial` | `global`: one order everywhere; `local`: in `datacenter` alone | `global` |
//! | `fixed_address` | `true` speaks to every node through the first host | `false` |
//! | `timeout_ms` | the time for one operation, all attempts together | 5000 |
//! | `attempt_timeout_ms` | the time for one attempt, see below | `timeout_ms` |
//! | `tls` | `true` encrypts connections; implied by each of the following | `false` |
//! | `tls_ca` | a PEM file of the authorities to trust | the operating system's |
//! | `tls_cert`, `tls_key` | PEM files that this client shows: its certificate and key | none |
//! | `tls_server_name` | the name that all nodes' certificates have | each node's address |
//!
//! `fixed_address` is for one node behind a forwarded port, which tells an address that cannot be
//! reached.
//!
//! **TLS** needs the feature `cassandra-tls`. The client knows nodes by their addresses, so a
//! node's certificate must have its address among its names, unless `tls_server_name` says which
//! name all of them have. A certificate that is refused is [`DriverError::Failed`]. Files are read
//! when the driver is opened: open it again after a certificate was renewed.
//!
//! **Several datacentres.** Give `datacenter` in every process: a client without it picks
//! coordinators anywhere, at the price of a wide-area round trip. Opening fails where the cluster
//! has no datacentre of that name. With `serial=global` writers can be in all datacentres. With
//! `serial=local` (which needs `datacenter`) **all** writers of a store must name the same one: two
//! datacentres do not arbitrate between them, and would overwrite each other's answered events.
//! There is no failover: when the datacentre is lost, calls are [`DriverError::Unavailable`] until
//! you open the store with another. With `serial=local` open it there only after the lost one can
//! take no more writes and what it answered has been repaired over.
//!
//! **What `create=true` does not set.** The keyspace is made with `SimpleStrategy`: good for tests
//! and one datacentre. Make that of a larger cluster by hand, with `NetworkTopologyStrategy`,
//! before opening. Compaction, compression, `gc_grace_seconds` and speculative retry stay the
//! server's defaults.
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
//! | `r` | blob | the event's [record](crate::KeyedEvent::encode_record) |
//!
//! Rows must not expire, be changed or be deleted, and nothing may be written to the table without
//! a condition: a plain write and a conditional one on the same row are in no order.
//!
//! Snapshots are rows of a table of their own, `TABLE_snapshots (k text PRIMARY KEY, b blob)`,
//! written without a condition. Where it is missing the driver keeps no snapshots; `create=true`
//! makes it, also beside a table of events that is there already.
//!
//! # How a put is written, and consistency
//!
//! One event is an `INSERT … IF NOT EXISTS`, several are an unlogged batch of them in their one
//! partition: one Paxos round, all written or none. The serial consistency is `SERIAL`, the learned
//! value is written at `QUORUM`. Reads are made at `SERIAL` too: they finish a round that was left
//! open before they answer, so they see every answered put and nothing that can be taken back. With
//! `serial=local` it is `LOCAL_SERIAL` and `LOCAL_QUORUM`.
//!
//! # Limits
//!
//! 1,000 events and 8 MiB a put, 1 MiB an event (a page of 100 must fit a response; a put must stay
//! under half a commit log segment, 16 MiB unless the server is told otherwise). What is over them
//! is refused before anything is sent. A snapshot has 8 MiB at most.
//!
//! **A partition's size.** An aggregate is one partition. Cassandra works with larger ones, but
//! advises at most 100,000 rows and 100 MiB: beyond, compaction and repair of it become slow. From
//! seven tenths of either on, the put that passes another tenth logs a warning of `tracing`. Rows
//! are exact; bytes are estimated from that put's events. Close the books before that: end an
//! aggregate with a closing event and go on under a new key, such as `account/1/2027`. The guide's
//! chapter on drivers has a whole program for it.
//!
//! # Cost
//!
//! | what | round trips of the client | rounds among the replicas |
//! |---|---|---|
//! | append to a resident aggregate | 1 | 4 (a Paxos round) |
//! | append to one that is not resident, expecting sequence n | 2 | 4 and 2 |
//! | the latest sequence | 1 | 2 |
//! | a snapshot | 1 | 1 |
//! | events | 1 per 100 events | 2 for each |
//! | keys | 1 per 1,000 keys **of the whole table** | 1 for each |
//!
//! Keys come by token, the order in which the cluster keeps partitions, one page at a time. A
//! prefix does not make the listing cheaper. They are read at `QUORUM`, because `SERIAL` reads one
//! partition only.
//!
//! # Failures and timeouts
//!
//! An attempt that is not answered within `attempt_timeout_ms` ends: a read is asked again until
//! `timeout_ms`, a put is unknown, and the store sends it again. The store waits for a put half a
//! second longer than `timeout_ms`, unless its builder is told otherwise.
//!
//! Nothing was written where no node could be spoken to; that is tried again, with jittered
//! backoff, until the timeout. Nor was it where the statement or the user is refused, which is
//! [`DriverError::Failed`]; a wrong password is too. **Everything else is unknown**
//! ([`DriverError::Unknown`]): a timeout (the client's, or the coordinator's write timeout), the
//! unknown end of a Paxos round, a broken connection, and also too few replicas and overload, which
//! a coordinator reports in every phase of a round. A round may be finished later, even after a
//! read found nothing. The store sends the same put again; its rows refuse it if it was written,
//! and say by `p` that they are its own. The client's own retries and speculative executions are
//! off.
//!
//! # Permissions
//!
//! `SELECT` and `MODIFY` on the tables; `CREATE` on the keyspace (or on all keyspaces) with
//! `create`.
//!
//! # What it cannot do
//!
//! There is no log: events have no position, and reads over all aggregates are not offered. A put
//! is one partition, so it cannot hold several aggregates.
//!
//! # What was tested on what
//!
//! The engine tests run on one node of Apache Cassandra 5.0.8. Two datacentres of one node each ran
//! on one machine: a store in each, both writing to the same aggregates, while one node after the
//! other was killed and started again (`tests/cassandra_topology.rs`); of 532 appends none was lost
//! and none stood twice. Users, their refusal, TLS (but not the client's own certificate), too few
//! replicas and overload are tested on scripted servers. `serial=local` ran on one node alone. The
//! client speaks to ScyllaDB as well; that was not tested. ScyllaDB up to 2025.3 has no
//! lightweight transactions in a keyspace with tablets: make the keyspace by hand, with `tablets =
//! {'enabled': false}`.
//!
//! # Layout
//!
//! - `builder`: options, the URL, keyspace and tables
//! - `driver`: the contract's methods, as calls
//! - `table`: the statements, and rows as events
//! - `snapshot`: the table of snapshots
//! - `partition`: the warning before an aggregate outgrows its partition
//! - `tls`: what is trusted, and shown
//! - `failure`: what a failed call means
//!
//! [`DriverError::Failed`]: crate::driver::DriverError::Failed
//! [`DriverError::Unavailable`]: crate::driver::DriverError::Unavailable
//! [`DriverError::Unknown`]: crate::driver::DriverError::Unknown

mod builder;
mod driver;
mod failure;
mod partition;
mod snapshot;
mod table;
mod tls;

pub use builder::CassandraBuilder;
pub(super) use builder::open_url;
pub use driver::CassandraDriver;
