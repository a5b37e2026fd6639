//! The driver `redb:DIRECTORY`: one directory on this machine's disk, embedded and durable.
//!
//! A journal makes a put durable with one write and one flush. redb, behind it, keeps events for
//! good and is filled in big transactions. An answered put survives the kill of the process and a
//! loss of power; [`Durability`] can trade the latter for speed.
//!
//! ```text
//! put_events ─▶ queue ─▶ writer thread: one frame for all that wait, one flush ─▶ journal
//!                            │ published                       │ files recycled
//!                            ▼                                 │
//! reads ─────────────────▶ tail ──▶ apply thread: sorted transactions ─▶ events.redb
//!   └───────────────────── then the committed view of redb ───────┘
//! ```
//!
//! ```text
//! DIRECTORY/format        the format's version, read before anything else
//! DIRECTORY/lock          locked by the process that has the store open, and names it
//! DIRECTORY/events.redb   the log, the index, and how far the journal is applied
//! DIRECTORY/journal/      while the store is open: what is not in events.redb yet
//! DIRECTORY/reserve       while the store is open: space set aside for redb's next transaction
//! ```
//!
//! # What must stay true
//!
//! - A put is answered, and its events become readable, only after its frame is flushed
//!   ([`Durability::Written`]: written).
//! - Positions are dense and in commit order; frames are numbered, so a lost frame is told from the
//!   end.
//! - (key, sequence) is unique: the writer checks each put against the aggregates it knows.
//! - An event leaves the tail only when redb's committed view shows it, and a journal file is
//!   recycled only when redb holds all of its frames durably.
//! - After a failed write or flush no put is accepted until the store is opened again.
//!
//! # Limits
//!
//! Those of [`Limits::default`](super::Limits::default), and 1,000 aggregates a put; smaller with
//! small journal files.
//!
//! # Failures
//!
//! After a failed write or flush every put is refused until the store is opened again, because
//! nobody knows what the disk holds. Reads go on as long as redb answers. A disk that is found full
//! before anything was written refuses puts with
//! [`DriverError::Unavailable`](super::DriverError::Unavailable) until there is room.
//!
//! # Layout
//!
//! - `driver`: [`RedbDriver`], its threads and the driver contract; `options`: the builder; `open`:
//!   opening and replay; `core`: what threads and callers share; `failure`: redb's errors and
//!   panics; `figures`: what it tells of itself
//! - `journal`: the queue, the writer, frames, and the journal's files in turn
//! - `apply`: the tail of what is only journaled, and the transactions that move it into redb;
//!   checkpoints and snapshots, which go along
//! - `read`: a history and the log, from tail and redb as one; pages and the cache of segments
//! - `format`: what is stored in redb: tables, segments of the log, blocks of the index
//! - `disk`: the directory and its lock, file access behind a trait, redb's file, the reserve
//! - `verify`, `reindex`: walking a store, and rebuilding its index
//! - `space`, `compact`: what redb's file is used for, and giving back what is not needed

mod apply;
mod compact;
mod core;
mod disk;
mod driver;
mod failure;
mod figures;
mod format;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod fuzz;
mod journal;
mod open;
mod options;
mod read;
mod reindex;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod samples;
mod space;
mod verify;

pub use compact::Compacted;
pub use disk::files::{Disk, DiskFile};
pub use driver::RedbDriver;
pub(crate) use open::open_url;
pub use options::{Durability, Progress, RedbBuilder, Step};
pub use space::Space;
pub use verify::Verified;
