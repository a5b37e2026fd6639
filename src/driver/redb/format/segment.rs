//! The segment: events side by side in position order, the unit redb keeps them in.
//!
//! A segment fills one page of redb, or four if all its events are of one aggregate, because these
//! are read together. redb rounds a longer value up to a power of two, so a segment of events that
//! would leave much of that empty takes further ones, until it fills most of a larger power of two.
//! Numbers are little-endian:
//!
//! ```text
//! version u8 (1) · flags u8 (1: wide) · events u16 · checksum u64
//! · end of each entry, u16 or wide u32 · entries
//! entry: key length (varint) · key · sequence (varint) · record
//! ```
//!
//! The checksum begins from the segment's first position, under which it is stored, so that bytes
//! in the wrong place are damage too. The ends give every event without reading those before it.

use std::ops::Range;

use twox_hash::XxHash3_64;

use crate::driver::redb::format::codec::{Reader, put_varint};

/// What fills one 4 KiB page of redb: the page less the leaf's header, the value's end and the key.
const TARGET_BYTES: usize = 4096 - PAGE_OVERHEAD;
/// The same for the events of one aggregate. redb keeps fewer rows, but reading one event takes a
/// read and a checksum of the whole segment.
const LONG_TARGET_BYTES: usize = 4 * 4096 - PAGE_OVERHEAD;
/// A segment that leaves more than a fifth of its page empty takes further events up to this.
/// Reading one event takes a read of its whole segment, so this is bounded.
const MOST_BYTES: usize = (512 << 10) - PAGE_OVERHEAD;
/// What a leaf of redb with one row takes beside the value.
const PAGE_OVERHEAD: usize = 16;
const VERSION: u8 = 1;
const WIDE: u8 = 1;
const HEADER_BYTES: usize = 12;
const MAX_EVENTS: usize = u16::MAX as usize;

/// A segment being made.
#[derive(Default)]
pub(in crate::driver::redb) struct SegmentBuilder {
    first_position: u64,
    ends: Vec<u32>,
    entries: Vec<u8>,
    /// The aggregate of the first event, and whether all events so far are of it.
    key: String,
    only: bool,
}

impl SegmentBuilder {
    pub(in crate::driver::redb) fn begin(&mut self, first_position: u64) {
        self.first_position = first_position;
        self.ends.clear();
        self.entries.clear();
    }

    /// Continues a segment that has room left.
    pub(in crate::driver::redb) fn resume(&mut self, segment: &Segment<'_>) {
        self.begin(segment.first_position);
        for position in segment.first_position..segment.next_position() {
            if let Some(entry) = segment.at(position) {
                self.push(&entry);
            }
        }
    }

    pub(in crate::driver::redb) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(in crate::driver::redb) fn first_position(&self) -> u64 {
        self.first_position
    }

    /// Whether the event still fits into this segment.
    pub(in crate::driver::redb) fn takes(&self, event: &Entry<'_>) -> bool {
        if self.is_empty() {
            return true;
        }
        let entry = event.key.len() + event.record.len() + 12;
        let with = segment_bytes(self.ends.len() + 1, self.entries.len() + entry);
        let only = self.only && self.key == event.key;
        let target = if only { LONG_TARGET_BYTES } else { TARGET_BYTES };
        let now = segment_bytes(self.ends.len(), self.entries.len());
        let page = page_bytes(now);
        let wastes = now * 5 < page * 4;
        let fits = with <= target || with + PAGE_OVERHEAD <= page || (wastes && with <= MOST_BYTES);
        fits && self.ends.len() < MAX_EVENTS
    }

    pub(in crate::driver::redb) fn push(&mut self, event: &Entry<'_>) {
        if self.is_empty() {
            self.key.clear();
            self.key.push_str(event.key);
            self.only = true;
        } else if self.only && self.key != event.key {
            self.only = false;
        }
        put_varint(event.key.len() as u64, &mut self.entries);
        self.entries.extend_from_slice(event.key.as_bytes());
        put_varint(event.sequence, &mut self.entries);
        self.entries.extend_from_slice(event.record);
        self.ends.push(self.entries.len() as u32);
    }

