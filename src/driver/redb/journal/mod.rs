//! The journal: how a put becomes durable.
//!
//! ```text
//! write_queue ─▶ writer ─▶ frame (entries of all waiting puts) ─▶ files: write, flush ─▶ tail
//! ```
//!
//! - `write_queue`, `flush_delay`: what waits for the writer, and how long a flush waits for more
//! - `writer`, `committer`: one frame, one flush, all answers; what the writing thread holds
//! - `frame`, `frame_entry`, `frame_events`: the stored form, and the events of a frame in memory
//! - `files`, `journal_file`: the files of fixed size, used in turn and recycled; one of them
//! - `recent_aggregates`: the latest sequences of aggregates that were written lately

pub(in crate::driver::redb) mod committer;
pub(in crate::driver::redb) mod files;
pub(in crate::driver::redb) mod flush_delay;
pub(in crate::driver::redb) mod frame;
pub(in crate::driver::redb) mod frame_entry;
pub(in crate::driver::redb) mod frame_events;
pub(in crate::driver::redb) mod journal_file;
pub(in crate::driver::redb) mod recent_aggregates;
pub(in crate::driver::redb) mod write_queue;
pub(in crate::driver::redb) mod writer;
