//! An in-process event store in which every aggregate key has one mailbox.
//!
//! One actor per key takes that aggregate's appends one after another and remembers its latest
//! sequence, so concurrent writers conflict without a trip to the store. What must last is put
//! through a driver of four methods; redb is the embedded default.
//!
//! ```
//! use seriatim::{Append, EventStore, Expected, NewEvent};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = EventStore::open("memory:").await?;
//!
//! let opened = NewEvent::raw("Opened", r#"{"owner":"Ada"}"#);
//! let append = Append::to("account/1").expect(Expected::NoEvents).event(opened);
//! let appended = store.append(append).await?;
//! assert_eq!(appended.last, 1);
//!
//! for event in store.read("account/1").collect().await? {
//!     println!("{} {} {}", event.sequence, event.event_type(), event.data);
//! }
//! store.close().await?;
//! # Ok(()) }
//! ```
//!
//! # What it is, and what it is not
//!
//! It is a library inside your process: concurrent writers are arbitrated by actors, events are
//! durable before an append is answered, history is read back by aggregate. It is not a server, not
//! a message broker, not a query engine over event data; several processes share one store only
//! through a driver whose engine they can all reach.
//!
//! # Layout
//!
//! Three floors; each knows only those below it.
//!
//! - the application: [`EventStore`], [`Read`], the log and its [`subscription`]s and consumers,
//!   backups, and for actix applications [`actors`]
//! - the mailroom (private): a supervisor, one actor per resident aggregate, and the registry of
//!   both
//! - [`driver`]: the contract of durable storage, and what implements it
//!
//! Beside them: events and appends ([`NewEvent`], [`KeyedEvent`], [`Append`], [`Appended`]) and one
//! error enum per operation ([`AppendError`], [`ReadError`], [`OpenError`], [`CloseError`]). For
//! those who watch a store: [`stats`]. For an application's tests: [`testing`].

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod actors;
mod append;
#[cfg(feature = "backup")]
pub mod backup;
pub mod driver;
mod entity;
mod error;
mod event;
#[cfg(doctest)]
mod guide;
mod mailroom;
pub mod middleware;
mod spin_wait;
pub mod stats;
mod store;
pub mod subscription;
mod sync;
#[cfg(any(feature = "redb", feature = "backup"))]
mod sync_directory;
pub mod testing;
mod upcast;
mod user_code;

pub use append::{Append, Appended, ExecuteOptions, Expected};
pub use entity::{
    Aggregate, Context, Entities, Entity, EntityOptions, ExecuteError, Executed, Loaded, Snapshots,
    TransactError, TransactOptions,
};
pub use error::{AppendError, CloseError, LoadError, NoLog, OpenError, ReadError};
pub use event::{
    AggregateKey, DecodeError, EncodeError, EventError, KeyError, KeyedEvent, MAX_EVENT_TYPE_BYTES,
    NewEvent, Position, RawJson, RawJsonError, RecordError, Sequence, Timestamp, TimestampError,
};
pub use store::{Builder, EventStore, Keys, Read};
pub use subscription::{
    Consumer, ConsumerError, ConsumerHandle, Log, LogRead, Reaction, Subscription,
};
pub use upcast::Upcast;
