//! The tail: what is journaled but not yet in redb.
//!
//! ```text
//! writer: assign (give sequences their place) ─▶ journal, flush ─▶ publish (readable from here on)
//! apply thread: batch ─▶ redb's commit ─▶ release (gone from here, there in redb)
//! ```
//!
//! Reads and uniqueness checks look here first: by aggregate in [`RecentAggregates`], by position
//! in this file.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::driver::Put;
use crate::driver::redb::apply::checkpoints::Checkpoint;
use crate::driver::redb::format::tables::JournalPlace;
use crate::driver::redb::journal::frame_events::{FrameEvents, in_order};
use crate::driver::redb::journal::recent_aggregates::{PutPart, RecentAggregates};
use crate::event::{KeyedEvent, Timestamp};
use crate::spin_wait::yield_now;

/// About how many bytes the part of one aggregate in a put takes beside its events.
const PART_BYTES: usize = 128;

/// The earliest time that an event of the put may have, if the latest time so far is `latest`; and
/// the latest time after the put. If times inside a put decrease, all are raised to the greatest.
pub(in crate::driver::redb) fn floor(put: &Put, latest: Timestamp) -> (Timestamp, Timestamp) {
    let times = || put.events().iter().map(|event| event.recorded_at);
    let greatest = times().fold(latest, Timestamp::max);
    let floor = if times().is_sorted() { latest } else { greatest };
    (floor, greatest)
}

/// What one frame made durable.
pub(in crate::driver::redb) struct Group {
    pub(in crate::driver::redb) journaled: Arc<FrameEvents>,
    /// Its events by put and aggregate, in their order.
    pub(in crate::driver::redb) parts: Vec<PutPart>,
    pub(in crate::driver::redb) checkpoints: Vec<Checkpoint>,
    /// The frame's number.
    pub(in crate::driver::redb) frame: u64,
    /// Where the frame behind it stands.
    pub(in crate::driver::redb) next_place: JournalPlace,
    pub(in crate::driver::redb) latest_time: Timestamp,
}

impl Group {
    fn bytes(&self) -> usize {
        let saved = self.checkpoints.iter().map(|c| c.name.len() + c.bytes.len());
        let entries = self.parts.len() + self.checkpoints.len();
        self.journaled.size_bytes() + saved.sum::<usize>() + entries * PART_BYTES
    }
}

#[derive(Default)]
struct TailLog {
    groups: VecDeque<Arc<Group>>,
    /// Since when the oldest group may have waited.
    since: Option<Instant>,
}

#[derive(Default)]
pub(in crate::driver::redb) struct Tail {
    pub(in crate::driver::redb) aggregates: RecentAggregates,
    log: Mutex<TailLog>,
    bytes: AtomicUsize,
}

impl Tail {
    fn log(&self) -> MutexGuard<'_, TailLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a durable group readable. Returns whether the tail was empty before.
    pub(in crate::driver::redb) fn publish(&self, group: Arc<Group>) -> bool {
        self.bytes.fetch_add(group.bytes(), Ordering::AcqRel);
        RecentAggregates::publish(&group.journaled, &group.parts);
        // Last: from here on the apply thread may take the group and release it.
        let mut log = self.log();
        let was_empty = log.groups.is_empty();
        log.groups.push_back(group);
        if was_empty {
            log.since = Some(Instant::now());
        }
        was_empty
    }

    /// The bytes of all groups that wait for redb.
    pub(in crate::driver::redb) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    /// How long the oldest group has waited; `None` when there is none.
    pub(in crate::driver::redb) fn age(&self) -> Option<Duration> {
        self.log().since.map(|since| since.elapsed())
    }

    /// The oldest groups, up to `bytes` and at least one.
    pub(in crate::driver::redb) fn batch(&self, bytes: usize) -> Vec<Arc<Group>> {
        let log = self.log();
        let mut taken = 0;
        let wanted = log.groups.iter().take_while(|group| {
            let size = group.bytes();
            let fits = taken == 0 || taken + size <= bytes;
            taken += size;
            fits
        });
        wanted.cloned().collect()
    }

    /// Drops the oldest groups, which redb's commit shows now.
    pub(in crate::driver::redb) fn release(&self, groups: &[Arc<Group>]) {
        for (number, part) in groups.iter().flat_map(|group| &group.parts).enumerate() {
            if number % 64 == 0 {
                yield_now();
            }
            RecentAggregates::release(part);
        }
        let mut log = self.log();
        for _ in groups {
            log.groups.pop_front();
        }
        log.since = (!log.groups.is_empty()).then(Instant::now);
        let bytes = groups.iter().map(|group| group.bytes()).sum();
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        drop(log);
        self.aggregates.sweep_if_many();
    }

    /// The events from position `from` on that are in the tail: at most `events`, and no further
    /// one when there are `bytes`. Positions are dense, so what a reader finds in redb before them
    /// counts as if it were read.
    pub(in crate::driver::redb) fn behind(
        &self,
        from: u64,
        events: usize,
        bytes: usize,
    ) -> TailPage {
        self.log().page(from..from.saturating_add(events as u64), false, bytes)
    }

    /// The events up to position `from` that are in the tail, the last first: at most `events`,
    /// and no further one when there are `bytes`.
    pub(in crate::driver::redb) fn before(
        &self,
        from: u64,
        events: usize,
        bytes: usize,
    ) -> TailPage {
        let log = self.log();
        let last = log.groups.back().map_or(0, |group| group.journaled.next_position() - 1);
        let to = from.min(last).saturating_add(1);
        log.page(to.saturating_sub(events as u64)..to, true, bytes)
    }
}

impl TailLog {
    /// The frames with the wanted positions, until they have so many bytes of them.
    fn page(&self, wanted: Range<u64>, backwards: bool, bytes: usize) -> TailPage {
        let frames = &self.groups;
        let from = frames.partition_point(|g| g.journaled.next_position() <= wanted.start);
        let to = frames.partition_point(|g| g.journaled.first_position() < wanted.end).max(from);
        let mut inside = frames.range(from..to).map(|group| &group.journaled);
        let (mut taken, mut taken_bytes) = (Vec::new(), 0);
        while taken_bytes < bytes
            && let Some(frame) = if backwards { inside.next_back() } else { inside.next() }
        {
            taken_bytes += frame.bytes_at(wanted.start, wanted.end);
            #[cfg(test)]
            crate::driver::redb::samples::count_read(1, 0);
            taken.push(frame.clone());
        }
        let first = frames.front().map(|group| group.journaled.first_position());
        TailPage { first, frames: taken, wanted, backwards }
    }
}

/// What the tail has for one page of the log.
pub(in crate::driver::redb) struct TailPage {
    /// The tail's first position, all before which are in redb; `None` if the tail is empty.
    pub(in crate::driver::redb) first: Option<u64>,
    /// In the order of reading.
    frames: Vec<Arc<FrameEvents>>,
    /// The positions that are wanted.
    wanted: Range<u64>,
    backwards: bool,
}

impl TailPage {
    /// The events in the order of reading. Each is decoded when its turn comes.
    pub(in crate::driver::redb) fn events(&self) -> impl Iterator<Item = KeyedEvent> + '_ {
        self.frames.iter().flat_map(move |frame| {
            let from = frame.first_position().max(self.wanted.start);
            let to = frame.next_position().min(self.wanted.end);
            in_order(from..to, self.backwards).filter_map(|position| frame.event_at(position))
        })
    }
}
