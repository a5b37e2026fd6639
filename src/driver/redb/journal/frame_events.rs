//! The events of a frame in memory: the bytes that were written, and where each event begins.
//!
//! An event is kept like this from its flush until redb has it. Encoded once and side by side, the
//! events of a frame are cheap to keep, to walk and to free; their puts are gone by then. An event
//! is decoded when it is read.

use std::ops::Range;

use bytes::Bytes;

use crate::driver::redb::format::segment::Entry;
use crate::driver::redb::journal::frame_entry::entry_at;
use crate::event::{AggregateKey, KeyedEvent, Position, Sequence};

/// The numbers of the range in the order of reading.
pub(in crate::driver::redb) fn in_order(
    range: Range<u64>,
    backwards: bool,
) -> impl Iterator<Item = u64> {
    let Range { start, end } = range;
    (0..end.saturating_sub(start))
        .map(move |step| if backwards { end - 1 - step } else { start + step })
}

/// The events of one frame, in position order.
#[derive(Debug, Default)]
pub(in crate::driver::redb) struct FrameEvents {
    first_position: u64,
    bytes: Vec<u8>,
    /// Where in `bytes` each event begins.
    starts: Vec<u32>,
}

impl FrameEvents {
    /// Events of which the first has this position, and which begin at `starts` in `bytes`.
    pub(in crate::driver::redb) fn new(
        first_position: u64,
        bytes: Vec<u8>,
        starts: Vec<u32>,
    ) -> Self {
        FrameEvents { first_position, bytes, starts }
    }

    pub(in crate::driver::redb) fn first_position(&self) -> u64 {
        self.first_position
    }

    /// The position behind the last event.
    pub(in crate::driver::redb) fn next_position(&self) -> u64 {
        self.first_position + self.starts.len() as u64
    }

    /// The bytes it takes in memory.
    pub(in crate::driver::redb) fn size_bytes(&self) -> usize {
        self.bytes.len() + self.starts.len() * size_of::<u32>()
    }

    /// About how many bytes the events with the numbers from `first` to before `next` take.
    pub(in crate::driver::redb) fn bytes_between(&self, first: usize, next: usize) -> usize {
        let start = |number| self.starts.get(number).map_or(self.bytes.len(), |at| *at as usize);
        start(next).saturating_sub(start(first))
    }

    /// About how many bytes each event takes.
    pub(in crate::driver::redb) fn sizes(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.starts.len()).map(|number| self.bytes_between(number, number + 1))
    }

    /// The event with this number, from 0 on, undecoded.
    pub(in crate::driver::redb) fn entry(&self, number: usize) -> Option<Entry<'_>> {
        entry_at(&self.bytes, *self.starts.get(number)? as usize)
    }

    /// All events, undecoded, with their positions.
    pub(in crate::driver::redb) fn entries(&self) -> impl Iterator<Item = (u64, Entry<'_>)> {
        let numbers = 0..self.starts.len();
        (self.first_position..)
            .zip(numbers)
            .filter_map(|(at, number)| Some((at, self.entry(number)?)))
    }

    /// The event with this number, as a reader gets it. Its data is a copy: a reader that keeps it
    /// must not keep the frame.
    pub(in crate::driver::redb) fn event(&self, number: usize) -> Option<KeyedEvent> {
        let entry = self.entry(number)?;
        let key = AggregateKey::new(entry.key).ok()?;
        let record = Bytes::copy_from_slice(entry.record);
        #[cfg(test)]
        crate::driver::redb::samples::count_read(0, record.len());
        let event = KeyedEvent::decode_record(key, Sequence::new(entry.sequence), record);
        let mut event = event.ok()?;
        event.position = Some(Position::new(self.first_position + number as u64));
        Some(event)
    }

    /// The event at this position.
    pub(in crate::driver::redb) fn event_at(&self, position: u64) -> Option<KeyedEvent> {
        self.event(usize::try_from(position.checked_sub(self.first_position)?).ok()?)
    }

    /// About how many bytes the events at the positions from `from` to before `next` take.
    pub(in crate::driver::redb) fn bytes_at(&self, from: u64, next: u64) -> usize {
        let number = |position: u64| position.saturating_sub(self.first_position) as usize;
        self.bytes_between(number(from), number(next))
    }
}
