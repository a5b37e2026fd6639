//! What the benches share, and `benches/peers` with them: the contenders' common face, the store behind
//! it, and the two stores that somebody writes by hand on redb instead.
//!
//! A workload is written once against [`Contender`] and drives every contender with the same tasks on
//! the same runtime, so what differs between two figures is the store alone.

// Each bench includes this module whole and uses its own part of it.
#![allow(dead_code, unused_imports)]

mod contender;
mod group_commit;
mod payload;
mod redb_by_hand;
mod store;
mod writers;

pub(crate) use contender::{Contender, Key, Outcome, Replayed, Seen};
pub(crate) use group_commit::GroupCommit;
pub(crate) use payload::{Payload, payloads};
pub(crate) use redb_by_hand::{RedbGroupCommit, RedbOneByOne};
pub(crate) use store::Seriatim;
pub(crate) use writers::{Writers, key, refused};

use tokio::runtime::{Builder, Runtime};

/// The runtime that every contender's callers run on: two workers, as many as the measured machine's
/// cores.
pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}
