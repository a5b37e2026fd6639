//! Durable storage behind four methods.
//!
//! A driver checks, fetches, puts and closes. The mailroom makes writers agree; a driver only keeps
//! these promises:
//!
//! - **Uniqueness.** At most one of two puts that hold the same (key, sequence) is ever written,
//!   whichever process sent them. The driver is the final arbiter of every race.
//! - **All or nothing.** After any failure, either all events of a put are stored or none.
//! - **Durable before the answer.** `Ok` means that the events stay. A read returns nothing that
//!   can be rolled back.
//! - **Honest failures.** [`DriverError`] says of each failed put whether it was surely not written
//!   or may have been. The mailroom sends a put that may have been written again, unchanged. The
//!   driver then answers `Ok` or [`DriverError::Conflict`], and the mailroom finds out whose the
//!   events are.
//!
//! The mailroom has one duty in return: it puts sequence n only after n - 1 was seen durable.
//!
//! # Layout
//!
//! - `contract`: the trait [`Driver`], what it is asked and how it answers
//! - `put`, `log`: what a put holds and its limits; the log of drivers that have one
//! - `pages`, `answer_batch`: helpers for drivers: streams of pages, answers in batches
//! - `open`: which driver a URL names
//! - [`memory`], `redb`, `callbacks` ([`from_callbacks`]), and the engines `dynamodb`, `mongodb`,
//!   `cassandra`, `azure_tables` with what they share in `remote`
//! - `door` (feature `door`): reading a redb store that another process has open
//!
//! The suite `conformance` (feature `conformance`) proves a driver.

mod answer_batch;
#[cfg(feature = "azure-tables")]
pub mod azure_tables;
pub(crate) mod bounded;
mod callbacks;
#[cfg(feature = "cassandra")]
pub mod cassandra;
mod contract;
#[cfg(all(unix, feature = "door"))]
pub mod door;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
#[cfg(test)]
mod fuzz;
mod log;
pub mod memory;
#[cfg(feature = "mongodb")]
pub mod mongodb;
mod open;
mod pages;
mod put;
#[cfg(feature = "redb")]
pub mod redb;
#[cfg(feature = "remote")]
pub(crate) mod remote;

pub use crate::error::{DriverError, Limit, LimitExceeded};
pub use answer_batch::answer_together;
pub(crate) use answer_batch::{ReadyAnswer, deliver};
pub use async_trait::async_trait;
pub use callbacks::{CallbackFuture, Options, from_callbacks};
pub use contract::{Driver, EventPage, EventPages, Fetch, KeyPages, PutDone, SnapshotStore};
pub(crate) use log::check_checkpoint_name;
pub use log::{LogBell, LogFetch, LogListener, LogPage, LogStore, MAX_CHECKPOINT_NAME_BYTES};
pub use open::{URL_FORMS, open};
pub(crate) use open::{is_known, without_secrets};
pub use pages::{paged, paged_keys};
pub use put::{InvalidPut, Limits, Put, PutReceipt};

// Public names only: what proves a driver is found where the driver's contract is. The code stands
// on the roof, because it opens a store over the driver.
#[cfg(any(test, feature = "conformance"))]
pub use crate::testing::{conformance, faulty_driver as faults};
