//! Disk space that is reserved before redb needs it.
//!
//! After one write that finds no space, redb refuses reads too until it is opened again. So the
//! apply thread makes sure of a reserve before each transaction: a file of zeros as large as the
//! transaction can grow. A write that finds the disk full takes from the reserve, step by step.
//! Until the transaction has ended, the journal makes no files beside it, which would take the
//! same room.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::driver::redb::disk::files::Disk;
use crate::driver::redb::failure::is_full;

/// The name of redb's file.
pub(in crate::driver::redb) const DATABASE: &str = "events.redb";
/// The name of the file of zeros.
pub(in crate::driver::redb) const RESERVE: &str = "reserve";
const STEP: u64 = 1 << 20;
/// A transaction over very many aggregates gets back the pages that the one before it freed.
const MOST_INDEX_BYTES: u64 = 64 << 20;

/// The reserve: how much of it there is.
pub(in crate::driver::redb) struct DiskReserve {
    disk: Arc<dyn Disk>,
    bytes: Mutex<u64>,
    /// Whether a transaction takes from it. Held by whoever else takes room, while it does.
    is_taken_from: Mutex<bool>,
}

/// What a transaction is going to write.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::driver::redb) struct RoomNeeded {
    /// Bytes of pages with values.
    pub(in crate::driver::redb) values: u64,
    /// Rows in tables that are sorted by name: each may be in a page of its own.
    pub(in crate::driver::redb) rows: u64,
}

impl RoomNeeded {
    /// A row with a name and a value of so many bytes together.
    pub(in crate::driver::redb) fn add_row(&mut self, bytes: usize) {
        // redb rounds a value up to less than twice its size.
        self.values += 2 * bytes as u64;
        self.rows += 1;
    }
}

/// The right to take from the reserve, for one transaction.
pub(in crate::driver::redb) struct SetAside<'a>(&'a DiskReserve);

impl Drop for SetAside<'_> {
    fn drop(&mut self) {
        *self.0.is_taken_from() = false;
    }
}

impl DiskReserve {
    pub(in crate::driver::redb) fn new(disk: Arc<dyn Disk>) -> Self {
        DiskReserve { disk, bytes: Mutex::new(0), is_taken_from: Mutex::new(false) }
    }

    fn is_taken_from(&self) -> MutexGuard<'_, bool> {
        self.is_taken_from.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a transaction, or answers with the error that the disk gave. Each row may
    /// cost a page and one above it; all of them together not more than a copy of redb's file and
    /// what is added. redb also writes which of its pages are free: 128 KiB for a GiB.
    pub(in crate::driver::redb) fn ensure(&self, needed: RoomNeeded) -> io::Result<SetAside<'_>> {
        let RoomNeeded { values, rows } = needed;
        let file = self.disk.open(DATABASE)?;
        let stored = file.map_or(Ok(0), |file| file.size())?;
        let index = (rows * 2 * 4096).min(stored + values).min(MOST_INDEX_BYTES);
        self.set_aside(values + index + (stored + values) / 4096 + STEP)?;
        Ok(SetAside(self))
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
        let zeros = vec![0; STEP as usize];
        while *there < bytes {
            if let Err(error) = file.write_at(*there, &zeros) {
                *there = 0;
                file.set_size(0)?;
                return Err(error);
            }
            *there += STEP;
        }
        Ok(())
    }

    /// Writes; while the disk is full, takes from the reserve for it and writes again.
    pub(in crate::driver::redb) fn give_up_for(
        &self,
        write: impl Fn() -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            match write() {
                Err(error) if is_full(&error) && self.give_up() => {}
                result => return result,
            }
        }
    }

    /// Makes the reserve one step smaller. Returns whether there was any of it.
    fn give_up(&self) -> bool {
        *self.is_taken_from() = true;
        let mut there = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left) = there.checked_sub(STEP) else { return false };
        let file = self.disk.open(RESERVE).ok().flatten();
        let is_given = file.is_some_and(|file| file.set_size(left).is_ok());
        if is_given {
            *there = left;
        }
        is_given
    }

    /// Does what takes room beside redb, unless a transaction needs the rest of it.
    pub(in crate::driver::redb) fn beside<T>(
        &self,
        work: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        // Held meanwhile, so that what is given up goes to the transaction.
        let is_taken_from = self.is_taken_from();
        match *is_taken_from {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => work(),
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::driver::redb::samples::PlainDisk;

    #[test]
    fn what_a_transaction_gives_up_goes_to_nobody_else() {
        let reserve = DiskReserve::new(Arc::new(PlainDisk));
        let set_aside = reserve.ensure(RoomNeeded::default()).unwrap();
        assert!(reserve.beside(|| Ok(())).is_ok());
        assert!(reserve.give_up_for(|| Err(io::ErrorKind::StorageFull.into())).is_err());
        assert!(is_full(&reserve.beside(|| Ok(())).unwrap_err()));
        drop(set_aside);
        assert!(reserve.beside(|| Ok(())).is_ok());
    }
}
