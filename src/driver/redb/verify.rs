//! Verifying: all tables are walked.
//!
//! The log must hold every position from 1 on, in segments whose checksums are right and whose
//! records can be read, with times that never decrease. The index must say of each event where it
//! stands, and of no more events than there are. Snapshots and checkpoints must have the checksums
//! of their keys. What the journal holds is applied first; what is
//! damaged in it is found on opening.

use std::sync::PoisonError;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable};

use crate::driver::DriverError;
use crate::driver::redb::apply::merge::decode_delta;
use crate::driver::redb::apply::{checkpoints, entity_snapshots};
use crate::driver::redb::core::Core;
use crate::driver::redb::failure::redb_failed;
use crate::driver::redb::format::block::Block;
use crate::driver::redb::format::tables::{DELTAS, earlier_key};
use crate::driver::redb::read::committed_view::{
    CommittedView, begin_read, decode_block, decode_earlier, decode_event, missing, read_segment,
};
use crate::event::{AggregateKey, Timestamp};

/// Events compared with the index at once, sorted by key.
const BATCH_EVENTS: usize = 100_000;

/// What [`RedbDriver::verify`](super::RedbDriver::verify) found sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The events in the log.
    pub events: u64,
    /// The aggregates in the index.
    pub aggregates: u64,
}

struct Seen {
    key: AggregateKey,
    sequence: u64,
    position: u64,
}

pub(in crate::driver::redb) fn verify(
    core: &Core,
    mut tell: impl FnMut(u64, u64) -> Result<(), DriverError>,
) -> Result<Verified, DriverError> {
    let total = core.apply_all()?;
    let state = core.state.lock().unwrap_or_else(PoisonError::into_inner);
    // One lease for the whole walk: closing waits for its end.
    let database = core.database()?;
    let snapshot = CommittedView::take(&database, state.merger.unmerged())?;
    drop(state);
    let mut seen = Vec::new();
    let mut latest_time = Timestamp::from_micros(i64::MIN);
    let mut next = 1;
    for entry in snapshot.log.range(0..).map_err(redb_failed)? {
        let (first, stored) = entry.map_err(redb_failed)?;
        let segment = read_segment(first.value(), stored.value())?;
        if segment.first_position() != next || segment.len() == 0 {
            return Err(missing(next));
        }
        // Found by walking; it must be found by looking it up, too.
        if snapshot.segment(next)?.0 != next {
            return Err(missing(next));
        }
        for position in next..segment.next_position() {
            let entry = segment.at(position).ok_or_else(|| missing(position))?;
            let damaged = |what: &dyn std::fmt::Display| {
                DriverError::damaged(format!("the log at position {position}: {what}"))
            };
            let key = AggregateKey::new(entry.key).map_err(|e| damaged(&e))?;
            let record = bytes::Bytes::copy_from_slice(entry.record);
            let event = decode_event(key, &entry, position, record)?;
            if event.recorded_at < latest_time {
                return Err(damaged(&"recorded-at decreases"));
            }
            latest_time = event.recorded_at;
            seen.push(Seen { key: event.key, sequence: entry.sequence, position });
        }
        next = segment.next_position();
        if seen.len() >= BATCH_EVENTS {
            compare(&snapshot, &mut seen)?;
            // Closing waits for this.
            core.open()?;
            tell(next - 1, total.max(next - 1))?;
        }
    }
    compare(&snapshot, &mut seen)?;
    if next <= total {
        return Err(missing(next));
    }
    let verified = count(&snapshot, next - 1)?;
    let transaction = begin_read(&database)?;
    entity_snapshots::verify(&transaction)?;
    checkpoints::verify(&transaction)?;
    verify_deltas(&transaction)?;
    drop((transaction, snapshot));
    drop(database);
    tell(next - 1, next - 1)?;
    Ok(verified)
}

/// Whether every delta is as it was written.
fn verify_deltas(transaction: &ReadTransaction) -> Result<(), DriverError> {
    for row in transaction.open_table(DELTAS).map_err(redb_failed)?.iter().map_err(redb_failed)? {
        let (first, stored) = row.map_err(redb_failed)?;
        decode_delta(first.value(), stored.value())?;
    }
    Ok(())
}

