//! What a concurrent consumer has read and not finished: a lane for each aggregate.
//!
//! ```text
//! read ─▶ lane of its aggregate ─▶ ready ─▶ the first of a lane is handled ─▶ finished
//!                                    ▲          └ failed: rests, then ─┐
//!                                    └─────────────────────────────────┘
//! ```
//!
//! # What must stay true
//!
//! - Only the first event of a lane is handled, so an aggregate's events are handled in order and
//!   one at a time.
//! - Everything up to [`Lanes::handled`] is finished: no later position is told to anybody.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::worker::position_of;
use crate::event::{AggregateKey, KeyedEvent, Position};

/// One aggregate's events, and how often the first one was tried.
struct Lane {
    events: VecDeque<KeyedEvent>,
    attempt: u32,
    pause: Duration,
}

/// The events in hand.
pub(super) struct Lanes {
    lanes: HashMap<AggregateKey, Lane>,
    /// Those whose first event can be handled, in order.
    ready: VecDeque<AggregateKey>,
    unfinished: BTreeSet<Position>,
    /// What was finished behind an unfinished event.
    finished: usize,
    read_to: Position,
    first_pause: Duration,
}

impl Lanes {
    /// Nothing in hand. An event that fails rests for `first_pause`, and longer each time.
    pub(super) fn new(read_to: Position, first_pause: Duration) -> Self {
        Lanes {
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            unfinished: BTreeSet::new(),
            finished: 0,
            read_to,
            first_pause,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unfinished.is_empty()
    }

    /// The events behind which the checkpoint stands: unfinished ones, and finished ones among
    /// them.
    pub(super) fn len(&self) -> usize {
        self.unfinished.len() + self.finished
    }

    pub(super) fn push(&mut self, event: KeyedEvent) {
        self.unfinished.insert(position_of(Some(&event)));
        match self.lanes.get_mut(&event.key) {
            Some(lane) => lane.events.push_back(event),
            None => {
                let key = event.key.clone();
                let events = VecDeque::from([event]);
                let lane = Lane { events, attempt: 1, pause: self.first_pause };
                self.lanes.insert(key.clone(), lane);
                self.ready.push_back(key);
            }
        }
    }

    /// So many events are finished without having been in hand.
    pub(super) fn skip(&mut self, events: usize) {
        self.finished += events;
    }

    /// Everything up to here was read, and is in hand or finished.
    pub(super) fn read_to(&mut self, position: Position) {
        self.read_to = position;
    }

    /// The next event to handle, and which attempt it is. Its lane waits meanwhile.
    pub(super) fn take_ready(&mut self) -> Option<(KeyedEvent, u32)> {
        let key = self.ready.pop_front()?;
        self.first(&key)
    }

    /// The first event of a lane, and which attempt it is.
    pub(super) fn first(&self, key: &AggregateKey) -> Option<(KeyedEvent, u32)> {
        let lane = self.lanes.get(key)?;
        Some((lane.events.front()?.clone(), lane.attempt))
    }

    /// The first event of a lane is finished.
    pub(super) fn finish(&mut self, key: &AggregateKey) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        if let Some(event) = lane.events.pop_front() {
            self.unfinished.remove(&position_of(Some(&event)));
            self.finished += 1;
        }
        (lane.attempt, lane.pause) = (1, self.first_pause);
        match lane.events.is_empty() {
            true => drop(self.lanes.remove(key)),
            false => self.ready.push_back(key.clone()),
        }
    }

    /// All events of a lane are finished: the aggregate is parked.
    pub(super) fn abandon(&mut self, key: &AggregateKey) {
        for event in self.lanes.remove(key).into_iter().flat_map(|lane| lane.events) {
            self.unfinished.remove(&position_of(Some(&event)));
            self.finished += 1;
        }
    }

    /// The first event of a lane has failed. Returns how long it rests.
    pub(super) fn failed(&mut self, key: &AggregateKey, longest: Duration) -> Duration {
        let Some(lane) = self.lanes.get_mut(key) else { return Duration::ZERO };
        lane.attempt = lane.attempt.saturating_add(1);
        let doubled = lane.pause.saturating_mul(2).min(longest);
        std::mem::replace(&mut lane.pause, doubled)
    }

    /// The first event of a lane is to be tried again, before others begin.
    pub(super) fn again(&mut self, key: AggregateKey) {
        self.ready.push_front(key);
    }

    /// Everything up to here is finished.
    pub(super) fn handled(&self) -> Position {
        self.unfinished.first().map_or(self.read_to, |first| first.previous())
    }

    /// The events that were finished since the last call. To be called when
    /// [`handled`](Lanes::handled) has moved.
    pub(super) fn take_finished(&mut self) -> usize {
        std::mem::take(&mut self.finished)
    }
}
