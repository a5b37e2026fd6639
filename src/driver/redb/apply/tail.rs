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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::driver::Put;
use crate::driver::redb::apply::checkpoints::Checkpoint;
use crate::driver::redb::format::tables::JournalPlace;
use crate::driver::redb::journal::frame_events::FrameEvents;
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

    /// The tail's first position, all before which are in redb; and the events from position `from`
    /// on that are in the tail, at most `limit`.
    pub(in crate::driver::redb) fn behind(
        &self,
        from: u64,
        limit: usize,
    ) -> (Option<u64>, Vec<KeyedEvent>) {
        let (first, frames): (u64, Vec<Arc<FrameEvents>>) = {
            let log = self.log();
            let frames = || log.groups.iter().map(|group| &group.journaled);
            let Some(first) = frames().next().map(|frame| frame.first_position()) else {
                return (None, Vec::new());
            };
            let start = from.max(first);
            let skip = log.groups.partition_point(|g| g.journaled.next_position() <= start);
            let end = start.saturating_add(limit as u64);
            let wanted = frames().skip(skip);
            (first, wanted.take_while(|frame| frame.first_position() < end).cloned().collect())
        };
        let mut events = Vec::new();
        for frame in &frames {
            let range = frame.first_position().max(from)..frame.next_position();
            let wanted = limit - events.len();
            events.extend(range.take(wanted).filter_map(|position| frame.event_at(position)));
        }
        (Some(first), events)
    }

    /// The tail's first position, as in [`Tail::behind`]; and the events up to position `from` that
    /// are in the tail, the last first, at most `limit`.
    pub(in crate::driver::redb) fn before(
        &self,
        from: u64,
        limit: usize,
    ) -> (Option<u64>, Vec<KeyedEvent>) {
        let end_in = |frame: &FrameEvents| frame.next_position().min(from.saturating_add(1));
        let (first, frames): (u64, Vec<Arc<FrameEvents>>) = {
            let log = self.log();
            let frames = || log.groups.iter().map(|group| &group.journaled);
            let Some(first) = frames().next().map(|frame| frame.first_position()) else {
                return (None, Vec::new());
            };
            let take = log.groups.partition_point(|g| g.journaled.first_position() <= from);
            let mut left = limit as u64;
            let wanted = frames().take(take).rev().take_while(|frame| {
                let more = left > 0;
                left = left.saturating_sub(end_in(frame) - frame.first_position());
                more
            });
            (first, wanted.cloned().collect())
        };
        let mut events = Vec::new();
        for frame in &frames {
            let range = frame.first_position()..end_in(frame);
            let wanted = limit - events.len();
            events.extend(range.rev().take(wanted).filter_map(|position| frame.event_at(position)));
        }
        (Some(first), events)
    }
}
