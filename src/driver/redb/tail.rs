//! The tail: what is journaled but not yet in redb, and which aggregates were written lately.
//!
//! ```text
//! writer: assign (give sequences their place) ─▶ journal, flush ─▶ publish (readable from here on)
//! apply thread: batch ─▶ redb's commit ─▶ release (gone from here, there in redb)
//! ```
//!
//! Reads and uniqueness checks consult it first. Per aggregate it knows the latest sequence *assigned*,
//! which the writer checks the next put against, and the latest *visible* one, which is durable. An
//! aggregate without events in the tail stays known for a while, so that a busy one is not looked up in
//! redb again and again. What is forgotten is forgotten in *sweeps*; a look-up that a sweep has overtaken
//! is worth nothing and is made anew.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;

use super::apply::let_others_run;
use super::checkpoints::Checkpoint;
use super::frame::Next;
use super::tables::Place;
use crate::driver::memory::refuse_unless_next;
use crate::driver::{DriverError, Put};
use crate::event::{AggregateKey, KeyedEvent, Position, Sequence, Timestamp};

/// Aggregates without events in the tail that stay known.
const KNOWN_AGGREGATES: usize = 65_536;
/// What an event in the tail takes beside its payload, about.
const EVENT_BYTES: usize = 256;

/// A put with its place.
#[derive(Clone, Debug)]
pub(super) struct TailPut {
    pub(super) put: Arc<Put>,
    pub(super) first_position: u64,
    /// Recorded-at is never before this; see [`floor`].
    pub(super) floor: Timestamp,
}

impl TailPut {
    pub(super) fn recorded_at(&self, event: &KeyedEvent) -> Timestamp {
        event.recorded_at.max(self.floor)
    }

    fn event(&self, index: usize) -> Option<KeyedEvent> {
        let mut event = self.put.events().get(index)?.clone();
        event.recorded_at = self.recorded_at(&event);
        event.position = Some(Position::new(self.first_position + index as u64));
        Some(event)
    }
}

/// The time before which no event of the put may be recorded, when the latest one so far is `latest`;
/// and the latest one after it. Times inside a put that decrease are all raised to its greatest.
pub(super) fn floor(put: &Put, latest: Timestamp) -> (Timestamp, Timestamp) {
    let times = || put.events().iter().map(|event| event.recorded_at);
    let greatest = times().fold(latest, Timestamp::max);
    let floor = if times().is_sorted() { latest } else { greatest };
    (floor, greatest)
}

/// What one frame made durable.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) puts: Vec<TailPut>,
    pub(super) first_position: u64,
    pub(super) next_position: u64,
    pub(super) checkpoints: Vec<Checkpoint>,
    /// The frame's number.
    pub(super) frame: u64,
    /// Where the frame behind it stands.
    pub(super) next_place: Place,
    pub(super) latest_time: Timestamp,
    bytes: usize,
}

impl Group {
    pub(super) fn new(
        puts: Vec<TailPut>,
        checkpoints: Vec<Checkpoint>,
        (first, next): (Next, Next),
        next_place: Place,
        latest_time: Timestamp,
    ) -> Self {
        let events = (next.position - first.position) as usize;
        let payload: usize = puts.iter().map(|put| put.put.size_bytes()).sum();
        let saved: usize = checkpoints.iter().map(|c| c.name.len() + c.bytes.len()).sum();
        let bytes = payload + saved + (events + checkpoints.len()) * EVENT_BYTES;
        Group {
            puts,
            first_position: first.position,
            next_position: next.position,
            checkpoints,
            frame: first.number,
            next_place,
            latest_time,
            bytes,
        }
    }

    /// The group's events with their positions and times.
    pub(super) fn events(&self) -> impl Iterator<Item = (u64, Timestamp, &KeyedEvent)> {
        self.puts.iter().flat_map(|put| {
            let positions = put.first_position..;
            positions
                .zip(put.put.events())
                .map(move |(position, event)| (position, put.recorded_at(event), event))
        })
    }

