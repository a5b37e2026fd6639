//! The aggregates that were written lately: their latest sequences and journaled events.
//!
//! For each aggregate it has the latest *assigned* sequence, which the writer checks the next put
//! against, and the latest *visible* one, which is durable. An aggregate without journaled events
//! stays for a while, so that a busy one is not looked up in redb each time. *Sweeps* forget
//! aggregates that got no put since the sweep before and that nobody holds. A put holds its
//! aggregates from before it is queued until its events are released. A look-up in redb that a
//! sweep has overtaken is repeated.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use smallvec::SmallVec;

use crate::driver::put::refuse_unless_next;
use crate::driver::redb::journal::frame_events::{FrameEvents, in_order};
use crate::driver::{DriverError, Put};
use crate::event::{AggregateKey, KeyedEvent, Sequence};

/// About how many aggregates stay known. One takes about 140 bytes.
const KNOWN_AGGREGATES: usize = 131_072;

/// One aggregate.
pub(in crate::driver::redb) struct Known {
    state: Mutex<AggregateState>,
}

struct AggregateState {
    assigned: u64,
    visible: u64,
    pieces: VecDeque<Piece>,
    /// Put to since the last sweep.
    used: bool,
}

/// Neighbouring events of the aggregate in one frame.
#[derive(Clone)]
struct Piece {
    journaled: Arc<FrameEvents>,
    /// The first one's number in the frame.
    number: u32,
    events: u32,
    first_sequence: u64,
}

impl Piece {
    fn next_sequence(&self) -> u64 {
        self.first_sequence + u64::from(self.events)
    }

    fn size_bytes(&self) -> usize {
        let first = self.number as usize;
        self.journaled.bytes_between(first, first + self.events as usize)
    }
}

