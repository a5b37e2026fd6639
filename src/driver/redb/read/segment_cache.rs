//! Segments read lately, whose checksums were right.
//!
//! An aggregate whose events were written among others' has each of them in another segment, and
//! each of these segments holds events of a dozen other aggregates. A segment from the cache needs
//! no look into redb and no second check of its checksum.
//!
//! ```text
//! position ─▶ places ─▶ slot: first position, next position, bytes
//! ```
//!
//! A segment never changes, except that the last one of the log may grow. What is kept is therefore
//! true, and at most too short. A segment is kept when it is missed for the second time: a history
//! that is read once would pay for memory that it never uses. The cache is bounded in bytes. A
//! segment that was not used since the last round is dropped first (a clock).
//!
//! One lock is taken for many look-ups, and every position has a place of its own. A search for the
//! segment before a position would need fewer places. But without a search, look-ups depend on
//! nothing but memory, and the processor waits for those of a whole history at once. A locked
//! instruction, or the branches of a search, would make it wait for each.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;

use crate::stats::{Count, Stripes};

/// At most two to the power of this many misses are remembered.
const MISSED_BITS: u32 = 16;
/// The places of so many neighbouring positions are kept together.
const CHUNK: usize = 64;
/// The place of a position whose segment is not here.
const NOWHERE: u32 = u32::MAX;
/// What a kept segment takes besides its bytes: its slot, and two chunks if it has no neighbours.
const BESIDES_BYTES: usize = 64 + 2 * (CHUNK * 4 + 64);

pub(in crate::driver::redb) struct SegmentCache {
    kept: RwLock<KeptSegments>,
    /// First positions of segments that were missed lately.
    missed: Vec<AtomicU64>,
    looks: Stripes<Looks>,
}

/// What one thread has counted.
#[derive(Default)]
struct Looks {
    hits: Count,
    misses: Count,
}

/// What is kept. It does not change while a reader holds it.
#[derive(Default)]
pub(in crate::driver::redb) struct KeptSegments {
    places: Places,
    slots: Vec<CacheSlot>,
    /// Slots without a segment.
    free: Vec<u32>,
    /// The slot at which the search for room begins.
    hand: usize,
    bytes: usize,
    limit: usize,
}

/// On a cache line of its own, so that a look-up touches one.
#[derive(Default)]
#[repr(align(64))]
pub(in crate::driver::redb) struct CacheSlot {
    pub(in crate::driver::redb) first_position: u64,
    /// The position behind the last event.
    pub(in crate::driver::redb) next_position: u64,
    pub(in crate::driver::redb) stored: Bytes,
    asked: AtomicBool,
}

impl CacheSlot {
    fn bytes(&self) -> usize {
        match self.stored.len() {
            0 => 0,
            stored => stored + BESIDES_BYTES,
        }
    }

    fn positions(&self) -> Range<u64> {
        self.first_position..self.next_position
    }
}

/// The slot of each position of a kept segment, in chunks like those of a page table. Four bytes
/// for each position, side by side, are found sooner than an entry of a hash map.
#[derive(Default)]
struct Places(HashMap<u64, Box<[u32; CHUNK]>, BuildHasherDefault<Spread>>);

impl Places {
    fn get(&self, position: u64) -> Option<u32> {
        let chunk = self.0.get(&(position / CHUNK as u64))?;
        chunk.get(position as usize % CHUNK).copied().filter(|slot| *slot != NOWHERE)
    }

    fn set(&mut self, positions: Range<u64>, slot: u32) {
        for position in positions {
            let chunk = self.0.entry(position / CHUNK as u64);
            let chunk = chunk.or_insert_with(|| Box::new([NOWHERE; CHUNK]));
            if let Some(place) = chunk.get_mut(position as usize % CHUNK) {
                *place = slot;
            }
        }
    }

    fn clear(&mut self, positions: Range<u64>) {
        self.set(positions.clone(), NOWHERE);
        for number in positions.start / CHUNK as u64..=positions.end / CHUNK as u64 {
            if self.0.get(&number).is_some_and(|chunk| *chunk.as_ref() == [NOWHERE; CHUNK]) {
                self.0.remove(&number);
            }
        }
    }
}

impl SegmentCache {
    pub(in crate::driver::redb) fn new(bytes: usize) -> Self {
        let missed = if bytes == 0 { 0 } else { 1 << MISSED_BITS };
        SegmentCache {
            kept: RwLock::new(KeptSegments { limit: bytes, ..KeptSegments::default() }),
            looks: Stripes::default(),
            missed: std::iter::repeat_with(|| AtomicU64::new(u64::MAX)).take(missed).collect(),
        }
    }

    pub(in crate::driver::redb) fn kept(&self) -> RwLockReadGuard<'_, KeptSegments> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many segments were found here, and so many read from redb. Told once for each page.
    pub(in crate::driver::redb) fn count(&self, hits: u64, misses: u64) {
        self.looks.count(|looks, owner| {
            looks.hits.add(hits, owner);
            looks.misses.add(misses, owner);
        });
    }

    /// Bytes kept, hits and misses.
    pub(in crate::driver::redb) fn figures(&self) -> (u64, u64, u64) {
        let bytes = self.kept().bytes as u64;
        let looks = &self.looks;
        (bytes, looks.sum(|looks| looks.hits.get()), looks.sum(|looks| looks.misses.get()))
    }