    fn event_at(&self, position: u64) -> Option<KeyedEvent> {
        let behind = self.puts.partition_point(|put| put.first_position <= position);
        let put = self.puts.get(behind.checked_sub(1)?)?;
        put.event((position - put.first_position) as usize)
    }
}

/// Neighbouring events of one aggregate in one put.
#[derive(Clone)]
struct Piece {
    put: TailPut,
    start: u32,
    events: u32,
    first_sequence: u64,
}

impl Piece {
    fn next_sequence(&self) -> u64 {
        self.first_sequence + u64::from(self.events)
    }
}

struct Aggregate {
    assigned: u64,
    visible: u64,
    pieces: VecDeque<Piece>,
}

impl Aggregate {
    fn settled(latest: u64) -> Self {
        Aggregate { assigned: latest, visible: latest, pieces: VecDeque::new() }
    }

    fn is_idle(&self) -> bool {
        self.pieces.is_empty() && self.assigned == self.visible
    }
}

/// What the calling side found in redb for a put's aggregates before the put was queued.
#[derive(Default)]
pub(super) struct Looked {
    sweeps: u64,
    /// By aggregate of the put; `None`, and none at all behind the last, where the tail knew it.
    latest: Vec<Option<u64>>,
}

#[derive(Default)]
struct Log {
    groups: VecDeque<Arc<Group>>,
    /// Since when the oldest group may have waited.
    since: Option<Instant>,
}

pub(super) struct Tail {
    aggregates: DashMap<AggregateKey, Aggregate>,
    sweeps: AtomicU64,
    log: Mutex<Log>,
    bytes: AtomicUsize,
}

