//! What stands in redb.
//!
//! | table | key | value |
//! |---|---|---|
//! | `log` | first position | a [segment](super::segment) |
//! | `latest` | aggregate key | the [block](super::block) with the aggregate's latest events |
//! | `earlier` | aggregate key, zero byte, first sequence (big-endian) | an earlier block, full |
//! | `deltas` | first position | a [delta](super::delta): what is in no block yet, sealed |
//! | `sealed_snapshots` | aggregate key | the snapshot of its entity, [sealed](super::sealed) |
//! | `sealed_checkpoints` | name | a consumer's checkpoint, [sealed](super::sealed) |
//! | `snapshots`, `checkpoints` | | the same without seals, from an earlier version; only read |
//! | `store` | name | a number that holds for the whole store: [`StoreState`] |
//!
//! A key has no control characters, so the zero byte keeps an aggregate's blocks together and apart
//! from those of keys that begin with its own.

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, Table, TableDefinition, TableError};
use twox_hash::XxHash3_64;
use uuid::Uuid;

use crate::driver::DriverError;
use crate::driver::redb::failure::redb_failed;
use crate::event::Timestamp;

pub(in crate::driver::redb) const LOG: TableDefinition<'static, u64, &[u8]> =
    TableDefinition::new("log");
pub(in crate::driver::redb) const LATEST: TableDefinition<'static, &str, &[u8]> =
    TableDefinition::new("latest");
pub(in crate::driver::redb) const EARLIER: TableDefinition<'static, &[u8], &[u8]> =
    TableDefinition::new("earlier");
pub(in crate::driver::redb) const DELTAS: TableDefinition<'static, u64, &[u8]> =
    TableDefinition::new("deltas");
pub(in crate::driver::redb) const STORE: TableDefinition<'static, &str, u64> =
    TableDefinition::new("store");

/// In [`STORE`]: the checksum of the other numbers.
const CHECKSUM: &str = "checksum";
const FRAME: &str = "frame";
const INDEXED: &str = "indexed";
/// So many numbers had a store before frames had numbers, and before the index had deltas.
const WITHOUT_FRAME: usize = 8;
const WITHOUT_INDEXED: usize = 9;

/// A table of values by name. A store that never had one of them has no such table.
pub(in crate::driver::redb) fn open_if_there(
    transaction: &ReadTransaction,
    table: TableDefinition<'static, &'static str, &'static [u8]>,
) -> Result<Option<ReadOnlyTable<&'static str, &'static [u8]>>, DriverError> {
    match transaction.open_table(table) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(redb_failed(error)),
    }
}

/// Hands out each value of such a table, with its name.
pub(in crate::driver::redb) fn for_each_value(
    transaction: &ReadTransaction,
    table: TableDefinition<'static, &'static str, &'static [u8]>,
    mut take: impl FnMut(&str, &[u8]) -> Result<(), DriverError>,
) -> Result<(), DriverError> {
    let Some(table) = open_if_there(transaction, table)? else { return Ok(()) };
    for entry in table.iter().map_err(redb_failed)? {
        let (name, value) = entry.map_err(redb_failed)?;
        take(name.value(), value.value())?;
    }
    Ok(())
}

/// The key of an earlier block.
pub(in crate::driver::redb) fn earlier_key(key: &str, first_sequence: u64, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(key.as_bytes());
    out.push(0);
    out.extend_from_slice(&first_sequence.to_be_bytes());
}

/// Where a frame stands in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::driver::redb) struct JournalPlace {
    pub(in crate::driver::redb) file: u64,
    pub(in crate::driver::redb) offset: u64,
}

