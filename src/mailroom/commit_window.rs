//! Which appends an aggregate's latest events belong to. A repeated append is looked for here.
//!
//! The first append that needs it fills it from the driver; after that, each committed put does.
//! What must stay true: it covers the events up to its latest sequence without a gap, or states
//! that it is behind.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use crate::driver::Limits;
use crate::event::{KeyedEvent, Sequence};

/// The commit ids of an aggregate's latest events.
pub(super) struct CommitWindow {
    /// The latest sequence that it covers.
    pub(super) latest: Sequence,
    size: u64,
    /// The id and the last event of each append, in sequence order.
    appends: VecDeque<(Uuid, Sequence)>,
    /// Where each id was last used.
    spans: HashMap<Uuid, AppendSpan>,
    /// The window began with this event, possibly in the middle of an append.
    cut_at: Option<Sequence>,
}

#[derive(Clone, Copy)]
struct AppendSpan {
    first: Sequence,
    last: Sequence,
}

impl CommitWindow {
    /// A window over the `size` latest events; `backwards` lists them from the last to the first.
    pub(super) fn new(size: usize, backwards: &[(Sequence, Uuid)]) -> Self {
        let oldest = backwards.last().map_or(Sequence::NONE, |(sequence, _)| *sequence);
        let mut window = CommitWindow {
            latest: oldest.previous(),
            size: size as u64,
            appends: VecDeque::new(),
            spans: HashMap::new(),
            cut_at: (oldest > Sequence::FIRST).then_some(oldest),
        };
        for (sequence, id) in backwards.iter().rev() {
            window.push(*sequence, *id);
        }
        window
    }

    /// Adds durable events, in sequence order. If the window misses an event before them, it stays
    /// behind and is read again.
    pub(super) fn push_all(&mut self, events: &[KeyedEvent]) {
        for event in events {
            self.push(event.sequence, event.commit_id);
        }
    }

    fn push(&mut self, sequence: Sequence, id: Uuid) {
        if self.latest.next() != sequence {
            return;
        }
        self.latest = sequence;
        match self.appends.back_mut().filter(|(latest, _)| *latest == id) {
            Some((_, last)) => {
                *last = sequence;
                if let Some(span) = self.spans.get_mut(&id) {
                    span.last = sequence;
                }
            }
            // An id that is used again leaves its earlier use behind.
            None => {
                self.appends.push_back((id, sequence));
                self.spans.insert(id, AppendSpan { first: sequence, last: sequence });
            }
        }
        let size = self.size;
        while let Some((id, last)) =
            self.appends.front().filter(|(_, at)| at.plus(size) <= sequence)
        {
            if self.spans.get(id).is_some_and(|span| span.last == *last) {
                self.spans.remove(id);
            }
            self.appends.pop_front();
        }
    }

    /// The sequence before the append with this id, if the append has so many events.
    pub(super) fn behind(&self, commit_id: Uuid, events: u64) -> Option<Sequence> {
        let span = self.spans.get(&commit_id)?;
        match self.cut_at == Some(span.first) {
            false => Some(span.first.previous()),
            true => Some(Sequence::new(span.last.get().saturating_sub(events))),
        }
    }

    /// All events of the append with this id are among so many events after this sequence.
    pub(super) fn whole(&self, commit_id: Uuid, limits: &Limits) -> Option<(Sequence, u64)> {
        let span = self.spans.get(&commit_id)?;
        let events = match self.cut_at == Some(span.first) {
            false => span.last.get() - span.first.get() + 1,
            true => span.last.get().min(limits.events_per_put as u64),
        };
        Some((Sequence::new(span.last.get() - events), events))
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
        let ids =
            [(6, 30), (5, 20), (4, 20)].map(|(at, id)| (Sequence::new(at), Uuid::from_u128(id)));
        let window = CommitWindow::new(3, &ids);
        assert_eq!(window.latest, 6);
        assert_eq!(window.behind(Uuid::from_u128(30), 1), Some(Sequence::new(5)));
        assert_eq!(window.behind(Uuid::from_u128(10), 1), None);
        // The append 20 may have begun before the window: its last event tells where it is.
        assert_eq!(window.behind(Uuid::from_u128(20), 3), Some(Sequence::new(2)));
    }

    #[test]
    fn a_window_forgets_what_has_left_it_and_never_jumps_a_gap() {
        let mut window = CommitWindow::new(2, &[]);
        window.push_all(&events(&[(1, 10), (2, 20), (3, 30)]));
        assert_eq!(window.behind(Uuid::from_u128(10), 1), None);
        assert_eq!(window.behind(Uuid::from_u128(20), 1), Some(Sequence::new(1)));
        window.push_all(&events(&[(5, 50)]));
        assert_eq!(window.latest, 3);
        assert_eq!(window.behind(Uuid::from_u128(50), 1), None);
    }

    #[test]
    fn an_id_that_is_used_again_does_not_keep_what_lies_between() {
        let mut window = CommitWindow::new(16, &[]);
        for n in 1..=10_000 {
            window.push(Sequence::new(n), Uuid::from_u128(if n % 8 == 0 { 0 } else { n.into() }));
            assert!(window.appends.len() <= 16 && window.spans.len() <= 16, "at {n}");
        }
        assert_eq!(window.behind(Uuid::nil(), 1), Some(Sequence::new(9_999)));
        assert_eq!(window.behind(Uuid::from_u128(9_984), 1), None);
    }
}
