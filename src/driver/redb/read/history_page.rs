//! A page of one aggregate's history on its way from the log to its reader.
//!
//! ```text
//! runs ─▶ parts (what one segment holds of a run) ─▶ entries of the aggregate ─▶ events
//! ```
//!
//! If the segments are in the cache, the parts of many runs are processed together: one step for
//! all of them before the next step for any. Events that were written among others' are each in
//! another place. The processor can wait for many of these places at once if it need not finish one
//! event to learn where the next one is. Parts that the cache does not have are read from redb one
//! by one.
//!
//! The data of an event is copied once, or shares a segment's memory. An event that stands alone
//! among others' is copied, so that it does not hold their memory; such events of one step share a
//! copy. Neighbours share the memory of their segment, and so does an event that fills one.

use std::hint::black_box;
use std::ops::Range;
use std::slice;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::driver::DriverError;
use crate::driver::redb::format::block::PositionRun;
use crate::driver::redb::format::segment::{Entry, Segment};
use crate::driver::redb::read::committed_view::{
    CommittedView, decode_event, missing, read_segment,
};
use crate::driver::redb::read::segment_cache::{CacheSlot, SegmentCache};
use crate::event::{AggregateKey, KeyedEvent, Position, Sequence};

/// The bytes of a page, about.
pub(in crate::driver::redb) const PAGE_BYTES: usize = 1 << 20;

/// So many parts are processed together: enough for a short history, and more than the processor
/// waits for at once.
const TOGETHER: usize = 16;

pub(in crate::driver::redb) struct HistoryPage<'a> {
    key: &'a AggregateKey,
    events: Vec<KeyedEvent>,
    bytes: usize,
    wanted: usize,
    /// Segments found in the cache, and read from redb.
    looks: (u64, u64),
    /// The sequence that comes next, where it is known: an aggregate's are dense.
    next: Option<Sequence>,
    backwards: bool,
}

type Together<T> = SmallVec<[T; TOGETHER]>;

impl<'a> HistoryPage<'a> {
    /// A page with the events from the sequence `first` on, or backwards from whichever is last.
    pub(in crate::driver::redb) fn new(
        key: &'a AggregateKey,
        wanted: usize,
        first: Sequence,
        backwards: bool,
    ) -> Self {
        let next = (!backwards).then_some(first);
        HistoryPage { key, events: Vec::new(), bytes: 0, wanted, looks: (0, 0), next, backwards }
    }