    /// Writes the segment to `out`, which it clears first.
    pub(in crate::driver::redb) fn finish(&self, out: &mut Vec<u8>) {
        out.clear();
        let wide = is_wide(self.entries.len());
        out.extend_from_slice(&[VERSION, if wide { WIDE } else { 0 }]);
        out.extend_from_slice(&(self.ends.len() as u16).to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        for end in &self.ends {
            match wide {
                true => out.extend_from_slice(&end.to_le_bytes()),
                false => out.extend_from_slice(&(*end as u16).to_le_bytes()),
            }
        }
        out.extend_from_slice(&self.entries);
        let sum = checksum(self.first_position, out);
        if let Some(place) = out.get_mut(4..HEADER_BYTES) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
    }
}

/// Whether the ends of entries that take so many bytes need more than 16 bits.
fn is_wide(entries: usize) -> bool {
    entries > usize::from(u16::MAX)
}

/// The bytes of a segment with so many events, whose entries take `entries`.
fn segment_bytes(events: usize, entries: usize) -> usize {
    let end = if is_wide(entries) { 4 } else { 2 };
    HEADER_BYTES + events * end + entries
}

/// The bytes that redb takes for a row with a value of so many.
fn page_bytes(value: usize) -> usize {
    (value + PAGE_OVERHEAD).next_power_of_two().max(4096)
}

/// The most bytes that the segments take in redb for events of which each takes so many.
pub(in crate::driver::redb) fn most_page_bytes(events: impl Iterator<Item = usize>) -> u64 {
    // A fifth of a page is empty at most, except where an event is so large that no other goes
    // beside it. The first and the last segment may be as empty as can be.
    let each = events.map(|event| match event > MOST_BYTES / 8 {
        true => 2 * event as u64,
        false => event as u64 + event.div_ceil(4) as u64,
    });
    each.sum::<u64>() + 2 * (MOST_BYTES + PAGE_OVERHEAD) as u64
}

fn checksum(first_position: u64, segment: &[u8]) -> u64 {
    let (head, rest) = segment.split_at(HEADER_BYTES.min(segment.len()));
    let seed =
        head.iter().take(4).fold(first_position, |seed, b| seed.rotate_left(8) ^ u64::from(*b));
    XxHash3_64::oneshot_with_seed(seed, rest)
}

/// A stored segment whose checksum was right.
#[derive(Clone, Copy)]
pub(in crate::driver::redb) struct Segment<'a> {
    first_position: u64,
    events: usize,
    wide: bool,
    ends: &'a [u8],
    entries: &'a [u8],
}

/// One event of a segment or of a frame, not decoded yet.
#[derive(Clone, Copy)]
pub(in crate::driver::redb) struct Entry<'a> {
    pub(in crate::driver::redb) key: &'a str,
    pub(in crate::driver::redb) sequence: u64,
    pub(in crate::driver::redb) record: &'a [u8],
}

