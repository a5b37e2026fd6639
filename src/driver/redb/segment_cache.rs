//! Segments read lately, whose checksums were right.
//!
//! An aggregate whose events were written among others' has them in as many segments, and each of these
//! holds events of a dozen other aggregates that are read in their turn. A segment from here costs
//! neither a look into redb nor its checksum again.
//!
//! A segment never changes, except that the last one of the log may grow; so what is kept is true, and at
//! most too short. It is kept when it is missed for the second time, because a history that is read once
//! would pay for memory it never uses. Bounded in bytes; what was not asked for since the last round goes
//! first (a clock).

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

use super::segment::Segment;

/// So many positions side by side are in one shard; a segment that lies across shards is kept in each in
/// which it was asked for.
const SHARD_POSITIONS: u64 = 64;
const SHARDS: usize = 64;
/// A shard remembers two to the power of this many misses.
const MISSED_BITS: u32 = 10;
/// What an entry takes besides its segment.
const ENTRY_BYTES: usize = 128;

pub(super) struct SegmentCache {
    shards: Vec<RwLock<Shard>>,
    shard_bytes: usize,
}

#[derive(Default)]
struct Shard {
    segments: BTreeMap<u64, Cached>,
    /// First positions in the order in which they are looked at when room is needed.
    clock: VecDeque<u64>,
    /// First positions of segments that were missed lately.
    missed: Vec<u64>,
    bytes: usize,
}

struct Cached {
    stored: Bytes,
    next_position: u64,
    asked: AtomicBool,
}

impl SegmentCache {
    pub(super) fn new(bytes: usize) -> Self {
        let shards = std::iter::repeat_with(RwLock::default).take(SHARDS).collect();
        SegmentCache { shards, shard_bytes: bytes / SHARDS }
    }

    fn shard(&self, position: u64) -> Option<&RwLock<Shard>> {
        self.shards.get((position / SHARD_POSITIONS) as usize % SHARDS)
    }

    /// Hands over the segment that holds `position`, with its first position, if it is here.
    pub(super) fn with<T>(&self, position: u64, read: impl FnOnce(u64, &Bytes) -> T) -> Option<T> {
        let shard = self.shard(position)?.read().unwrap_or_else(PoisonError::into_inner);
        let (first, cached) = shard.segments.range(..=position).next_back()?;
        if position >= cached.next_position {
            return None;
        }
        if !cached.asked.load(Ordering::Relaxed) {
            cached.asked.store(true, Ordering::Relaxed);
        }
        Some(read(*first, &cached.stored))
    }

    /// Keeps a segment that was missed here before, in which `position` was asked for.
    pub(super) fn offer(&self, position: u64, segment: &Segment<'_>, stored: &[u8]) {
        let bytes = stored.len() + ENTRY_BYTES;
        let Some(shard) = self.shard(position).filter(|_| bytes <= self.shard_bytes) else {
            return;
        };
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        let first = segment.first_position();
        if !shard.missed_before(first) {
            return;
        }
        let stored = Bytes::copy_from_slice(stored);
        let next_position = segment.next_position();
        let cached = Cached { stored, next_position, asked: AtomicBool::new(false) };
        shard.make_room(self.shard_bytes - bytes);
        shard.bytes += bytes;
        match shard.segments.insert(first, cached) {
            Some(before) => shard.bytes -= before.stored.len() + ENTRY_BYTES,
            None => shard.clock.push_back(first),
        }
    }
}

impl Shard {
    /// Notes the miss; whether the segment was missed lately already.
    fn missed_before(&mut self, first: u64) -> bool {
        if self.missed.is_empty() {
            self.missed.resize(1 << MISSED_BITS, u64::MAX);
        }
        // A shard's positions are far from evenly spread; Fibonacci hashing spreads them.
        let place = first.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - MISSED_BITS);
        let place = self.missed.get_mut(place as usize);
        place.is_some_and(|place| std::mem::replace(place, first) == first)
    }

    fn make_room(&mut self, limit: usize) {
        while self.bytes > limit {
            let Some(first) = self.clock.pop_front() else { return };
            let Some(cached) = self.segments.get_mut(&first) else { continue };
            if std::mem::take(cached.asked.get_mut()) {
                self.clock.push_back(first);
                continue;
            }
            self.bytes -= cached.stored.len() + ENTRY_BYTES;
            self.segments.remove(&first);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::driver::redb::samples::{journaled, sample_event};
    use crate::driver::redb::segment::Builder;

    /// A segment of `events` events at `first`.
    fn stored(first: u64, events: usize) -> Vec<u8> {
        let (mut builder, mut out) = (Builder::default(), Vec::new());
        builder.begin(first);
        for (_, entry) in journaled(&vec![sample_event(); events], first).entries() {
            builder.push(&entry);
        }
        builder.finish(&mut out);
        out
    }

    fn offer(cache: &SegmentCache, position: u64, first: u64, stored: &[u8]) {
        cache.offer(position, &Segment::read(first, stored).unwrap(), stored);
    }

    fn find(cache: &SegmentCache, position: u64) -> Option<(u64, Bytes)> {
        cache.with(position, |first, stored| (first, stored.clone()))
    }

    #[test]
    fn a_segment_is_kept_when_it_was_missed_twice() {
        let cache = SegmentCache::new(1 << 20);
        let bytes = stored(10, 5);
        offer(&cache, 12, 10, &bytes);
        assert!(find(&cache, 12).is_none(), "kept at once");
        offer(&cache, 13, 10, &bytes);
        for position in 10..15 {
            assert_eq!(find(&cache, position), Some((10, bytes.clone().into())));
        }
        assert!(find(&cache, 9).is_none() && find(&cache, 15).is_none());
    }

    #[test]
    fn a_segment_that_has_grown_takes_the_place_of_what_it_was() {
        let cache = SegmentCache::new(1 << 20);
        let (before, after) = (stored(10, 5), stored(10, 7));
        for bytes in [&before, &before, &after, &after] {
            offer(&cache, 11, 10, bytes);
        }
        assert_eq!(find(&cache, 16), Some((10, after.into())));
    }

    #[test]
    fn it_stays_within_its_bytes_and_keeps_what_is_asked_for() {
        let (cache, limit) = (SegmentCache::new(64 * 8_192), 8_192);
        for first in (64..64 * 2_000).step_by(64) {
            let bytes = stored(first, 6);
            offer(&cache, first, first, &bytes);
            offer(&cache, first, first, &bytes);
            assert_eq!(find(&cache, 64).unwrap().0, 64, "gone, though it was asked for");
        }
        for shard in &cache.shards {
            let shard = shard.read().unwrap();
            let held: usize = shard.segments.values().map(|c| c.stored.len() + ENTRY_BYTES).sum();
            assert_eq!(held, shard.bytes);
            assert!(shard.bytes <= limit && shard.clock.len() == shard.segments.len());
        }
    }

    #[test]
    fn none_is_kept_where_there_is_no_room() {
        let cache = SegmentCache::new(0);
        for _ in 0..3 {
            offer(&cache, 10, 10, &stored(10, 5));
        }
        assert!(find(&cache, 10).is_none());
    }
}
