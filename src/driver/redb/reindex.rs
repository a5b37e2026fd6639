//! Reindexing: the index is rebuilt from the log in one transaction. A crash leaves the old index.
//!
//! An open store refuses puts meanwhile, and reads go on. A store that does not open, because its
//! index is damaged, does it while opening.

use std::sync::PoisonError;

use bytes::Bytes;
use redb::{
    Database, ReadTransaction, ReadableTable, TableDefinition, TableHandle, WriteTransaction,
};

use crate::driver::DriverError;
use crate::driver::redb::apply::index::ByAggregate;
use crate::driver::redb::apply::merge::Merger;
use crate::driver::redb::core::{AppliedState, Core};
use crate::driver::redb::failure::{guarded, redb_failed};
use crate::driver::redb::format::delta::Addition;
use crate::driver::redb::format::tables::{DELTAS, EARLIER, LATEST, LOG, STORE, StoreState};
use crate::driver::redb::options::{RedbBuilder, Step};
use crate::driver::redb::read::committed_view::{
    begin_read, decode_block, decode_earlier, decode_event, missing, read_segment,
};
use crate::event::AggregateKey;

/// Events indexed at once, sorted by key.
const BATCH_EVENTS: usize = 100_000;

/// Rebuilds the index of an open store, and returns the number of its events.
pub(in crate::driver::redb) fn reindex(core: &Core) -> Result<u64, DriverError> {
    // What the old index says of a latest sequence may be wrong, so no put gets one by it.
    let rebuild = core.rebuild_index();
    let total = core.apply_all()?;
    // Keeps the apply thread out of redb until the new index is there.
    let mut state = core.state.lock().unwrap_or_else(PoisonError::into_inner);
    let database = core.database()?;
    let can_be_deleted = guarded(|| walk(&database)).is_ok();
    let mut transaction = database.begin_write().map_err(redb_failed)?;
    transaction.set_quick_repair(true);
    match can_be_deleted {
        true => {
            transaction.delete_table(LATEST).map_err(redb_failed)?;
            transaction.delete_table(EARLIER).map_err(redb_failed)?;
            transaction.delete_table(DELTAS).map_err(redb_failed)?;
        }
        false => leave_behind(&transaction)?,
    }
    let events = write_index(&transaction, &core.options, total)?;
    let store = write_indexed(&transaction, &state.store)?;
    transaction.commit().map_err(redb_failed)?;
    drop(database);
    *state = AppliedState { store, merger: Merger::new(core.options.tail_bytes) };
    core.renew_snapshot(&state.merger)?;
    drop(state);
    core.tail.aggregates.learn_again(|key| core.snapshot()?.latest_sequence(key))?;
    drop(rebuild);
    core.options.tell(Step::Reindexing, events, events);
    Ok(events)
}

/// All events are in the blocks.
fn write_indexed(
    transaction: &WriteTransaction,
    state: &StoreState,
) -> Result<StoreState, DriverError> {
    // Without rows, but there: it may have been deleted or left behind.
    transaction.open_table(DELTAS).map_err(redb_failed)?;
    let state = StoreState { indexed: state.applied, ..*state };
    state.write(&mut transaction.open_table(STORE).map_err(redb_failed)?)?;
    Ok(state)
}

/// Reads all rows of the index, whatever they say: redb reads the same pages to delete them.
fn walk(database: &Database) -> Result<(), DriverError> {
    let transaction = begin_read(database)?;
    for row in transaction.open_table(LATEST).map_err(redb_failed)?.iter().map_err(redb_failed)? {
        row.map_err(redb_failed)?;
    }
    for row in transaction.open_table(EARLIER).map_err(redb_failed)?.iter().map_err(redb_failed)? {
        row.map_err(redb_failed)?;
    }
    for row in transaction.open_table(DELTAS).map_err(redb_failed)?.iter().map_err(redb_failed)? {
        row.map_err(redb_failed)?;
    }
    Ok(())
}

/// Rebuilds the index of a store that is being opened, before its journal is replayed.
pub(in crate::driver::redb) fn rebuild(
    database: &Database,
    options: &RedbBuilder,
    state: &mut StoreState,
) -> Result<(), DriverError> {
    let mut transaction = database.begin_write().map_err(redb_failed)?;
    transaction.set_quick_repair(true);
    leave_behind(&transaction)?;
    let events = write_index(&transaction, options, state.applied)?;
    *state = write_indexed(&transaction, state)?;
    transaction.commit().map_err(redb_failed)?;
    options.tell(Step::Reindexing, events, events);
    Ok(())
}

/// Renames the old tables and leaves them: deleting them would go through pages that may be
/// damaged.
fn leave_behind(transaction: &WriteTransaction) -> Result<(), DriverError> {
    let there: Vec<String> = {
        let tables = transaction.list_tables().map_err(redb_failed)?;
        tables.map(|table| table.name().to_owned()).collect()
    };
    // A number that no table has: of an earlier one a damaged part may be left.
    let is_free = |n: &u64| there.iter().all(|name| !name.ends_with(&left_behind("", *n)));
    let number = (1..).find(is_free).unwrap_or(0);
    if there.iter().any(|name| name == DELTAS.name()) {
        let deltas = left_behind(DELTAS.name(), number);
        let left: TableDefinition<'_, u64, &[u8]> = TableDefinition::new(&deltas);
        transaction.rename_table(DELTAS, left).map_err(redb_failed)?;
    }
    let (latest, earlier) =
        (left_behind(LATEST.name(), number), left_behind(EARLIER.name(), number));
    let left: TableDefinition<'_, &str, &[u8]> = TableDefinition::new(&latest);
    transaction.rename_table(LATEST, left).map_err(redb_failed)?;
    let left: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(&earlier);
    transaction.rename_table(EARLIER, left).map_err(redb_failed)
}