impl Tail {
    pub(super) fn new() -> Self {
        Tail {
            aggregates: DashMap::new(),
            sweeps: AtomicU64::new(0),
            log: Mutex::default(),
            bytes: AtomicUsize::new(0),
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On the calling side: looks up what the tail does not know of the put's aggregates.
    pub(super) fn look(
        &self,
        put: &Put,
        lookup: impl Fn(&AggregateKey) -> Result<u64, DriverError>,
    ) -> Result<Looked, DriverError> {
        let mut looked = Looked { sweeps: self.sweeps.load(Ordering::Acquire), latest: Vec::new() };
        for (index, aggregate) in put.aggregates().enumerate() {
            let Some(first) = aggregate.first() else { continue };
            if !self.aggregates.contains_key(&first.key) {
                looked.latest.resize(index, None);
                looked.latest.push(Some(lookup(&first.key)?));
            }
        }
        Ok(looked)
    }

    /// On the writer: refuses the put, or gives its events their places. A put that is refused changes
    /// nothing.
    pub(super) fn assign(
        &self,
        put: &Put,
        looked: &Looked,
        lookup: impl Fn(&AggregateKey) -> Result<u64, DriverError>,
    ) -> Result<(), DriverError> {
        let mut many = Vec::new();
        for (index, aggregate) in put.aggregates().enumerate() {
            let (Some(first), Some(last)) = (aggregate.first(), aggregate.last()) else { continue };
            let known = self.aggregates.get(&first.key).map(|found| found.assigned);
            let latest = match (known, looked.latest.get(index).copied().flatten()) {
                (Some(assigned), _) => assigned,
                (None, Some(latest)) if looked.sweeps == self.sweeps.load(Ordering::Acquire) => {
                    latest
                }
                (None, _) => lookup(&first.key)?,
            };
            refuse_unless_next(&first.key, first.sequence, Sequence::new(latest))?;
            if aggregate.len() == put.events().len() {
                self.set_assigned(&first.key, latest, last.sequence.get());
                return Ok(());
            }
            many.push((first.key.clone(), latest, last.sequence.get()));
        }
        for (key, latest, last) in many {
            self.set_assigned(&key, latest, last);
        }
        Ok(())
    }

    fn set_assigned(&self, key: &AggregateKey, latest: u64, assigned: u64) {
        if let Some(mut aggregate) = self.aggregates.get_mut(key) {
            aggregate.assigned = assigned;
            return;
        }
        let mut aggregate = Aggregate::settled(latest);
        aggregate.assigned = assigned;
        self.aggregates.insert(key.clone(), aggregate);
    }

    /// Makes a durable group readable. Answers whether the tail was empty before.
    pub(super) fn publish(&self, group: Arc<Group>) -> bool {
        self.bytes.fetch_add(group.bytes, Ordering::AcqRel);
        for put in &group.puts {
            let mut start = 0;
            for aggregate in put.put.aggregates() {
                let (Some(first), Some(last)) = (aggregate.first(), aggregate.last()) else {
                    continue;
                };
                let piece = Piece {
                    put: put.clone(),
                    start,
                    events: aggregate.len() as u32,
                    first_sequence: first.sequence.get(),
                };
                start += piece.events;
                // Given its place before: an aggregate with a put under way is not swept.
                if let Some(mut entry) = self.aggregates.get_mut(&first.key) {
                    entry.visible = last.sequence.get();
                    entry.pieces.push_back(piece);
                }
            }
        }
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
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    /// How long the oldest group has waited; `None` when there is none.
    pub(super) fn age(&self) -> Option<Duration> {
        self.log().since.map(|since| since.elapsed())
    }

    /// The oldest groups, up to `bytes` and at least one.
    pub(super) fn batch(&self, bytes: usize) -> Vec<Arc<Group>> {
        let log = self.log();
        let mut taken = 0;
        let wanted = log.groups.iter().take_while(|group| {
            let fits = taken == 0 || taken + group.bytes <= bytes;
            taken += group.bytes;
            fits
        });
        wanted.cloned().collect()
    }

    /// Lets go of the oldest groups, which redb's commit shows now.
    pub(super) fn release(&self, groups: &[Arc<Group>]) {
        for (number, put) in groups.iter().flat_map(|group| &group.puts).enumerate() {
            if number % 64 == 0 {
                let_others_run();
            }
            for aggregate in put.put.aggregates() {
                let Some(first) = aggregate.first() else { continue };
                if let Some(mut entry) = self.aggregates.get_mut(&first.key) {
                    entry.pieces.pop_front();
                    if entry.pieces.is_empty() {
                        entry.pieces = VecDeque::new();
                    }
                }
            }
        }
        let mut log = self.log();
        for _ in groups {
            log.groups.pop_front();
        }
        log.since = (!log.groups.is_empty()).then(Instant::now);
        let bytes = groups.iter().map(|group| group.bytes).sum();
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        drop(log);
        if self.aggregates.len() > KNOWN_AGGREGATES {
            // Counted first: whoever misses an aggregate that this takes away sees the new count.
            self.sweeps.fetch_add(1, Ordering::AcqRel);
            self.aggregates.retain(|_, aggregate| !aggregate.is_idle());
        }
    }

    /// The latest sequence that may be read, if the tail knows the aggregate.
    pub(super) fn visible(&self, key: &AggregateKey) -> Option<u64> {
        self.aggregates.get(key).map(|found| found.visible)
    }

    /// What the tail holds of one aggregate, as of now.
    pub(super) fn view(&self, key: &AggregateKey, low: u64, high: u64) -> View {
        let Some(found) = self.aggregates.get(key) else { return View::default() };
        let pieces: Vec<Piece> = {
            let from = found.pieces.partition_point(|piece| piece.next_sequence() <= low);
            let inside = found.pieces.iter().skip(from);
            inside.take_while(|piece| piece.first_sequence <= high).cloned().collect()
        };
        View {
            visible: Some(found.visible),
            first: found.pieces.front().map(|piece| piece.first_sequence),
            pieces,
        }
    }

    /// The keys with events in the tail that begin with `prefix`, in ascending order.
    pub(super) fn keys(&self, prefix: &str) -> Vec<AggregateKey> {
        let mut keys: Vec<AggregateKey> = self
            .aggregates
            .iter()
            .filter(|entry| !entry.pieces.is_empty() && entry.key().as_str().starts_with(prefix))
            .map(|entry| entry.key().clone())
            .collect();
        keys.sort_unstable();
        keys
    }

    /// The tail's first position, all before which are in redb; and the events from position `from` on
    /// that are in the tail, at most `limit`.
    pub(super) fn behind(&self, from: u64, limit: usize) -> (Option<u64>, Vec<KeyedEvent>) {
        let (first, groups): (u64, Vec<Arc<Group>>) = {
            let log = self.log();
            let first = log.groups.front().map(|group| group.first_position);
            let Some(first) = first else { return (None, Vec::new()) };
            let start = from.max(first);
            let skip = log.groups.partition_point(|group| group.next_position <= start);
            let end = start.saturating_add(limit as u64);
            let wanted = log.groups.iter().skip(skip);
            (first, wanted.take_while(|group| group.first_position < end).cloned().collect())
        };
        let mut events = Vec::new();
        for group in &groups {
            let range = group.first_position.max(from)..group.next_position;
            let wanted = limit - events.len();
            events.extend(range.take(wanted).filter_map(|position| group.event_at(position)));
        }
        (Some(first), events)
    }

    /// The tail's first position, as in [`Tail::behind`]; and the events up to position `from` that are in
    /// the tail, the last first, at most `limit`.
    pub(super) fn before(&self, from: u64, limit: usize) -> (Option<u64>, Vec<KeyedEvent>) {
        let (first, groups): (u64, Vec<Arc<Group>>) = {
            let log = self.log();
            let first = log.groups.front().map(|group| group.first_position);
            let Some(first) = first else { return (None, Vec::new()) };
            let take = log.groups.partition_point(|group| group.first_position <= from);
            let mut left = limit as u64;
            let wanted = log.groups.iter().take(take).rev().take_while(|group| {
                let more = left > 0;
                let last = group.next_position.min(from.saturating_add(1));
                left = left.saturating_sub(last - group.first_position);
                more
            });
            (first, wanted.cloned().collect())
        };
        let mut events = Vec::new();
        for group in &groups {
            let range = group.first_position..group.next_position.min(from.saturating_add(1));
            let wanted = limit - events.len();
            events.extend(range.rev().take(wanted).filter_map(|position| group.event_at(position)));
        }
        (Some(first), events)
    }
}

/// One aggregate's part of the tail at one moment.
#[derive(Default)]
pub(super) struct View {
    /// The latest sequence that may be read, if the tail knows it.
    pub(super) visible: Option<u64>,
    /// The first sequence in the tail; all before it are in redb.
    pub(super) first: Option<u64>,
    pieces: Vec<Piece>,
}

impl View {
    /// The events with the sequences `low..=high` in the tail, forwards or backwards.
    pub(super) fn events(
        &self,
        low: u64,
        high: u64,
        backwards: bool,
    ) -> Box<dyn Iterator<Item = KeyedEvent> + '_> {
        let inside = move |piece: &Piece| {
            let from = low.max(piece.first_sequence);
            let to = high.saturating_add(1).min(piece.next_sequence());
            let offset =
                |sequence: u64| piece.start as usize + (sequence - piece.first_sequence) as usize;
            if from < to { offset(from)..offset(to) } else { 0..0 }
        };
        match backwards {
            false => {
                Box::new(self.pieces.iter().flat_map(move |piece| {
                    inside(piece).filter_map(|index| piece.put.event(index))
                }))
            }
            true => Box::new(self.pieces.iter().rev().flat_map(move |piece| {
                inside(piece).rev().filter_map(|index| piece.put.event(index))
            })),
        }
    }
}
