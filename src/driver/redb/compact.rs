//! Compacting: pages move to the front of redb's file, and its end is given back.
//!
//! redb moves pages only while nobody reads or writes, so a store is compacted while it is not
//! open, under the lock of its directory. Each pass is a transaction: after a kill the file has the
//! same events, and the next opening repairs it, which takes as long as reading it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::Database;

use crate::driver::DriverError;
use crate::driver::redb::apply::transaction;
use crate::driver::redb::disk::directory::Directory;
use crate::driver::redb::disk::files::{DirectoryDisk, Disk};
use crate::driver::redb::disk::locked_disk::LockedDisk;
use crate::driver::redb::disk::redb_file::OnWrite;
use crate::driver::redb::disk::reserve::DATABASE;
use crate::driver::redb::failure::{guarded, redb_failed};
use crate::driver::redb::format::tables::JournalPlace;
use crate::driver::redb::journal::journal_file::file_name;
use crate::driver::redb::open::{Recovered, journal_failed, recover};
use crate::driver::redb::options::{RedbBuilder, Step};
use crate::driver::redb::reindex;

/// What [`RedbBuilder::compact`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// The size of redb's file before.
    pub bytes_before: u64,
    /// Its size now.
    pub bytes_after: u64,
}

impl RedbBuilder {
    /// Gives back what redb's file does not need, and an index that
    /// [`RedbBuilder::rebuild_index`] left behind. The store is not open meanwhile: nobody can
    /// append or read, and opening it fails with an error that names this process. Blocks for about
    /// as long as it takes to write the part of the file that moves. A kill loses nothing.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let directory = folder.path();
    /// use seriatim::driver::redb::RedbDriver;
    /// # drop(RedbDriver::open(directory)?);
    ///
    /// let compacted = RedbDriver::builder().compact(directory)?;
    /// assert!(compacted.bytes_after <= compacted.bytes_before);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DriverError::Failed`] when there is no store, or it is open (the message names the
    /// holder); the others of [`RedbBuilder::open`].
    pub fn compact(self, path: impl AsRef<Path>) -> Result<Compacted, DriverError> {
        let path = path.as_ref();
        if !path.join(DATABASE).is_file() {
            let what = format!("{}: there is no store to compact", path.display());
            return Err(DriverError::failed(what));
        }
        let disk = DirectoryDisk::new(Directory::open(path)?);
        self.compact_on(Arc::new(disk))
    }

    /// Compacts a store on a disk of the caller's own.
    ///
    /// # Errors
    ///
    /// Those of [`RedbBuilder::compact`].
    pub fn compact_on(self, disk: Arc<dyn Disk>) -> Result<Compacted, DriverError> {
        let disk: Arc<dyn Disk> = Arc::new(LockedDisk::new(disk));
        let compacted = guarded(|| compact(&self, &disk));
        disk.release();
        compacted
    }
}

fn compact(options: &RedbBuilder, disk: &Arc<dyn Disk>) -> Result<Compacted, DriverError> {
    let bytes_before = file_bytes(&**disk)?;
    let Recovered { room, mut database, mut applied, files } =
        recover(options, disk, Some(progress(options)))?;
    // First like a store that is closed: everything is in redb, and there is no journal.
    let state = &mut applied.store;
    state.epoch += 1;
    state.frame = 0;
    state.place = JournalPlace::default();
    state.clean = true;
    transaction::write(&database, &[], &[], &mut applied)?;
    for id in files.keys() {
        disk.remove(&file_name(*id)).map_err(journal_failed)?;
    }
    disk.sync_names().map_err(journal_failed)?;
    reindex::remove_left_behind(&database)?;
    // Last, because each transaction takes new pages.
    move_pages(&mut database)?;
    database.close().map_err(redb_failed)?;
    room.remove().map_err(journal_failed)?;
    Ok(Compacted { bytes_before, bytes_after: file_bytes(&**disk)? })
}

fn move_pages(database: &mut Database) -> Result<(), DriverError> {
    database.compact().map(drop).map_err(redb_failed)
}

/// redb does not tell how far it is. What it has written says at least that it goes on.
fn progress(options: &RedbBuilder) -> OnWrite {
    let (options, written) = (options.clone(), AtomicU64::new(0));
    Box::new(move |bytes| {
        let written = written.fetch_add(bytes, Ordering::Relaxed) + bytes;
        options.tell(Step::Compacting, written, written);
    })
}

fn file_bytes(disk: &dyn Disk) -> Result<u64, DriverError> {
    let file = disk.open(DATABASE).map_err(journal_failed)?;
    file.map_or(Ok(0), |file| file.size().map_err(journal_failed))
}
