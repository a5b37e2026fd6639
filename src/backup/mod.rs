//! Backups of a store's log, taken while the store is in use, and their restore.
//!
//! ```text
//! store ── log, page by page ──▶ take ──▶ target: files of blocks, then the manifest
//!                                                  │
//! driver, empty ◀── puts of whole appends ── restore ◀── source: checked block by block
//! ```
//!
//! What it promises:
//!
//! - **A dense prefix.** A backup has every event from position 1 to its last one, and ends behind
//!   a whole append. Everything that was answered before it began is in it. Writers go on.
//! - **Exact.** A restored event has the same key, sequence, position, ids, time, attempt, metadata
//!   and data, byte for byte.
//! - **Incremental.** A backup into the same directory adds what is new. One that was killed loses
//!   the file that it was writing; the next one goes on behind the last file of the manifest.
//! - **Nothing unnoticed.** Each block and each file has a checksum, the manifest lists all files
//!   and has one too. Damage is named with its file.
//! - **Bounded memory.** Some pages of the log, however long it is.
//!
//! Snapshots of entities and checkpoints of consumers are not part of a backup: consumers begin
//! again in a restored store.
//!
//! ```
//! use seriatim::backup::Restore;
//! use seriatim::driver::memory::MemoryDriver;
//! use seriatim::{Append, EventStore, NewEvent};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let target = folder.path().join("backup");
//! let store = EventStore::open("memory:").await?;
//! store.append(Append::to("light/1").event(NewEvent::raw("SwitchedOn", "{}"))).await?;
//! let backup = store.backup(&target).await?;
//! assert_eq!((backup.added, backup.contents.last.get()), (1, 1));
//!
//! let driver = MemoryDriver::new();
//! let restored = Restore::from_dir(&target).into_driver(&driver).await?;
//! assert_eq!(restored.last, 1);
//! let copy = EventStore::builder().driver(std::sync::Arc::new(driver)).open().await?;
//! assert_eq!(copy.latest_sequence("light/1").await?, 1);
//! # Ok(()) }
//! ```

mod block;
mod contents;
mod error;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod fuzz;
mod manifest;
mod restore;
mod source;
mod take;
mod target;

pub use contents::{BackupContents, BackupProgress};
pub use error::BackupError;
pub use restore::{Restore, Restored};
pub use take::{BackedUp, Backup};
