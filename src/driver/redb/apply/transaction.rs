//! Apply: journaled events go into redb in big sorted transactions.
//!
//! A transaction takes whole frames. It writes the events as segments of the log, their positions
//! as a delta of the index, the checkpoints, and how far it has come; and it merges some of the
//! deltas before it (`merge`). When it is durable, in this order:
//! readers get a new view of redb, the tail releases the events, and the journal recycles its
//! files.
//!
//! The thread waits until much has accumulated, or for a second, because a transaction costs the
//! disk more than its events do. A full disk is found before the transaction begins
//! (`disk::reserve`). The thread then tries again until there is room, and puts are refused when
//! the tail is full.

use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use redb::{Database, Durability, ReadableTable, Table};

use crate::driver::DriverError;
use crate::driver::redb::apply::checkpoints::{self, Checkpoint};
use crate::driver::redb::apply::entity_snapshots;
use crate::driver::redb::apply::index::ByAggregate;
use crate::driver::redb::apply::merge::IndexStep;
use crate::driver::redb::apply::tail::Group;
use crate::driver::redb::core::{AppliedState, Core};
use crate::driver::redb::disk::reserve::RoomNeeded;
use crate::driver::redb::failure::redb_failed;
use crate::driver::redb::format::delta::Addition;
use crate::driver::redb::format::segment;
use crate::driver::redb::format::tables::{DELTAS, EARLIER, LATEST, LOG, STORE, StoreState};
use crate::driver::redb::journal::frame_events::FrameEvents;
use crate::driver::redb::read::committed_view::{missing, read_segment};
use crate::event::AggregateKey;
use crate::spin_wait::yield_now;

/// How soon a transaction that found no room is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// The most bytes of events in one transaction, so that a delta counts in 32 bits.
const MOST_BYTES: usize = 256 << 20;
/// While closing, about so many aggregates are merged with one transaction.
const MERGED_AT_ONCE: usize = 16 << 10;