    pub(in crate::driver::redb) fn key(&self) -> &'a AggregateKey {
        self.key
    }

    /// So many more events are wanted.
    pub(in crate::driver::redb) fn room(&self) -> usize {
        self.wanted - self.events.len()
    }

    pub(in crate::driver::redb) fn is_full(&self) -> bool {
        self.events.len() >= self.wanted || self.bytes >= PAGE_BYTES
    }

    /// Adds an event, which must be the next one of its aggregate.
    pub(in crate::driver::redb) fn push(&mut self, event: KeyedEvent) -> Result<(), DriverError> {
        if let Some(next) = self.next
            && event.sequence != next
        {
            return Err(DriverError::damaged(format!(
                "the log at position {} has {} at {}, the index has it at {next}: run reindex",
                event.position.map_or(0, Position::get),
                event.key,
                event.sequence,
            )));
        }
        let sequence = event.sequence;
        self.next = Some(if self.backwards { sequence.previous() } else { sequence.next() });
        self.bytes += event.size_bytes();
        self.events.push(event);
        Ok(())
    }

    pub(in crate::driver::redb) fn into_events(self) -> Vec<KeyedEvent> {
        self.events
    }

    /// Adds the events of these runs, which are no more than are wanted. Returns whether the page
    /// took them all.
    pub(in crate::driver::redb) fn push_runs(
        &mut self,
        (segments, snapshot): (&SegmentCache, &CommittedView),
        runs: &[PositionRun],
        backwards: bool,
    ) -> Result<bool, DriverError> {
        self.events.reserve(runs.iter().map(|run| run.events as usize).sum());
        let took_all = self.push_parts((segments, snapshot), Parts::new(runs, backwards));
        let (hits, misses) = std::mem::take(&mut self.looks);
        segments.count(hits, misses);
        took_all
    }

    fn push_parts(
        &mut self,
        (segments, snapshot): (&SegmentCache, &CommittedView),
        mut parts: Parts<'_>,
    ) -> Result<bool, DriverError> {
        while let Some(next) = parts.next_position() {
            let took_all = match self.push_kept(segments, &mut parts)? {
                Some(took_all) => took_all,
                None => self.push_stored((segments, snapshot), next, &mut parts)?,
            };
            if self.is_full() {
                return Ok(took_all && parts.next_position().is_none());
            }
        }
        Ok(true)
    }

    /// Adds events as long as their segments are in the cache, and not too many at once. Returns
    /// whether the page took them all, or `None` if the first one's segment is not in the cache.
    fn push_kept(
        &mut self,
        segments: &SegmentCache,
        parts: &mut Parts<'_>,
    ) -> Result<Option<bool>, DriverError> {
        let kept = segments.kept();
        let (mut lone, mut neighbours) = (Together::new(), None);
        while lone.len() < TOGETHER
            && neighbours.is_none()
            && let Some(next) = parts.next_position()
            && let Some(slot) = kept.find(next)
        {
            let part = parts.take(slot.first_position, slot.next_position);
            match is_lone(part, slot.first_position..slot.next_position) {
                true => lone.push((slot, part.first)),
                false => neighbours = Some((slot, part)),
            }
        }
        self.looks.0 += lone.len() as u64 + u64::from(neighbours.is_some());
        if lone.is_empty() && neighbours.is_none() {
            return Ok(None);
        }
        let lone: Together<_> = lone
            .into_iter()
            .map(|(slot, position)| Ok((segment(slot)?, position)))
            .collect::<Result<_, DriverError>>()?;
        let took_all = self.push_lone(&lone)?;
        match neighbours {
            Some((slot, part)) if took_all => {
                let segment = segment(slot)?;
                self.push_neighbours(&segment, &slot.stored, part, parts.backwards).map(Some)
            }
            neighbours => Ok(Some(took_all && neighbours.is_none())),
        }
    }

    /// Adds what stands in the next segment, from redb. Returns whether the page took it all.
    fn push_stored(
        &mut self,
        (segments, snapshot): (&SegmentCache, &CommittedView),
        next: u64,
        parts: &mut Parts<'_>,
    ) -> Result<bool, DriverError> {
        self.looks.1 += 1;
        let (first, guard) = snapshot.segment(next)?;
        let stored = guard.value();
        let segment = read_segment(first, stored)?;
        if next >= segment.next_position() {
            return Err(missing(next));
        }
        let keep = |copy| segments.keep(first, segment.next_position(), copy);
        let missed_before = segments.missed_before(first);
        let part = parts.take(first, segment.next_position());
        if is_lone(part, first..segment.next_position()) {
            if missed_before {
                keep(Bytes::copy_from_slice(stored));
            }
            return self.push_lone(&[(segment, next)]);
        }
        let copy = Bytes::copy_from_slice(stored);
        if missed_before {
            keep(copy.clone());
        }
        let segment = Segment::read_checked(first, &copy).ok_or_else(|| missing(next))?;
        self.push_neighbours(&segment, &copy, part, parts.backwards)
    }

    /// Adds one event of each segment until the page is full, with the data in one copy. Returns
    /// whether the page took them all.
    fn push_lone(&mut self, lone: &[(Segment<'_>, u64)]) -> Result<bool, DriverError> {
        bring(lone.iter().filter_map(|(segment, position)| segment.bytes_at(*position)));
        let entries: Together<_> = lone
            .iter()
            .map(|(segment, position)| Ok((self.entry(segment, *position)?, *position)))
            .collect::<Result<_, DriverError>>()?;
        let mut data = Vec::with_capacity(entries.iter().map(|(e, _)| e.record.len()).sum());
        entries.iter().for_each(|(entry, _)| data.extend_from_slice(entry.record));
        let mut data = Bytes::from(data);
        for (taken, (entry, position)) in entries.iter().enumerate() {
            if taken > 0 && self.is_full() {
                return Ok(false);
            }
            let record = data.split_to(entry.record.len());
            self.push(decode_event(self.key.clone(), entry, *position, record)?)?;
        }
        Ok(true)
    }

    /// Adds a part's events until the page is full. They share the segment's memory. Returns
    /// whether the page took them all.
    fn push_neighbours(
        &mut self,
        segment: &Segment<'_>,
        stored: &Bytes,
        part: PositionRun,
        backwards: bool,
    ) -> Result<bool, DriverError> {
        for step in 0..part.events {
            if step > 0 && self.is_full() {
                return Ok(false);
            }
            let step = if backwards { part.events - 1 - step } else { step };
            let position = part.first + step;
            let entry = self.entry(segment, position)?;
            let record = stored.slice_ref(entry.record);
            self.push(decode_event(self.key.clone(), &entry, position, record)?)?;
        }
        Ok(true)
    }

    /// The entry at `position`, which must be the aggregate's.
    fn entry<'s>(&self, segment: &Segment<'s>, position: u64) -> Result<Entry<'s>, DriverError> {
        let entry = segment.at(position).ok_or_else(|| missing(position))?;
        if entry.key != self.key.as_str() {
            return Err(DriverError::damaged(format!(
                "the log at position {position} has an event of {:?}, the index one of {:?}: run \
                 reindex",
                entry.key,
                self.key.as_str()
            )));
        }
        Ok(entry)
    }
}

