//! Apply: what is journaled moves into redb, in big sorted transactions.
//!
//! - `tail`: the events that are journaled and not yet in redb
//! - `transaction`: the apply thread and its transactions; `pace`: when it begins one
//! - `index`: events by aggregate on their way into the index; `merge`: when they go there
//! - `checkpoints`, `entity_snapshots`: what the same transactions write beside the events

pub(in crate::driver::redb) mod checkpoints;
pub(in crate::driver::redb) mod entity_snapshots;
pub(in crate::driver::redb) mod index;
pub(in crate::driver::redb) mod merge;
pub(in crate::driver::redb) mod pace;
pub(in crate::driver::redb) mod tail;
pub(in crate::driver::redb) mod transaction;
