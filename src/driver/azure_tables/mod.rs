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
//! | `entra` | signs in with Entra ID: `managed`, `workload` or `client_secret`, see below | none |
//! | `endpoint` | the table service's address | `https://ACCOUNT.table.core.windows.net` |
//! | `create` | `true` makes a missing table | `false` |
//! | `timeout_ms` | the time for one operation, all attempts together | 5000 |
//! | `attempt_timeout_ms` | the time for one attempt, see below | `timeout_ms` |
//!
//! The credential is the first of these that is there: a source of tokens
//! ([`AzureTablesBuilder::token_source`]), `entra`, a source of signatures
//! ([`AzureTablesBuilder::sas_source`], asked before every request), `sas`, `key`, a connection
//! string ([`AzureTablesBuilder::connection_string`]), the variable `AZURE_STORAGE_KEY`, the
//! variable `AZURE_STORAGE_CONNECTION_STRING`. A connection string also says where the service is,
//! unless `endpoint` does. A secret in a URL can end up in logs and process lists: prefer the
//! environment.
//!
//! **Entra ID.** [`EntraIdentity`] says which variables each of the three identities reads. A token
//! is fetched before the first request, used until five minutes before its end, and sent to `https`
//! endpoints alone. A refusal of the identity is a [failure](crate::driver::DriverError::Failed).
//! Who signs in needs the role *Storage Table Data Contributor* on the table, or on the account.
//! Other ways of signing in (certificates, the command line's login, Azure Arc) are for a token
//! source.
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
//! events that were answered can be missing, because the copy is made afterwards. Stop all writers
//! before a failover that you start yourself, and wait until *Last Sync Time* is behind them.
//!
//! **What `create=true` does not set.** It makes the table alone. Redundancy, firewall, encryption
//! with a key of your own and access by key at all are the account's.
//!
//! # Limits
//!
//! 99 events (100 rows) and 2,900,000 bytes a put (4 MiB a transaction, in base64), 900 KiB an
//! event and a snapshot (1 MiB a row), and 512 characters a key once it is escaped (1 KiB). What is
//! over them is refused before anything is sent. A partition takes some 2,000 rows a second; how
//! large it becomes has no limit of its own.
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
//! second longer than `timeout_ms`, unless its builder is told otherwise. An attempt looks for a
//! connection for a quarter of its time at most, so that an engine that is down is
//! [`DriverError::Unavailable`] and not unknown.
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
//! With Entra ID: the role *Storage Table Data Contributor*. With a shared access signature: query
//! and add on the table, update for the head and the snapshot (`rau`), and create on the service
//! with `create`. The account's key may do everything.
//!
//! # What it cannot do
//!
//! There is no log: events have no position, and reads over all aggregates are not offered. A
//! transaction is one partition, so a put cannot hold several aggregates.
//!
//! # What was tested on what
//!
//! The engine tests run on Azurite 3.35.0 with the account's key, not on the service itself.
//! Azurite does not throttle; those answers, signatures that change, connection strings and tokens
//! of Entra ID (whose identities answer as their documentation says) are tested on a scripted
//! server. No sign-in was tried on Entra ID itself.
//!
//! # Layout
//!
//! - `builder`: options, the URL, the table
//! - `driver`: the contract's methods, as calls
//! - `table`: the calls
//! - `batch`: a put as a transaction, and its answer
//! - `service`: requests, signed and sent
//! - `credential`: keys, signatures and connection strings
//! - `entra`: tokens of Entra ID
//! - `row`: keys, events and snapshots as rows, and back
//! - `failure`: what a failed call means
//!
//! [`DriverError::Unavailable`]: crate::driver::DriverError::Unavailable
//! [`DriverError::Unknown`]: crate::driver::DriverError::Unknown

mod batch;
mod builder;
mod credential;
mod driver;
mod entra;
mod failure;
mod row;
mod service;
mod table;

pub use builder::AzureTablesBuilder;
pub(super) use builder::open_url;
pub use driver::AzureTablesDriver;
pub use entra::EntraIdentity;