fn segment(kept: &CacheSlot) -> Result<Segment<'_>, DriverError> {
    let first = kept.first_position;
    Segment::read_checked(first, &kept.stored).ok_or_else(|| missing(first))
}

/// Whether the part is one event among others in its segment.
fn is_lone(part: PositionRun, segment: Range<u64>) -> bool {
    part.events == 1 && segment.end - segment.start > 1
}

/// Reads from the cache lines of these entries, so that the processor fetches them all at once. It
/// fetches the rest of a long entry by itself, when the entry is read in order.
fn bring<'s>(entries: impl Iterator<Item = &'s [u8]>) {
    const LINE: usize = 64;
    const LINES: usize = 8;
    let entries: Together<&[u8]> = entries.collect();
    let lines = entries.iter().flat_map(|entry| entry.iter().step_by(LINE).take(LINES));
    black_box(lines.fold(0, |seen, byte| seen ^ byte));
}

/// What is left to be read of some runs, cut where segments end.
struct Parts<'r> {
    run: Option<PositionRun>,
    rest: slice::Iter<'r, PositionRun>,
    backwards: bool,
}

impl<'r> Parts<'r> {
    /// `runs` are in the order of reading, each from its first position on.
    fn new(runs: &'r [PositionRun], backwards: bool) -> Self {
        let mut rest = runs.iter();
        Parts { run: rest.next().copied(), rest, backwards }
    }

    /// The next event's position.
    fn next_position(&self) -> Option<u64> {
        let run = self.run?;
        Some(if self.backwards { run.first + run.events - 1 } else { run.first })
    }

    /// Takes the part of the next run that stands at the positions `first..next`. The run's next
    /// event is among these.
    fn take(&mut self, first: u64, next: u64) -> PositionRun {
        let Some(run) = self.run else { return PositionRun { first, events: 0 } };
        let (from, to) = (run.first.max(first), (run.first + run.events).min(next));
        let (part, left) =
            (PositionRun { first: from, events: to - from }, run.events - (to - from));
        let left_first = if self.backwards { run.first } else { to };
        self.run = match left {
            0 => self.rest.next().copied(),
            _ => Some(PositionRun { first: left_first, events: left }),
        };
        part
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn positions(run: &PositionRun) -> impl Iterator<Item = u64> + use<> {
        run.first..run.first + run.events
    }

    proptest! {
        #[test]
        fn parts_are_the_runs_cut_where_segments_end(
            steps in prop::collection::vec((0..40u64, 1..30u64), 1..40),
            lengths in prop::collection::vec(1..20u64, 1..8),
            backwards: bool,
        ) {
            let mut next = 1;
            let mut runs: Vec<PositionRun> = Vec::new();
            for (gap, events) in steps {
                runs.push(PositionRun { first: next + gap, events });
                next += gap + events;
            }
            let mut expected: Vec<u64> = runs.iter().flat_map(positions).collect();
            if backwards {
                expected.reverse();
                runs.reverse();
            }
            // Segments follow each other, and their lengths repeat.
            let segment = |position: u64| {
                let mut first = 1;
                for length in lengths.iter().cycle() {
                    if position < first + length {
                        return (first, first + length);
                    }
                    first += length;
                }
                unreachable!()
            };
            let mut parts = Parts::new(&runs, backwards);
            let mut seen = Vec::new();
            while let Some(next) = parts.next_position() {
                let (first, behind) = segment(next);
                let part = parts.take(first, behind);
                prop_assert!(part.events > 0 && part.first >= first);
                prop_assert!(part.first + part.events <= behind);
                let mut found: Vec<u64> = positions(&part).collect();
                if backwards {
                    found.reverse();
                }
                prop_assert_eq!(found[0], next);
                seen.extend(found);
            }
            prop_assert_eq!(seen, expected);
        }
    }
}