impl Known {
    fn settled(latest: u64) -> Self {
        let pieces = VecDeque::new();
        let state = AggregateState { assigned: latest, visible: latest, pieces, used: false };
        Known { state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, AggregateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A put's aggregates, in its order.
pub(in crate::driver::redb) type LookedUp = SmallVec<[Arc<Known>; 1]>;

/// The events that one put adds to one aggregate, in their frame.
pub(in crate::driver::redb) struct PutPart {
    pub(in crate::driver::redb) known: Arc<Known>,
    pub(in crate::driver::redb) number: u32,
    pub(in crate::driver::redb) events: u32,
    pub(in crate::driver::redb) first_sequence: u64,
}

/// The known aggregates.
#[derive(Default)]
pub(in crate::driver::redb) struct RecentAggregates {
    known: DashMap<AggregateKey, Arc<Known>>,
    count: AtomicUsize,
    sweeps: AtomicU64,
    /// Held during a sweep. A sweep clears the marks of use; the next one forgets what has none.
    sweeping: Mutex<()>,
}

impl RecentAggregates {
    /// On the caller's thread: the put's aggregates. `lookup` returns the latest sequence in redb
    /// of an aggregate that is not known.
    pub(in crate::driver::redb) fn look(
        &self,
        put: &Put,
        lookup: impl Fn(&AggregateKey) -> Result<u64, DriverError>,
    ) -> Result<LookedUp, DriverError> {
        let firsts = put.aggregates().filter_map(|aggregate| aggregate.first());
        firsts.map(|first| self.hold(&first.key, &lookup)).collect()
    }

    fn hold(
        &self,
        key: &AggregateKey,
        lookup: impl Fn(&AggregateKey) -> Result<u64, DriverError>,
    ) -> Result<Arc<Known>, DriverError> {
        if let Some(found) = self.known.get(key) {
            return Ok(found.clone());
        }
        loop {
            let sweeps = self.sweeps.load(Ordering::Acquire);
            let latest = lookup(key)?;
            match self.known.entry(key.clone()) {
                Entry::Occupied(found) => return Ok(found.get().clone()),
                // Nobody can have put and been forgotten since: a sweep counts before it forgets.
                Entry::Vacant(place) if self.sweeps.load(Ordering::Acquire) == sweeps => {
                    let known = Arc::new(Known::settled(latest));
                    place.insert(known.clone());
                    let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
                    // Puts that are all refused release nothing, after which it would be swept.
                    if count > KNOWN_AGGREGATES * 2 && count.is_multiple_of(KNOWN_AGGREGATES / 4) {
                        self.sweep();
                    }
                    return Ok(known);
                }
                Entry::Vacant(_) => {}
            }
        }
    }

    /// On the writer: refuses the put, or gives its events their sequences. A put that is refused
    /// changes nothing.
    pub(in crate::driver::redb) fn assign(put: &Put, looked: &LookedUp) -> Result<(), DriverError> {
        for (aggregate, known) in put.aggregates().zip(looked) {
            let Some(first) = aggregate.first() else { continue };
            let latest = Sequence::new(known.state().assigned);
            refuse_unless_next(&first.key, first.sequence, latest)?;
        }
        for (aggregate, known) in put.aggregates().zip(looked) {
            let Some(last) = aggregate.last() else { continue };
            let mut state = known.state();
            state.assigned = last.sequence.get();
            state.used = true;
        }
        Ok(())
    }

    /// Makes a frame's durable events readable.
    pub(in crate::driver::redb) fn publish(journaled: &Arc<FrameEvents>, parts: &[PutPart]) {
        for part in parts {
            let PutPart { ref known, number, events, first_sequence } = *part;
            let piece = Piece { journaled: journaled.clone(), number, events, first_sequence };
            let mut state = known.state();
            state.visible = piece.next_sequence() - 1;
            state.pieces.push_back(piece);
        }
    }

    /// Releases the oldest events that [`RecentAggregates::publish`] made readable.
    pub(in crate::driver::redb) fn release(part: &PutPart) {
        let mut state = part.known.state();
        state.pieces.pop_front();
        if state.pieces.is_empty() {
            state.pieces = VecDeque::new();
        }
    }

    /// Forgets aggregates, if too many are known.
    pub(in crate::driver::redb) fn sweep_if_many(&self) {
        if self.count.load(Ordering::Relaxed) > KNOWN_AGGREGATES {
            self.sweep();
        }
    }

    fn sweep(&self) {
        let Ok(_sweeping) = self.sweeping.try_lock() else { return };
        // Counted first: a look-up that misses an aggregate which this removes sees the new count.
        self.sweeps.fetch_add(1, Ordering::AcqRel);
        // If only the map holds it while the map is locked, nobody can take it before the unlock.
        self.known.retain(|_, known| {
            let mut state = known.state();
            let used = std::mem::take(&mut state.used) || !state.pieces.is_empty();
            let stays = used || Arc::strong_count(known) > 1;
            if !stays {
                self.count.fetch_sub(1, Ordering::Relaxed);
            }
            stays
        });
    }

    /// After the index was rebuilt: what is known from the old one alone is learnt from the new
    /// one. The caller sees to it that no sequence is assigned meanwhile, and that nothing is
    /// journaled only.
    pub(in crate::driver::redb) fn learn_again(
        &self,
        latest: impl Fn(&AggregateKey) -> Result<u64, DriverError>,
    ) -> Result<(), DriverError> {
        // First: a look-up in the old index that is under way is made again.
        self.sweeps.fetch_add(1, Ordering::AcqRel);
        for known in &self.known {
            let mut state = known.state();
            if state.pieces.is_empty() {
                state.assigned = latest(known.key())?;
                state.visible = state.assigned;
            }
        }
        Ok(())
    }

    /// The latest sequence that may be read, if the aggregate is known.
    pub(in crate::driver::redb) fn visible(&self, key: &AggregateKey) -> Option<u64> {
        self.known.get(key).map(|found| found.state().visible)
    }

    /// What is journaled of one aggregate, as of now: its events with the sequences `low..=high`,
    /// as many of them as a page can need.
    pub(in crate::driver::redb) fn view(&self, key: &AggregateKey, range: PageRange) -> View {
        let Some(found) = self.known.get(key) else { return View::default() };
        let state = found.state();
        let range = PageRange { high: range.high.min(state.visible), ..range };
        let (low, high) = range.needed();
        let from = state.pieces.partition_point(|piece| piece.next_sequence() <= low);
        let to = state.pieces.partition_point(|piece| piece.first_sequence <= high).max(from);
        let mut inside = state.pieces.range(from..to);
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        while bytes < range.bytes
            && let Some(piece) = if range.backwards { inside.next_back() } else { inside.next() }
        {
            bytes += piece.size_bytes();
            #[cfg(test)]
            crate::driver::redb::samples::count_read(1, 0);
            pieces.push(piece.clone());
        }
        let first = state.pieces.front().map(|piece| piece.first_sequence);
        let is_left_out =
            |first: u64| range.low.max(first) < low || high < range.high && first <= range.high;
        View {
            visible: Some(state.visible),
            first,
            is_cut: inside.len() > 0 || first.is_some_and(is_left_out),
            pieces,
            low,
            high,
            backwards: range.backwards,
        }
    }

    /// The keys with journaled events that begin with `prefix`, in ascending order.
    pub(in crate::driver::redb) fn keys(&self, prefix: &str) -> Vec<AggregateKey> {
        let mut keys: Vec<AggregateKey> = self
            .known
            .iter()
            .filter(|found| {
                found.key().as_str().starts_with(prefix) && !found.state().pieces.is_empty()
            })
            .map(|found| found.key().clone())
            .collect();
        keys.sort_unstable();
        keys
    }
}

/// What a reader wants of an aggregate.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::driver::redb) struct PageRange {
    pub(in crate::driver::redb) low: u64,
    pub(in crate::driver::redb) high: u64,
    pub(in crate::driver::redb) backwards: bool,
    /// At most so many events, and no further one when the page has so many bytes.
    pub(in crate::driver::redb) events: usize,
    pub(in crate::driver::redb) bytes: usize,
}

impl PageRange {
    /// The sequences that a page can have: an aggregate's are dense, so the number of events says
    /// which they are.
    fn needed(&self) -> (u64, u64) {
        let more = (self.events as u64).saturating_sub(1);
        match self.backwards {
            false => (self.low, self.high.min(self.low.saturating_add(more))),
            true => (self.low.max(self.high.saturating_sub(more)), self.high),
        }
    }
}

/// One aggregate's journaled events at one moment, as far as a page needs them.
#[derive(Default)]
pub(in crate::driver::redb) struct View {
    /// The latest sequence that may be read, if the aggregate is known.
    pub(in crate::driver::redb) visible: Option<u64>,
    /// The first sequence that is journaled; all before it are in redb.
    pub(in crate::driver::redb) first: Option<u64>,
    /// Whether a journaled event of the range was left out.
    pub(in crate::driver::redb) is_cut: bool,
    /// In the order of reading.
    pieces: Vec<Piece>,
    low: u64,
    high: u64,
    backwards: bool,
}

impl View {
    /// The sequences that are wanted of a piece.
    fn wanted(&self, piece: &Piece) -> Range<u64> {
        let to = self.high.saturating_add(1).min(piece.next_sequence());
        self.low.max(piece.first_sequence).min(to)..to
    }

    /// How many events it has.
    pub(in crate::driver::redb) fn len(&self) -> u64 {
        let wanted = self.pieces.iter().map(|piece| self.wanted(piece));
        wanted.map(|sequences| sequences.end - sequences.start).sum()
    }

    /// The events in the order of reading. Each is decoded when its turn comes.
    pub(in crate::driver::redb) fn events(&self) -> impl Iterator<Item = KeyedEvent> + '_ {
        self.pieces.iter().flat_map(move |piece| {
            in_order(self.wanted(piece), self.backwards).filter_map(|sequence| {
                let number = u64::from(piece.number) + (sequence - piece.first_sequence);
                piece.journaled.event(number as usize)
            })
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::driver::redb::samples::sample_event;

    fn look(aggregates: &RecentAggregates, put: &Put) -> (LookedUp, bool) {
        let looked_up = std::cell::Cell::new(false);
        let looked = aggregates.look(put, |_| {
            looked_up.set(true);
            Ok(0)
        });
        (looked.unwrap(), looked_up.get())
    }

    #[test]
    fn an_aggregate_is_forgotten_when_nobody_holds_it_or_puts_to_it_between_two_sweeps() {
        let (aggregates, put) =
            (RecentAggregates::default(), Put::new(vec![sample_event()]).unwrap());
        let (held, looked_up) = look(&aggregates, &put);
        assert!(looked_up);
        aggregates.sweep();
        assert!(!look(&aggregates, &put).1, "forgotten while a put held it");
        RecentAggregates::assign(&put, &held).unwrap();
        drop(held);
        aggregates.sweep();
        let (held, looked_up) = look(&aggregates, &put);
        assert!(!looked_up, "forgotten though it was put to since the sweep before");
        assert!(RecentAggregates::assign(&put, &held).is_err(), "its sequence was given twice");
        drop(held);
        aggregates.sweep();
        assert!(look(&aggregates, &put).1, "not forgotten");
        assert_eq!(aggregates.count.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_look_up_that_a_sweep_has_overtaken_is_made_again() {
        let (aggregates, put) =
            (RecentAggregates::default(), Put::new(vec![sample_event()]).unwrap());
        let looks = std::cell::Cell::new(0);
        let looked = aggregates.look(&put, |_| {
            looks.set(looks.get() + 1);
            if looks.get() == 1 {
                aggregates.sweep();
            }
            Ok(0)
        });
        assert!(looked.is_ok());
        assert_eq!(looks.get(), 2);
    }
}
