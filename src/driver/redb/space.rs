//! What redb's file is used for. All tables are walked, in a view of one commit; nobody waits.

use redb::{ReadTransaction, ReadableTableMetadata, TableHandle};

use crate::driver::DriverError;
use crate::driver::redb::core::Core;
use crate::driver::redb::disk::reserve::DATABASE;
use crate::driver::redb::failure::{io_failed, redb_failed};
use crate::driver::redb::format::tables::{DELTAS, EARLIER, LATEST, LOG};
use crate::driver::redb::read::committed_view::begin_read;

/// What redb's file is used for, from [`RedbDriver::space`](super::RedbDriver::space). Bytes are
/// those of whole pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Space {
    /// The size of redb's file.
    pub file_bytes: u64,
    /// The log: the events.
    pub log_bytes: u64,
    /// The index.
    pub index_bytes: u64,
    /// Snapshots, checkpoints, and an index that a rebuild left behind.
    pub other_bytes: u64,
    /// The rest: later events fill it, and [`RedbBuilder::compact`](super::RedbBuilder::compact)
    /// gives back most of it. redb itself needs a few dozen KiB, and more in large files.
    pub free_bytes: u64,
}

pub(in crate::driver::redb) fn space(core: &Core) -> Result<Space, DriverError> {
    let mut space = used(&begin_read(&*core.database()?)?)?;
    let failed = |error| io_failed("the store's files", error);
    let file = core.disk.open(DATABASE).map_err(failed)?.ok_or(DriverError::Closed)?;
    space.file_bytes = file.size().map_err(failed)?;
    let used = space.log_bytes + space.index_bytes + space.other_bytes;
    space.free_bytes = space.file_bytes.saturating_sub(used);
    Ok(space)
}

fn used(transaction: &ReadTransaction) -> Result<Space, DriverError> {
    let mut space = Space::default();
    for table in transaction.list_tables().map_err(redb_failed)? {
        let name = table.name().to_owned();
        let stats = transaction.open_untyped_table(table).map_err(redb_failed)?.stats();
        let stats = stats.map_err(redb_failed)?;
        let bytes = stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes();
        if name == LOG.name() {
            space.log_bytes = bytes;
        } else if [LATEST.name(), EARLIER.name(), DELTAS.name()].contains(&&*name) {
            space.index_bytes += bytes;
        } else {
            space.other_bytes += bytes;
        }
    }
    Ok(space)
}