/// The apply thread. It ends when it is told to stop and everything is applied, or cannot be
/// applied.
pub(in crate::driver::redb) fn run(core: &Core) -> Result<(), DriverError> {
    loop {
        let stop = wait_for_work(core);
        if let Some(refusal) = core.refusal() {
            if stop {
                return Err(refusal);
            }
            continue;
        }
        let groups = core.tail.batch((core.options.tail_bytes / 2).clamp(1, MOST_BYTES));
        if groups.is_empty() {
            if stop {
                return Ok(());
            }
            continue;
        }
        match apply(core, &groups) {
            Ok(()) => {
                for (number, group) in groups.into_iter().enumerate() {
                    if number % 8 == 0 {
                        yield_now();
                    }
                    drop(group);
                }
            }
            Err(ApplyFailure::NoRoom(error)) if stop => return Err(error),
            Err(ApplyFailure::NoRoom(error)) => {
                let mut signals = core.signals();
                signals.blocked = Some(error);
                core.applied_more.notify_all();
                let waited = core.apply_wakes.wait_timeout(signals, RETRY);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
            Err(ApplyFailure::Redb(error)) => core.fail(error),
        }
    }
}

/// Waits until there is something to do. Returns whether to stop after it.
fn wait_for_work(core: &Core) -> bool {
    let mut signals = core.signals();
    loop {
        if signals.stop {
            return true;
        }
        let failed = core.has_failed();
        let is_awaited = signals.awaited > core.applied.load(Ordering::Acquire);
        let left = if is_awaited { Some(Duration::ZERO) } else { core.apply_in() };
        signals = match left {
            Some(left) if !failed => {
                if left.is_zero() {
                    return false;
                }
                core.apply_wakes
                    .wait_timeout(signals, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
            _ => core.apply_wakes.wait(signals).unwrap_or_else(PoisonError::into_inner),
        };
    }
}

enum ApplyFailure {
    /// Nothing was begun.
    NoRoom(DriverError),
    Redb(DriverError),
}

fn apply(core: &Core, groups: &[Arc<Group>]) -> Result<(), ApplyFailure> {
    let Some(last) = groups.last() else { return Ok(()) };
    let frames: Vec<&FrameEvents> = groups.iter().map(|group| &*group.journaled).collect();
    let log = segment::most_page_bytes(frames.iter().flat_map(|frame| frame.sizes()));
    let by_aggregate = ByAggregate::gather(groups.iter().flat_map(|group| additions(group)));
    let checkpoints: Vec<&Checkpoint> =
        groups.iter().flat_map(|group| &group.checkpoints).collect();
    let snapshots = core.pending_snapshots.all();
    let mut state = core.state.lock().unwrap_or_else(PoisonError::into_inner);
    let step = IndexStep::take(&state.merger, first_position(&frames), &by_aggregate)
        .map_err(ApplyFailure::Redb)?;
    let (delta, merged) = (step.delta(), step.merged());
    let batch = ApplyBatch { frames, delta, merged, checkpoints, snapshots: &snapshots };
    let _room = core.room.ensure(batch.room_needed(log)).map_err(|error| {
        ApplyFailure::NoRoom(
            DriverError::unavailable(format!("the disk has no room for more events: {error}"))
                .caused_by(error),
        )
    })?;
    let applied = last.journaled.next_position() - 1;
    let next = StoreState {
        applied,
        indexed: step.indexed(applied),
        latest_time: last.latest_time,
        place: last.next_place,
        frame: last.frame,
        ..state.store
    };
    let database = core.database().map_err(ApplyFailure::Redb)?;
    let new_aggregates = write_batch(&database, &batch, &next).map_err(ApplyFailure::Redb)?;
    drop(batch);
    drop(database);
    core.note_file_size();
    *state = AppliedState { store: next, merger: step.done(new_aggregates) };
    core.renew_snapshot(&state.merger).map_err(ApplyFailure::Redb)?;
    drop(state);
    core.pending_snapshots.written(&snapshots);
    core.applied.store(next.applied, Ordering::Release);
    core.tail.release(groups);
    core.journal.recycle(next.frame);
    core.signals().blocked = None;
    core.applied_more.notify_all();
    Ok(())
}

/// What a group adds to the index.
fn additions(group: &Group) -> impl Iterator<Item = (&str, Addition)> {
    let frame = &group.journaled;
    group.parts.iter().filter_map(|part| {
        let addition = Addition {
            first_sequence: part.first_sequence,
            first_position: frame.first_position() + u64::from(part.number),
            events: u64::from(part.events),
        };
        Some((frame.entry(part.number as usize)?.key, addition))
    })
}

/// One durable transaction: the frames' events, which follow what is there in position order,
/// `checkpoints` and the state, which says how far it has come.
pub(in crate::driver::redb) fn write(
    database: &Database,
    frames: &[FrameEvents],
    checkpoints: &[Checkpoint],
    state: &mut AppliedState,
) -> Result<(), DriverError> {
    let entries = frames.iter().flat_map(|frame| frame.entries());
    let by_aggregate = ByAggregate::gather(entries.map(|(position, entry)| {
        let first_sequence = entry.sequence;
        (entry.key, Addition { first_sequence, first_position: position, events: 1 })
    }));
    let frames: Vec<&FrameEvents> = frames.iter().collect();
    let step = IndexStep::take(&state.merger, first_position(&frames), &by_aggregate)?;
    state.store.indexed = step.indexed(state.store.applied);
    let (delta, merged) = (step.delta(), step.merged());
    let checkpoints = checkpoints.iter().collect();
    let batch = ApplyBatch { frames, delta, merged, checkpoints, snapshots: &[] };
    let new_aggregates = write_batch(database, &batch, &state.store)?;
    drop(batch);
    state.merger = step.done(new_aggregates);
    Ok(())
}

/// The position of the first event, if there is one.
fn first_position(frames: &[&FrameEvents]) -> Option<u64> {
    let with_events = |frame: &&&FrameEvents| frame.next_position() > frame.first_position();
    frames.iter().find(with_events).map(|frame| frame.first_position())
}

/// What goes into one transaction.
#[derive(Default)]
struct ApplyBatch<'a> {
    /// In position order.
    frames: Vec<&'a FrameEvents>,
    /// What they add to the index, as it is stored under this position.
    delta: Option<(u64, &'a [u8])>,
    /// What is merged.
    merged: ByAggregate<'a>,
    /// In the order they were saved in.
    checkpoints: Vec<&'a Checkpoint>,
    snapshots: &'a [(AggregateKey, Bytes)],
}

impl ApplyBatch<'_> {
    /// When the segments of the log take `log` bytes.
    fn room_needed(&self, log: u64) -> RoomNeeded {
        let mut needed = RoomNeeded { values: log, rows: self.merged.len() as u64 };
        if let Some((_, stored)) = self.delta {
            needed.add_row(stored.len());
        }
        for checkpoint in &self.checkpoints {
            needed.add_row(checkpoint.name.len() + checkpoint.bytes.len());
        }
        for (key, snapshot) in self.snapshots {
            needed.add_row(key.as_str().len() + snapshot.len());
        }
        needed
    }
}

/// Returns how many aggregates came into the index's blocks.
fn write_batch(
    database: &Database,
    batch: &ApplyBatch<'_>,
    state: &StoreState,
) -> Result<u64, DriverError> {
    let mut transaction = database.begin_write().map_err(redb_failed)?;
    transaction.set_durability(Durability::Immediate).map_err(redb_failed)?;
    // After a crash redb would walk its whole file otherwise.
    transaction.set_quick_repair(true);
    let new_aggregates = {
        let mut log = transaction.open_table(LOG).map_err(redb_failed)?;
        let mut latest = transaction.open_table(LATEST).map_err(redb_failed)?;
        let mut earlier = transaction.open_table(EARLIER).map_err(redb_failed)?;
        let mut deltas = transaction.open_table(DELTAS).map_err(redb_failed)?;
        write_log(&mut log, &batch.frames)?;
        if let Some((first, stored)) = batch.delta {
            deltas.insert(first, stored).map_err(redb_failed)?;
        }
        // What is merged as a whole.
        deltas.retain_in(..=state.indexed, |_, _| false).map_err(redb_failed)?;
        state.write(&mut transaction.open_table(STORE).map_err(redb_failed)?)?;
        batch.merged.write(&mut latest, &mut earlier)?
    };
    checkpoints::write(&transaction, batch.checkpoints.iter().copied())?;
    entity_snapshots::write(&transaction, batch.snapshots)?;
    transaction.commit().map_err(redb_failed)?;
    Ok(new_aggregates)
}

type LogTable<'t> = Table<'t, u64, &'static [u8]>;

fn write_log(log: &mut LogTable<'_>, frames: &[&FrameEvents]) -> Result<(), DriverError> {
    let mut events = frames.iter().flat_map(|frame| frame.entries()).peekable();
    let Some(&(first_position, first)) = events.peek() else { return Ok(()) };
    let mut segment = segment::SegmentBuilder::default();
    segment.begin(first_position);
    // The last segment may have room left: small batches would leave one mostly empty page each.
    if let Some((last, stored)) = log.last().map_err(redb_failed)? {
        let last = read_segment(last.value(), stored.value())?;
        if last.next_position() != first_position {
            return Err(DriverError::damaged(format!(
                "the log ends at position {}, but position {first_position} follows",
                last.next_position() - 1
            )));
        }
        segment.resume(&last);
        if !segment.takes(&first) {
            segment.begin(first_position);
        }
    }
    if !segment.is_empty() {
        // The end takes new rows only.
        log.remove(segment.first_position()).map_err(redb_failed)?;
    }
    let mut bytes = Vec::new();
    let mut end = log.upper_bound_mut(Bound::<u64>::Unbounded).map_err(redb_failed)?;
    let mut next = first_position;
    for (position, event) in events {
        if position != next {
            return Err(missing(next));
        }
        next += 1;
        if !segment.takes(&event) {
            segment.finish(&mut bytes);
            end.insert_before(segment.first_position(), bytes.as_slice()).map_err(redb_failed)?;
            segment.begin(position);
            yield_now();
        }
        segment.push(&event);
    }
    if frames.last().is_some_and(|last| last.next_position() != next) {
        return Err(missing(next));
    }
    segment.finish(&mut bytes);
    end.insert_before(segment.first_position(), bytes.as_slice()).map_err(redb_failed)?;
    end.close().map_err(redb_failed)
}

/// Merges all deltas, some thousand aggregates with each transaction. Where the disk has no room,
/// the rest stays in deltas.
fn merge_all(core: &Core, state: &mut AppliedState) -> Result<(), DriverError> {
    while let Some(step) = IndexStep::of_rest(&state.merger, MERGED_AT_ONCE) {
        let batch = ApplyBatch { merged: step.merged(), ..ApplyBatch::default() };
        let Ok(_room) = core.room.ensure(batch.room_needed(0)) else { return Ok(()) };
        let store = StoreState { indexed: step.indexed(state.store.applied), ..state.store };
        let new_aggregates = write_batch(&*core.database()?, &batch, &store)?;
        drop(batch);
        *state = AppliedState { store, merger: step.done(new_aggregates) };
    }
    Ok(())
}

/// After the last event was applied: merges the index, marks the store closed, and removes the
/// journal.
pub(in crate::driver::redb) fn close(core: &Core) -> Result<(), DriverError> {
    let failed = |error: std::io::Error| {
        DriverError::failed(format!("the journal could not be removed: {error}")).caused_by(error)
    };
    let mut state = core.state.lock().unwrap_or_else(PoisonError::into_inner);
    merge_all(core, &mut state)?;
    state.store.clean = true;
    state.store.place = crate::driver::redb::format::tables::JournalPlace::default();
    state.store.frame = 0;
    let database = core.database()?;
    let pending = core.pending_snapshots.all();
    let mut batch = ApplyBatch { snapshots: &pending, ..ApplyBatch::default() };
    let room = core.room.ensure(batch.room_needed(0));
    if room.is_err() {
        // A snapshot may be lost.
        batch.snapshots = &[];
    }
    write_batch(&database, &batch, &state.store)?;
    drop(room);
    drop(database);
    core.journal.remove().map_err(failed)?;
    core.room.remove().map_err(failed)
}