/// What holds for the whole store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver::redb) struct StoreState {
    /// Frames carry it, so that another store's journal is never taken for this one's.
    pub(in crate::driver::redb) store: Uuid,
    /// Raised on every opening; frames of another epoch are stale.
    pub(in crate::driver::redb) epoch: u64,
    /// The position of the latest event in redb.
    pub(in crate::driver::redb) applied: u64,
    /// Recorded-at of that event.
    pub(in crate::driver::redb) latest_time: Timestamp,
    /// Where the frame after it stands.
    pub(in crate::driver::redb) place: JournalPlace,
    /// The number of the last frame of this epoch in redb.
    pub(in crate::driver::redb) frame: u64,
    /// The position up to which the index has all events in its blocks. Those behind it are in
    /// deltas.
    pub(in crate::driver::redb) indexed: u64,
    /// Whether the store was closed, and the journal is empty.
    pub(in crate::driver::redb) clean: bool,
}

impl StoreState {
    pub(in crate::driver::redb) fn new() -> Self {
        StoreState {
            store: Uuid::new_v4(),
            epoch: 0,
            applied: 0,
            latest_time: Timestamp::from_micros(i64::MIN),
            place: JournalPlace::default(),
            frame: 0,
            indexed: 0,
            clean: true,
        }
    }

    /// Reads the state. A wrong checksum is damage.
    pub(in crate::driver::redb) fn read(
        table: &impl ReadableTable<&'static str, u64>,
    ) -> Result<Self, DriverError> {
        let number = |name: &str| -> Result<u64, DriverError> {
            let found = table.get(name).map_err(redb_failed)?.map(|found| found.value());
            found.ok_or_else(|| {
                DriverError::damaged(format!("events.redb is damaged: {name:?} is missing"))
            })
        };
        let applied = number("applied")?;
        // A store that was written before the index had deltas has none.
        let indexed = table.get(INDEXED).map_err(redb_failed)?.map(|found| found.value());
        let state = StoreState {
            store: Uuid::from_u64_pair(number("store_id_high")?, number("store_id_low")?),
            epoch: number("epoch")?,
            applied,
            latest_time: Timestamp::from_micros(number("latest_time")?.cast_signed()),
            place: JournalPlace { file: number("place_file")?, offset: number("place_offset")? },
            // A store that was written before frames had numbers has none.
            frame: table.get(FRAME).map_err(redb_failed)?.map_or(0, |found| found.value()),
            indexed: indexed.unwrap_or(applied),
            clean: number("clean")? != 0,
        };
        let checksum = number(CHECKSUM)?;
        let is_right = match indexed {
            Some(_) => checksum == state.checksum(),
            None => {
                checksum == state.checksum_of(WITHOUT_INDEXED)
                    || state.frame == 0 && checksum == state.checksum_of(WITHOUT_FRAME)
            }
        };
        if !is_right || state.indexed > state.applied {
            return Err(DriverError::damaged(
                "events.redb is damaged: its state has a wrong checksum",
            ));
        }
        Ok(state)
    }

    pub(in crate::driver::redb) fn write(
        &self,
        table: &mut Table<'_, &'static str, u64>,
    ) -> Result<(), DriverError> {
        for (name, number) in self.numbers() {
            table.insert(name, number).map_err(redb_failed)?;
        }
        table.insert(CHECKSUM, self.checksum()).map_err(redb_failed)?;
        Ok(())
    }

    fn numbers(&self) -> [(&'static str, u64); 10] {
        let (high, low) = self.store.as_u64_pair();
        [
            ("store_id_high", high),
            ("store_id_low", low),
            ("epoch", self.epoch),
            ("applied", self.applied),
            ("latest_time", self.latest_time.as_micros().cast_unsigned()),
            ("place_file", self.place.file),
            ("place_offset", self.place.offset),
            ("clean", u64::from(self.clean)),
            (FRAME, self.frame),
            (INDEXED, self.indexed),
        ]
    }

    fn checksum(&self) -> u64 {
        self.checksum_of(self.numbers().len())
    }

    /// The checksum of an earlier version, which knows the first `count` numbers only. It refuses a
    /// store with more, so it never overlooks what it cannot read.
    fn checksum_of(&self, count: usize) -> u64 {
        let bytes = self.numbers().map(|(_, number)| number.to_le_bytes()).concat();
        XxHash3_64::oneshot(bytes.get(..8 * count).unwrap_or_default())
    }
}