const LEFT_BEHIND: &str = "_before_rebuild_";

fn left_behind(table: &str, number: u64) -> String {
    format!("{table}{LEFT_BEHIND}{number}")
}

fn is_left_behind(name: &str) -> bool {
    let table = name.split(LEFT_BEHIND).next().unwrap_or_default();
    name.contains(LEFT_BEHIND) && [LATEST.name(), EARLIER.name()].contains(&table)
}

/// Removes what earlier rebuilds left behind, except what is damaged: removing a table goes through
/// its pages, and a wrong one may lead into a table that is in use. Each row has a checksum and
/// rows ascend, so pages with sound rows are the table's own.
pub(in crate::driver::redb) fn remove_left_behind(database: &Database) -> Result<(), DriverError> {
    let transaction = begin_read(database)?;
    let names: Vec<String> = {
        let tables = transaction.list_tables().map_err(redb_failed)?;
        tables.map(|table| table.name().to_owned()).collect()
    };
    let mut sound = Vec::new();
    for name in names.iter().filter(|name| is_left_behind(name)) {
        if guarded(|| check_rows(&transaction, name)).is_ok() {
            sound.push(name);
        }
    }
    drop(transaction);
    if sound.is_empty() {
        return Ok(());
    }
    let mut transaction = database.begin_write().map_err(redb_failed)?;
    transaction.set_quick_repair(true);
    for name in sound {
        let table: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(name);
        transaction.delete_table(table).map_err(redb_failed)?;
    }
    transaction.commit().map_err(redb_failed)
}

fn check_rows(transaction: &ReadTransaction, name: &str) -> Result<(), DriverError> {
    let out_of_order = || DriverError::damaged(format!("{name}: a row is out of order"));
    let mut last: Vec<u8> = Vec::new();
    if name.starts_with(LATEST.name()) {
        let table: TableDefinition<'_, &str, &[u8]> = TableDefinition::new(name);
        let table = transaction.open_table(table).map_err(redb_failed)?;
        for row in table.iter().map_err(redb_failed)? {
            let (key, block) = row.map_err(redb_failed)?;
            decode_block(key.value(), block.value())?;
            if key.value().as_bytes() <= &last[..] {
                return Err(out_of_order());
            }
            last = key.value().as_bytes().to_vec();
        }
        return Ok(());
    }
    let table: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(name);
    let table = transaction.open_table(table).map_err(redb_failed)?;
    for row in table.iter().map_err(redb_failed)? {
        let (place, block) = row.map_err(redb_failed)?;
        let key = place.value().split(|byte| *byte == 0).next().unwrap_or_default();
        decode_earlier(std::str::from_utf8(key).unwrap_or_default(), place.value(), block.value())?;
        if place.value() <= &last[..] {
            return Err(out_of_order());
        }
        last = place.value().to_vec();
    }
    Ok(())
}

/// Writes the index of all events in the log into empty tables, and returns their number.
fn write_index(
    transaction: &WriteTransaction,
    options: &RedbBuilder,
    total: u64,
) -> Result<u64, DriverError> {
    let mut next = 1;
    let log = transaction.open_table(LOG).map_err(redb_failed)?;
    let mut latest = transaction.open_table(LATEST).map_err(redb_failed)?;
    let mut earlier = transaction.open_table(EARLIER).map_err(redb_failed)?;
    let mut events: Vec<(AggregateKey, Addition)> = Vec::new();
    let mut index = |events: &mut Vec<(AggregateKey, Addition)>| {
        let additions = events.iter().map(|(key, addition)| (key.as_str(), *addition));
        ByAggregate::gather(additions).write(&mut latest, &mut earlier)?;
        events.clear();
        Ok::<(), DriverError>(())
    };
    for entry in log.range(0..).map_err(redb_failed)? {
        let (first, stored) = entry.map_err(redb_failed)?;
        let segment = read_segment(first.value(), stored.value())?;
        if segment.first_position() != next {
            return Err(missing(next));
        }
        for position in next..segment.next_position() {
            let entry = segment.at(position).ok_or_else(|| missing(position))?;
            let key = AggregateKey::new(entry.key).map_err(|e| {
                DriverError::damaged(format!("the log at position {position}: {e}"))
            })?;
            let record = Bytes::copy_from_slice(entry.record);
            let event = decode_event(key, &entry, position, record)?;
            let first_sequence = entry.sequence;
            let addition = Addition { first_sequence, first_position: position, events: 1 };
            events.push((event.key, addition));
        }
        next = segment.next_position();
        if events.len() >= BATCH_EVENTS {
            index(&mut events)?;
            options.tell(Step::Reindexing, next - 1, total.max(next - 1));
        }
    }
    index(&mut events)?;
    Ok(next - 1)
}