    /// Notes that the segment which begins with `first` was missed. Returns whether it was missed
    /// before, lately, and should be kept.
    pub(in crate::driver::redb) fn missed_before(&self, first: u64) -> bool {
        let place = Spread::of(first) >> (u64::BITS - MISSED_BITS);
        let place = self.missed.get(place as usize);
        place.is_some_and(|place| place.swap(first, Ordering::Relaxed) == first)
    }

    /// Keeps a segment whose checksum was found right.
    pub(in crate::driver::redb) fn keep(
        &self,
        first_position: u64,
        next_position: u64,
        stored: Bytes,
    ) {
        let asked = AtomicBool::new(false);
        let slot = CacheSlot { first_position, next_position, stored, asked };
        self.kept.write().unwrap_or_else(PoisonError::into_inner).insert(slot);
    }
}

impl KeptSegments {
    /// The segment that holds `position`, if it is here.
    pub(in crate::driver::redb) fn find(&self, position: u64) -> Option<&CacheSlot> {
        let slot = self.slots.get(self.places.get(position)? as usize)?;
        // Written once in a round of the clock, because what is only read can stay in the caches
        // of all processors.
        if !slot.asked.load(Ordering::Relaxed) {
            slot.asked.store(true, Ordering::Relaxed);
        }
        Some(slot)
    }

    fn insert(&mut self, fresh: CacheSlot) {
        if fresh.bytes() > self.limit {
            return;
        }
        if let Some(place) = self.places.get(fresh.first_position) {
            if self
                .slots
                .get(place as usize)
                .is_some_and(|s| s.next_position >= fresh.next_position)
            {
                return;
            }
            self.remove(place);
        }
        self.make_room(self.limit - fresh.bytes());
        let place = self.free.pop().unwrap_or(self.slots.len() as u32);
        self.bytes += fresh.bytes();
        self.places.set(fresh.positions(), place);
        match self.slots.get_mut(place as usize) {
            Some(slot) => *slot = fresh,
            None => self.slots.push(fresh),
        }
    }

    fn make_room(&mut self, limit: usize) {
        while self.bytes > limit {
            let place = self.hand;
            self.hand = (place + 1) % self.slots.len().max(1);
            let Some(slot) = self.slots.get_mut(place) else { return };
            if !slot.stored.is_empty() && !std::mem::take(slot.asked.get_mut()) {
                self.remove(place as u32);
            }
        }
    }

    fn remove(&mut self, place: u32) {
        let Some(slot) = self.slots.get_mut(place as usize).map(std::mem::take) else { return };
        self.bytes -= slot.bytes();
        self.places.clear(slot.positions());
        self.free.push(place);
    }
}

/// Fibonacci hashing: positions are dense, and nobody chooses them to collide.
#[derive(Default)]
struct Spread(u64);

impl Spread {
    fn of(number: u64) -> u64 {
        number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = Self::of(self.0 ^ number);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Offers a segment of so many events, and of 500 bytes for each.
    fn offer(cache: &SegmentCache, first: u64, events: u64) {
        if cache.missed_before(first) {
            cache.keep(first, first + events, vec![events as u8; events as usize * 500].into());
        }
    }

    fn find(cache: &SegmentCache, position: u64) -> Option<(u64, u64)> {
        cache.kept().find(position).map(|slot| {
            assert!(
                slot.stored
                    .iter()
                    .all(|b| u64::from(*b) == slot.next_position - slot.first_position)
            );
            (slot.first_position, slot.next_position)
        })
    }

    #[test]
    fn a_segment_is_kept_when_it_was_missed_twice() {
        let cache = SegmentCache::new(1 << 20);
        offer(&cache, 10, 5);
        assert!(find(&cache, 12).is_none(), "kept at once");
        offer(&cache, 10, 5);
        for position in 10..15 {
            assert_eq!(find(&cache, position), Some((10, 15)));
        }
        assert!(find(&cache, 9).is_none() && find(&cache, 15).is_none());
    }

    #[test]
    fn a_segment_that_has_grown_takes_the_place_of_what_it_was() {
        let cache = SegmentCache::new(1 << 20);
        for events in [5, 5, 7, 7, 5, 5] {
            offer(&cache, 10, events);
        }
        assert_eq!(find(&cache, 16), Some((10, 17)));
        assert_eq!(find(&cache, 10), Some((10, 17)), "an older snapshot's took its place");
        assert_eq!(cache.kept().slots.len(), 1);
    }

    #[test]
    fn it_stays_within_its_bytes_and_keeps_what_is_asked_for() {
        let limit = 40_000;
        let cache = SegmentCache::new(limit);
        for first in (64..64 * 2_000).step_by(64) {
            for _ in 0..2 {
                offer(&cache, first, 1 + first / 64 % 7);
            }
            assert_eq!(find(&cache, 64).unwrap().0, 64, "gone, though it was asked for");
        }
        let kept = cache.kept();
        assert_eq!(kept.bytes, kept.slots.iter().map(CacheSlot::bytes).sum::<usize>());
        assert!(kept.bytes <= limit && kept.bytes > limit / 2);
        let found =
            kept.places.0.values().flat_map(|c| c.iter()).filter(|p| **p != NOWHERE).count();
        let events: u64 = kept.slots.iter().map(|s| s.next_position - s.first_position).sum();
        assert_eq!(found as u64, events);
        assert!(kept.places.0.len() <= 2 * kept.slots.len(), "empty chunks stay");
    }

    #[test]
    fn none_is_kept_where_there_is_no_room() {
        for cache in [SegmentCache::new(0), SegmentCache::new(1_000)] {
            for _ in 0..3 {
                offer(&cache, 10, 5);
            }
            assert!(find(&cache, 10).is_none());
        }
    }
}