/// Whether the index says of each of these events where it stands.
fn compare(snapshot: &CommittedView, seen: &mut Vec<Seen>) -> Result<(), DriverError> {
    seen.sort_unstable_by(|a, b| a.key.cmp(&b.key).then(a.sequence.cmp(&b.sequence)));
    for aggregate in seen.chunk_by(|a, b| a.key == b.key) {
        let Some(first) = aggregate.first() else { continue };
        let mut block = block_of(snapshot, &first.key, first.sequence)?;
        for event in aggregate {
            if block.as_ref().is_some_and(|block| event.sequence >= block.next_sequence()) {
                block = block_of(snapshot, &event.key, event.sequence)?;
            }
            let found = block.as_ref().and_then(|block| {
                block.positions(event.sequence, event.sequence).next().map(|run| run.first)
            });
            let key = event.key.as_str();
            let found = found.or_else(|| snapshot.unmerged.position(key, event.sequence));
            if found != Some(event.position) {
                return Err(DriverError::damaged(format!(
                    "the index is wrong about {} at {} (position {}): run reindex",
                    event.key, event.sequence, event.position
                )));
            }
        }
    }
    seen.clear();
    Ok(())
}

/// The block that should hold the sequence.
fn block_of(
    snapshot: &CommittedView,
    key: &AggregateKey,
    sequence: u64,
) -> Result<Option<Block>, DriverError> {
    if let Some(stored) = snapshot.latest.get(key.as_str()).map_err(redb_failed)? {
        let latest = decode_block(key.as_str(), stored.value())?;
        if sequence >= latest.first_sequence() {
            return Ok(Some(latest));
        }
    }
    let (mut from, mut to) = (Vec::new(), Vec::new());
    earlier_key(key.as_str(), 0, &mut from);
    earlier_key(key.as_str(), sequence, &mut to);
    let mut range = snapshot.earlier.range::<&[u8]>(&from[..]..=&to[..]).map_err(redb_failed)?;
    match range.next_back() {
        Some(entry) => {
            let (place, stored) = entry.map_err(redb_failed)?;
            decode_earlier(key.as_str(), place.value(), stored.value()).map(Some)
        }
        None => Ok(None),
    }
}

/// The index must not speak of more events than the log has.
fn count(snapshot: &CommittedView, events: u64) -> Result<Verified, DriverError> {
    let mut indexed = 0;
    let mut aggregates = 0;
    for entry in snapshot.latest.range::<&str>(..).map_err(redb_failed)? {
        let (key, stored) = entry.map_err(redb_failed)?;
        let block = decode_block(key.value(), stored.value())?;
        indexed += block.next_sequence() - block.first_sequence();
        aggregates += 1;
    }
    let earlier: &ReadOnlyTable<&[u8], &[u8]> = &snapshot.earlier;
    for entry in earlier.range::<&[u8]>(..).map_err(redb_failed)? {
        let (key, stored) = entry.map_err(redb_failed)?;
        let place = key.value();
        let key = place.split(|byte| *byte == 0).next().unwrap_or_default();
        let key = std::str::from_utf8(key).unwrap_or_default();
        let block = decode_earlier(key, place, stored.value())?;
        indexed += block.next_sequence() - block.first_sequence();
    }
    for delta in &snapshot.unmerged.deltas {
        for number in 0..delta.len() {
            let (key, additions) = (delta.key(number).unwrap_or_default(), delta.additions(number));
            let stored = snapshot.latest.get(key).map_err(redb_failed)?;
            let next = match &stored {
                Some(stored) => decode_block(key, stored.value())?.next_sequence(),
                None => 1,
            };
            indexed += additions.between(next, u64::MAX).map(|part| part.events).sum::<u64>();
            aggregates += u64::from(stored.is_none() && additions.first_sequence() == 1);
        }
    }
    if indexed != events {
        return Err(DriverError::damaged(format!(
            "the index knows {indexed} events, the log has {events}: run reindex"
        )));
    }
    Ok(Verified { events, aggregates })
}
