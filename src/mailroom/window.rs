//! Which appends an aggregate's latest events belong to: where a repeated one is looked for.
//!
//! Filled from the driver by the first append that needs it, and from then on by what is put. What must stay true:
//! it covers the events up to its latest sequence without a gap, or says that it is behind.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use crate::driver::Limits;
use crate::event::{KeyedEvent, Sequence};

/// The commit ids of an aggregate's latest events.
pub(super) struct Window {
    /// The latest sequence it covers; beyond that it knows nothing.
    pub(super) latest: Sequence,
    size: u64,
    /// In sequence order.
    appends: VecDeque<Uuid>,
    places: HashMap<Uuid, Place>,
    /// The window began in the middle of an append, here.
    cut_at: Option<Sequence>,
}

#[derive(Clone, Copy)]
struct Place {
    first: Sequence,
    last: Sequence,
}

impl Window {
    /// A window over the `size` latest events, which `backwards` lists from the last on.
    pub(super) fn new(size: usize, backwards: &[KeyedEvent]) -> Self {
        let oldest = backwards.last().map_or(Sequence::NONE, |event| event.sequence);
        let mut window = Window {
            latest: oldest.previous(),
            size: size as u64,
            appends: VecDeque::new(),
            places: HashMap::new(),
            cut_at: (oldest > Sequence::FIRST).then_some(oldest),
        };
        for event in backwards.iter().rev() {
            window.push(event);
        }
        window
    }

    /// These are durable, in sequence order. A window that missed what came before them stays behind, and is read
    /// anew.
    pub(super) fn push_all(&mut self, events: &[KeyedEvent]) {
        for event in events {
            self.push(event);
        }
    }

    fn push(&mut self, event: &KeyedEvent) {
        let (sequence, id) = (event.sequence, event.commit_id);
        if self.latest.next() != sequence {
            return;
        }
        self.latest = sequence;
        let place = self.places.entry(id).or_insert_with(|| {
            self.appends.push_back(id);
            Place { first: sequence, last: sequence }
        });
        place.last = sequence;
        while let Some(oldest) = self.appends.front()
            && self.places.get(oldest).is_none_or(|place| place.last.plus(self.size) <= sequence)
        {
            self.places.remove(oldest);
            self.appends.pop_front();
        }
    }

    /// The sequence behind which the append with this id stands, if it has so many events.
    pub(super) fn behind(&self, commit_id: Uuid, events: u64) -> Option<Sequence> {
        let place = self.places.get(&commit_id)?;
        match self.cut_at == Some(place.first) {
            false => Some(place.first.previous()),
            true => Some(Sequence::new(place.last.get().saturating_sub(events))),
        }
    }

    /// Behind which sequence, and among how many events, all of the append with this id is found.
    pub(super) fn whole(&self, commit_id: Uuid, limits: &Limits) -> Option<(Sequence, u64)> {
        let place = self.places.get(&commit_id)?;
        let events = match self.cut_at == Some(place.first) {
            false => place.last.get() - place.first.get() + 1,
            true => place.last.get().min(limits.events_per_put as u64),
        };
        Some((Sequence::new(place.last.get() - events), events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{AggregateKey, NewEvent, Timestamp};

    fn events(ids: &[(u64, u128)]) -> Vec<KeyedEvent> {
        let key = AggregateKey::new("a").unwrap();
        let event = NewEvent::raw("E", "1").check().unwrap();
        ids.iter()
            .map(|(sequence, id)| {
                let id = Uuid::from_u128(*id);
                event.place(&key, Sequence::new(*sequence), id, Timestamp::default())
            })
            .collect()
    }

    #[test]
    fn a_window_knows_each_append_of_its_latest_events() {
        let window = Window::new(3, &events(&[(6, 30), (5, 20), (4, 20)]));
        assert_eq!(window.latest, 6);
        assert_eq!(window.behind(Uuid::from_u128(30), 1), Some(Sequence::new(5)));
        assert_eq!(window.behind(Uuid::from_u128(10), 1), None);
        // The append 20 may have begun before the window: its last event says where it stands.
        assert_eq!(window.behind(Uuid::from_u128(20), 3), Some(Sequence::new(2)));
    }

    #[test]
    fn a_window_forgets_what_has_left_it_and_never_jumps_a_gap() {
        let mut window = Window::new(2, &[]);
        window.push_all(&events(&[(1, 10), (2, 20), (3, 30)]));
        assert_eq!(window.behind(Uuid::from_u128(10), 1), None);
        assert_eq!(window.behind(Uuid::from_u128(20), 1), Some(Sequence::new(1)));
        window.push_all(&events(&[(5, 50)]));
        assert_eq!(window.latest, 3);
        assert_eq!(window.behind(Uuid::from_u128(50), 1), None);
    }
}