impl<'a> Segment<'a> {
    /// The segment stored under `first_position`, or what is wrong with it.
    pub(in crate::driver::redb) fn read(
        first_position: u64,
        bytes: &'a [u8],
    ) -> Result<Self, &'static str> {
        const SHORT: &str = "the segment ends too early";
        let sum = bytes.get(4..).and_then(|rest| rest.first_chunk()).ok_or(SHORT)?;
        if u64::from_le_bytes(*sum) != checksum(first_position, bytes) {
            return Err("the segment's checksum is wrong");
        }
        if !matches!(bytes, [VERSION, flags, ..] if flags & !WIDE == 0) {
            return Err("the segment is of a later version");
        }
        Self::read_checked(first_position, bytes).ok_or(SHORT)
    }

    /// The same for bytes whose checksum and version were checked before.
    pub(in crate::driver::redb) fn read_checked(
        first_position: u64,
        bytes: &'a [u8],
    ) -> Option<Self> {
        let mut reader = Reader(bytes);
        let (_version, flags) = (reader.u8()?, reader.u8()?);
        let events = usize::from(reader.u16()?);
        first_position.checked_add(events as u64)?;
        let _sum = reader.u64()?;
        let wide = flags & WIDE != 0;
        let ends = reader.bytes(events * if wide { 4 } else { 2 })?;
        Some(Segment { first_position, events, wide, ends, entries: reader.0 })
    }

    pub(in crate::driver::redb) fn len(&self) -> usize {
        self.events
    }

    pub(in crate::driver::redb) fn first_position(&self) -> u64 {
        self.first_position
    }

    /// The position behind the last event.
    pub(in crate::driver::redb) fn next_position(&self) -> u64 {
        self.first_position + self.events as u64
    }

    fn end(&self, slot: usize) -> Option<usize> {
        match self.wide {
            true => Some(u32::from_le_bytes(*self.ends.get(slot * 4..)?.first_chunk()?) as usize),
            false => {
                Some(usize::from(u16::from_le_bytes(*self.ends.get(slot * 2..)?.first_chunk()?)))
            }
        }
    }

    fn range(&self, slot: usize) -> Option<Range<usize>> {
        let start = if slot == 0 { 0 } else { self.end(slot - 1)? };
        Some(start..self.end(slot)?)
    }

    fn entry(&self, slot: usize) -> Option<&'a [u8]> {
        self.entries.get(self.range(slot)?)
    }

    /// The stored entry at `position`; `None` where the segment has none.
    pub(in crate::driver::redb) fn bytes_at(&self, position: u64) -> Option<&'a [u8]> {
        self.entry(usize::try_from(position.checked_sub(self.first_position)?).ok()?)
    }

    /// The event at `position`; `None` where the segment has none.
    pub(in crate::driver::redb) fn at(&self, position: u64) -> Option<Entry<'a>> {
        let mut reader = Reader(self.bytes_at(position)?);
        let key = usize::try_from(reader.varint()?).ok()?;
        let key = std::str::from_utf8(reader.bytes(key)?).ok()?;
        let sequence = reader.varint()?;
        Some(Entry { key, sequence, record: reader.0 })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::driver::redb::samples::{any_events, journaled};
    use crate::event::KeyedEvent;
    use proptest::prelude::*;

    fn build(events: &[KeyedEvent]) -> Vec<u8> {
        let mut builder = SegmentBuilder::default();
        builder.begin(9);
        for (_, entry) in journaled(events, 9).entries() {
            builder.push(&entry);
        }
        let mut out = Vec::new();
        builder.finish(&mut out);
        out
    }

    proptest! {
        #[test]
        fn a_segment_reads_back(events in any_events(), long: bool) {
            let mut events = events;
            if long {
                let sample = events[0].clone();
                events.extend(std::iter::repeat_n(sample, 2_000));
            }
            let bytes = build(&events);
            let segment = Segment::read(9, &bytes).unwrap();
            prop_assert_eq!(segment.len(), events.len());
            for (event, position) in events.iter().zip(9..) {
                let entry = segment.at(position).unwrap();
                let mut record = Vec::new();
                event.encode_record(&mut record);
                prop_assert_eq!(entry.key, event.key.as_str());
                prop_assert_eq!(entry.sequence, event.sequence.get());
                prop_assert_eq!(entry.record, &record[..]);
            }
            prop_assert!(segment.at(8).is_none());
            prop_assert!(segment.at(segment.next_position()).is_none());
        }

        #[test]
        fn segments_waste_little_whatever_the_size_of_events(
            data in 100..65_536usize,
            keys in 1..4usize,
            mixed in prop::option::of(100..8_000usize),
        ) {
            let record = vec![b'x'; data.max(mixed.unwrap_or(0))];
            let mut builder = SegmentBuilder::default();
            let (mut out, mut taken, mut payload, mut sizes) = (Vec::new(), 0, 0, Vec::new());
            for n in 0..3_000 {
                let length = mixed.filter(|_| n % 2 == 1).unwrap_or(data);
                let key = format!("aggregate/{}", n % keys);
                let event = Entry { key: &key, sequence: 1 + n as u64, record: &record[..length] };
                if !builder.takes(&event) {
                    builder.finish(&mut out);
                    taken += page_bytes(out.len());
                    builder.begin(n as u64);
                }
                builder.push(&event);
                sizes.push(key.len() + length + 16);
                payload += key.len() + length;
                if payload > 8 << 20 {
                    break;
                }
            }
            builder.finish(&mut out);
            taken += page_bytes(out.len());
            let (ratio, last) = (1.27 * payload as f64, page_bytes(MOST_BYTES) as f64);
            prop_assert!((taken as f64) < ratio + last, "{taken} bytes for {payload}");
            prop_assert!((taken as u64) <= most_page_bytes(sizes.into_iter()));
        }

        #[test]
        fn going_on_with_a_segment_makes_the_same_bytes(
            events in any_events(),
            at: prop::sample::Index,
        ) {
            let cut = at.index(events.len());
            let whole = build(&events);
            let part = build(&events[..cut]);
            let mut builder = SegmentBuilder::default();
            builder.resume(&Segment::read(9, &part).unwrap());
            for (_, entry) in journaled(&events[cut..], 9).entries() {
                builder.push(&entry);
            }
            let mut out = Vec::new();
            builder.finish(&mut out);
            prop_assert_eq!(out, whole);
        }

        #[test]
        fn one_wrong_bit_and_the_wrong_place_are_seen(
            events in any_events(), at: prop::sample::Index, bit in 0..8u8, moved in 10..99u64,
        ) {
            let mut bytes = build(&events);
            prop_assert!(Segment::read(moved, &bytes).is_err());
            let index = at.index(bytes.len());
            bytes[index] ^= 1 << bit;
            prop_assert!(Segment::read(9, &bytes).is_err());
        }
    }
}
