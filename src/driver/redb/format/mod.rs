//! What is stored in redb.
//!
//! - `tables`: the tables and their keys, and the state of the store
//! - `segment`: events of the log in position order; `block`: positions of one aggregate
//! - `delta`: what a batch adds to the index
//! - `sealed`: a value under a checksum that covers its key
//! - `codec`: numbers and byte strings

pub(in crate::driver::redb) mod block;
pub(in crate::driver::redb) mod codec;
pub(in crate::driver::redb) mod delta;
pub(in crate::driver::redb) mod sealed;
pub(in crate::driver::redb) mod segment;
pub(in crate::driver::redb) mod tables;
