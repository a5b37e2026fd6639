//! Disk space that is reserved before redb needs it.
//!
//! After one write that finds no space, redb refuses reads too until it is opened again. So the
//! apply thread makes sure of a reserve before each transaction: a file of zeros as large as the
//! transaction can grow. A write that finds the disk full gives up the reserve and tries again.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::driver::redb::disk::files::Disk;

/// The name of redb's file.
pub(in crate::driver::redb) const DATABASE: &str = "events.redb";
/// The name of the file of zeros.
pub(in crate::driver::redb) const RESERVE: &str = "reserve";
const STEP: usize = 1 << 20;
/// A transaction over very many aggregates gets back the pages that the one before it freed.
const MOST_INDEX_BYTES: u64 = 64 << 20;

/// Whether the disk is full, or what this user may take of it.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The reserve: how much of it there is.
pub(in crate::driver::redb) struct DiskReserve {
    disk: Arc<dyn Disk>,
    bytes: Mutex<u64>,
}

impl DiskReserve {
    pub(in crate::driver::redb) fn new(disk: Arc<dyn Disk>) -> Self {
        DiskReserve { disk, bytes: Mutex::new(0) }
    }

    /// Makes room for a transaction that adds so many bytes of pages with values, and events of so
    /// many aggregates, or answers with the error that the disk gave. Each aggregate may cost a
    /// page of the index and one above it; all of them together not more than a copy of redb's
    /// file and what is added. redb also writes which of its pages are free: 128 KiB for a GiB.
    pub(in crate::driver::redb) fn ensure(&self, values: u64, aggregates: u64) -> io::Result<()> {
        let file = self.disk.open(DATABASE)?;
        let stored = file.map_or(Ok(0), |file| file.size())?;
        let index = (aggregates * 2 * 4096).min(stored + values).min(MOST_INDEX_BYTES);
        self.set_aside(values + index + (stored + values) / 4096 + STEP as u64)
    }

    fn set_aside(&self, bytes: u64) -> io::Result<()> {
        let mut there = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if *there >= bytes {
            return Ok(());
        }
        let file = match self.disk.open(RESERVE)? {
            Some(file) => {
                file.set_size(*there)?;
                file
            }
            None => self.disk.create(RESERVE)?,
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

    /// Writes; where the disk is full, gives the reserve up for it and writes again.
    pub(in crate::driver::redb) fn give_up_for(
        &self,
        write: impl Fn() -> io::Result<()>,
    ) -> io::Result<()> {
        match write() {
            Err(error) if is_full(&error) && self.give_up() => write(),
            result => result,
        }
    }

    /// Whether there was a reserve.
    fn give_up(&self) -> bool {
        let mut there = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let given = *there > 0 && self.disk.remove(RESERVE).is_ok();
        *there = 0;
        given
    }

    /// Removes the reserve, whoever made it.
    pub(in crate::driver::redb) fn remove(&self) -> io::Result<()> {
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) = 0;
        if self.disk.open(RESERVE)?.is_some() {
            self.disk.remove(RESERVE)?;
        }
        Ok(())
    }
}
