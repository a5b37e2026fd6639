//! redb's file, with room made sure of.
//!
//! After one write without space redb refuses reads too, until it is opened anew. So before each
//! transaction the apply thread makes sure of a reserve: a file of zeros as large as the transaction may
//! grow. A write that finds the disk full gives the reserve up and tries again.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redb::StorageBackend;

use super::apply::let_others_run;
use super::files::{Disk, DiskFile};

/// redb's file.
pub(super) const DATABASE: &str = "events.redb";
const RESERVE: &str = "reserve";
const STEP: usize = 1 << 20;
/// A transaction over very many aggregates gets back the pages that the one before it freed.
const MOST_INDEX_BYTES: u64 = 64 << 20;

/// redb flushes a transaction of many megabytes at once, and a flush of the journal meanwhile would wait for
/// all of it.
const FLUSH_EVERY: u64 = 1 << 20;

/// redb writes a transaction's pages without a pause.
const LET_RUN_EVERY: u64 = 64 << 10;

/// The reserve: how much of it there is.
pub(super) struct Room {
    disk: Arc<dyn Disk>,
    bytes: Mutex<u64>,
}

impl Room {
    pub(super) fn new(disk: Arc<dyn Disk>) -> Self {
        Room { disk, bytes: Mutex::new(0) }
    }

    /// Makes room for a transaction that adds `payload` bytes of events of so many aggregates, or
    /// answers with the error that the disk gave. Each aggregate may cost a page of the index and one
    /// above it; all of them together not more than a copy of redb's file.
    pub(super) fn ensure(&self, payload: u64, aggregates: u64) -> io::Result<()> {
        let file = self.disk.open(DATABASE)?;
        let stored = file.map_or(Ok(0), |file| file.size())?;
        let index = (aggregates * 2 * 4096).min(stored).min(MOST_INDEX_BYTES);
        self.set_aside(payload + payload / 4 + index + STEP as u64)
    }

    fn set_aside(&self, bytes: u64) -> io::Result<()> {
        let mut there = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if *there >= bytes {
            return Ok(());
        }
        let file = match self.disk.open(RESERVE)? {
            Some(file) if *there > 0 => file,
            _ => self.disk.create(RESERVE)?,
        };
        let zeros = vec![0; STEP];
        while *there < bytes {
            if let Err(error) = file.write_at(*there, &zeros) {
                *there = 0;
                file.set_size(0)?;
                return Err(error);
            }
            *there += STEP as u64;
        }
        Ok(())
    }

    /// Gives the reserve up; whether there was one.
    fn give_up(&self) -> bool {
        let mut there = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let given = *there > 0 && self.disk.remove(RESERVE).is_ok();
        *there = 0;
        given
    }

    /// Removes the reserve, whoever made it.
    pub(super) fn remove(&self) -> io::Result<()> {
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) = 0;
        if self.disk.open(RESERVE)?.is_some() {
            self.disk.remove(RESERVE)?;
        }
        Ok(())
    }
}

/// redb's file on a [`Disk`].
pub(super) struct Backend {
    file: Arc<dyn DiskFile>,
    room: Arc<Room>,
    /// Written since the last flush, in bytes.
    unflushed: AtomicU64,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Backend").field(&self.file).finish()
    }
}

impl Backend {
    pub(super) fn new(file: Arc<dyn DiskFile>, room: Arc<Room>) -> Self {
        Backend { file, room, unflushed: AtomicU64::new(0) }
    }

    fn with_room(&self, write: impl Fn() -> io::Result<()>) -> io::Result<()> {
        match write() {
            Err(error) if error.kind() == io::ErrorKind::StorageFull && self.room.give_up() => {
                write()
            }
            result => result,
        }
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with_room(|| self.file.set_size(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.unflushed.store(0, Ordering::Relaxed);
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with_room(|| self.file.write_at(offset, data))?;
        let written = data.len() as u64;
        let before = self.unflushed.fetch_add(written, Ordering::Relaxed);
        if before + written >= FLUSH_EVERY {
            self.sync_data()?;
        } else if before / LET_RUN_EVERY != (before + written) / LET_RUN_EVERY {
            let_others_run();
        }
        Ok(())
    }
}
