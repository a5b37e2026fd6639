//! Reindexing: the index is rebuilt from the log in one transaction; a crash leaves the old index.

use std::sync::PoisonError;

use bytes::Bytes;
use redb::ReadableTable;

use crate::driver::DriverError;
use crate::driver::redb::apply::index::{Addition, ByAggregate};
use crate::driver::redb::core::Core;
use crate::driver::redb::failure::redb_failed;
use crate::driver::redb::format::tables::{EARLIER, LATEST, LOG};
use crate::driver::redb::options::Step;
use crate::driver::redb::read::committed_view::{decode_event, missing, read_segment};
use crate::event::AggregateKey;

/// Events indexed at once, sorted by key.
const BATCH_EVENTS: usize = 100_000;

/// Rebuilds the index and returns the number of its events.
pub(in crate::driver::redb) fn reindex(core: &Core) -> Result<u64, DriverError> {
    let total = core.apply_all()?;
    // Keeps the apply thread out of redb until the new index is there.
    let state = core.state.lock().unwrap_or_else(PoisonError::into_inner);
    let database = core.database()?;
    let mut transaction = database.begin_write().map_err(redb_failed)?;
    transaction.set_quick_repair(true);
    transaction.delete_table(LATEST).map_err(redb_failed)?;
    transaction.delete_table(EARLIER).map_err(redb_failed)?;
    let mut next = 1;
    {
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
                core.options.tell(Step::Reindexing, next - 1, total.max(next - 1));
            }
        }
        index(&mut events)?;
    }
    transaction.commit().map_err(redb_failed)?;
    drop(database);
    core.renew_snapshot()?;
    drop(state);
    core.options.tell(Step::Reindexing, next - 1, next - 1);
    Ok(next - 1)
}
