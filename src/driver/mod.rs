//! Durable storage behind four methods.
//!
//! A driver checks, fetches, puts and closes; everything that makes writers agree is the mailroom's.
//! What it must promise:
//!
//! - **Uniqueness.** Of two puts that hold the same (key, sequence) at most one is ever written,
//!   whichever process sent them. That is the last word in every race, and the only arbiter.
//! - **All or nothing.** After any failure either all events of a put are there or none.
//! - **Durable before the answer.** `Ok` means it stays. Reads return nothing that could be taken back.
//! - **Honest failures.** [`DriverError`] says of each failed put whether it surely was not written or
//!   may have been. A put that may have been written is sent again, the very same one; the driver answers
//!   `Ok` or [`DriverError::Conflict`] then, and the mailroom finds out whose the events are.
//!
//! The mailroom keeps one duty in return: whoever puts sequence n has seen n - 1 durable.
//!
//! [`conformance`] proves a driver; [`from_callbacks`] makes one from four closures.

mod answer_batch;
#[cfg(feature = "azure-tables")]
pub mod azure_tables;
mod callbacks;
#[cfg(feature = "cassandra")]
pub mod cassandra;
mod contract;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
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
pub(crate) use answer_batch::{Answer, leave};
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
