//! The index's block: where an aggregate's events stand in the log.
//!
//! An aggregate's events are dense in sequence, so a block needs its first sequence and then
//! positions only, as runs of neighbours: an append of a thousand events is one run, and a lone
//! event among others' costs about three bytes. All numbers but the checksum are varints:
//!
//! ```text
//! version (2) · checksum u32 · first sequence · runs
//! · per run: gap × 2 + (1 if longer than one event) [· length - 2]
//! ```
//!
//! The first gap is the first position; every other counts from the position behind the run before.
//! The checksum covers the aggregate's key and what follows the checksum. A block of version 1 has
//! none; it is still read, and written as version 2 with the next event of its aggregate.

use crate::driver::redb::format::codec::{Reader, put_varint};
use crate::driver::redb::format::sealed;

/// A block has at most so many runs, because an append to the aggregate rewrites its last block.
const MAX_RUNS: usize = 256;
const VERSION: u8 = 2;
const WITHOUT_CHECKSUM: u8 = 1;
const CHECKSUM_BYTES: usize = size_of::<u32>();

/// The lower half is enough for a value of some hundred bytes, and the index has many.
fn checksum(key: &str, content: &[u8]) -> u32 {
    sealed::checksum(key.as_bytes(), content) as u32
}

/// Neighbouring positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver::redb) struct PositionRun {
    pub(in crate::driver::redb) first: u64,
    pub(in crate::driver::redb) events: u64,
}

/// Consecutive events of one aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::driver::redb) struct Block {
    first_sequence: u64,
    events: u64,
    runs: Vec<PositionRun>,
}

impl Block {
    pub(in crate::driver::redb) fn new(first_sequence: u64) -> Self {
        Block { first_sequence, events: 0, runs: Vec::new() }
    }

    pub(in crate::driver::redb) fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    /// The sequence behind the last event.
    pub(in crate::driver::redb) fn next_sequence(&self) -> u64 {
        self.first_sequence + self.events
    }

    /// Adds the next event's position. Returns false, and changes nothing, if the block is full.
    pub(in crate::driver::redb) fn push(&mut self, position: u64) -> bool {
        let full = self.runs.len() >= MAX_RUNS;
        match self.runs.last_mut() {
            Some(last) if last.first + last.events == position => last.events += 1,
            _ if full => return false,
            _ => self.runs.push(PositionRun { first: position, events: 1 }),
        }
        self.events += 1;
        true
    }

    /// The positions of the sequences `low..=high`, as runs in ascending order.
    pub(in crate::driver::redb) fn positions(
        &self,
        low: u64,
        high: u64,
    ) -> impl Iterator<Item = PositionRun> + '_ {
        let mut sequence = self.first_sequence;
        self.runs.iter().filter_map(move |run| {
            let (first, next) = (sequence, sequence + run.events);
            sequence = next;
            let (from, to) = (low.max(first), high.saturating_add(1).min(next));
            (from < to)
                .then(|| PositionRun { first: run.first + (from - first), events: to - from })
        })
    }

    pub(in crate::driver::redb) fn encode(&self, key: &str, out: &mut Vec<u8>) {
        out.clear();
        out.push(VERSION);
        out.extend_from_slice(&[0; CHECKSUM_BYTES]);
        put_varint(self.first_sequence, out);
        put_varint(self.runs.len() as u64, out);
        let mut next = 0;
        for run in &self.runs {
            put_varint((run.first - next) << 1 | u64::from(run.events > 1), out);
            if run.events > 1 {
                put_varint(run.events - 2, out);
            }
            next = run.first + run.events;
        }
        if let Some((head, content)) = out.split_at_mut_checked(1 + CHECKSUM_BYTES)
            && let Some(place) = head.get_mut(1..)
        {
            place.copy_from_slice(&checksum(key, content).to_le_bytes());
        }
    }

    /// The block that was stored for this aggregate; `None` where the bytes are none.
    pub(in crate::driver::redb) fn decode(key: &str, bytes: &[u8]) -> Option<Block> {
        let mut reader = Reader(bytes);
        match reader.u8()? {
            VERSION if reader.u32()? == checksum(key, reader.0) => {}
            WITHOUT_CHECKSUM => {}
            _ => return None,
        }
        let mut block = Block::new(reader.varint()?);
        let runs = reader.varint()?;
        if runs > MAX_RUNS as u64 || block.first_sequence == 0 {
            return None;
        }
        block.runs.reserve_exact(runs as usize);
        let mut next = 0u64;
        for _ in 0..runs {
            let gap = reader.varint()?;
            let events = if gap & 1 == 1 { reader.varint()?.checked_add(2)? } else { 1 };
            let first = next.checked_add(gap >> 1)?;
            next = first.checked_add(events)?;
            block.events = block.events.checked_add(events)?;
            block.runs.push(PositionRun { first, events });
        }
        block.first_sequence.checked_add(block.events)?;
        reader.0.is_empty().then_some(block)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_block() -> impl Strategy<Value = (Block, Vec<u64>)> {
        let steps = prop::collection::vec(prop_oneof![Just(1u64), 1..5_000u64], 1..400);
        (1..1_000_000u64, 1..1_000_000u64, steps).prop_map(|(first_sequence, first, steps)| {
            let mut block = Block::new(first_sequence);
            let mut positions = Vec::new();
            let mut position = first;
            for step in steps {
                if !block.push(position) {
                    break;
                }
                positions.push(position);
                position += step;
            }
            (block, positions)
        })
    }

    proptest! {
        #[test]
        fn a_block_reads_back((block, positions) in any_block()) {
            let mut bytes = Vec::new();
            block.encode("a", &mut bytes);
            prop_assert_eq!(Block::decode("a", &bytes), Some(block.clone()));
            prop_assert_eq!(Block::decode("b", &bytes), None);
            prop_assert_eq!(block.next_sequence(), block.first_sequence() + positions.len() as u64);
        }

        #[test]
        fn any_flipped_bit_is_damage(
            (block, _) in any_block(),
            at: prop::sample::Index,
            bit in 0..8u8,
        ) {
            let mut bytes = Vec::new();
            block.encode("a", &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Block::decode("a", &bytes), None);
        }

        #[test]
        fn any_range_of_sequences_is_found(
            (block, positions) in any_block(),
            a: prop::sample::Index,
            b: prop::sample::Index,
        ) {
            let (a, b) = (a.index(positions.len()), b.index(positions.len()));
            let (a, b) = (a.min(b), a.max(b));
            let first = block.first_sequence();
            let found: Vec<u64> = block
                .positions(first + a as u64, first + b as u64)
                .flat_map(|run| run.first..run.first + run.events)
                .collect();
            prop_assert_eq!(&found, &positions[a..=b]);
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>) {
            if let Some(block) = Block::decode("a", &bytes) {
                let _ = block.positions(1, u64::MAX).count();
            }
        }
    }
}
