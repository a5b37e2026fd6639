//! The delta: what a batch adds to the index, until it is merged into the index's blocks.
//!
//! A delta is kept in redb, sealed, under its first position, and in memory as it is here: keys in
//! order, each with its additions, side by side. It never changes. All stored numbers are varints:
//!
//! ```text
//! events · per aggregate: key length · key · additions · first sequence
//!          · per addition: gap · events
//! ```
//!
//! The first gap counts from the delta's first position, each other from the end of the addition
//! before. Within a delta an aggregate's additions follow one another in sequence.

use twox_hash::XxHash3_64;

use crate::driver::redb::format::codec::{Reader, put_varint};
use crate::driver::redb::format::sealed;

/// A filter has about so many bits for each key: one in fifty keys that are not there passes.
const FILTER_BITS: usize = 16;

/// Neighbouring events of one aggregate that are new in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver::redb) struct Addition {
    pub(in crate::driver::redb) first_sequence: u64,
    pub(in crate::driver::redb) first_position: u64,
    pub(in crate::driver::redb) events: u64,
}

impl Addition {
    /// The sequence behind the last event.
    pub(in crate::driver::redb) fn next_sequence(&self) -> u64 {
        self.first_sequence + self.events
    }

    fn next_position(&self) -> u64 {
        self.first_position + self.events
    }

    /// What has sequences in `low..=high`.
    fn between(&self, low: u64, high: u64) -> Option<Addition> {
        let first_sequence = self.first_sequence.max(low);
        let next = self.next_sequence().min(high.saturating_add(1));
        let events = next.checked_sub(first_sequence).filter(|events| *events > 0)?;
        let first_position = self.first_position + (first_sequence - self.first_sequence);
        Some(Addition { first_sequence, first_position, events })
    }
}

/// An addition in sixteen bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PackedAddition {
    first_sequence: u64,
    /// From the delta's first position.
    offset: u32,
    events: u32,
}

/// Where an aggregate's key and additions end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MemberEnd {
    key: u32,
    additions: u32,
}

/// What one batch adds, or several that follow one another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::driver::redb) struct Delta {
    first_position: u64,
    events: u64,
    keys: String,
    members: Vec<MemberEnd>,
    additions: Vec<PackedAddition>,
    /// Bits that the hashes of the keys set, so that most other keys need no search.
    filter: Vec<u64>,
}

/// The additions to one aggregate.
#[derive(Clone, Copy)]
pub(in crate::driver::redb) struct MemberAdditions<'a> {
    first_position: u64,
    packed: &'a [PackedAddition],
}

impl<'a> MemberAdditions<'a> {
    pub(in crate::driver::redb) fn iter(self) -> impl DoubleEndedIterator<Item = Addition> + 'a {
        self.packed.iter().map(move |packed| Addition {
            first_sequence: packed.first_sequence,
            first_position: self.first_position + u64::from(packed.offset),
            events: u64::from(packed.events),
        })
    }

    pub(in crate::driver::redb) fn first_sequence(self) -> u64 {
        self.packed.first().map_or(0, |first| first.first_sequence)
    }

    /// The sequence behind the last event.
    pub(in crate::driver::redb) fn next_sequence(self) -> u64 {
        self.packed.last().map_or(0, |last| last.first_sequence + u64::from(last.events))
    }

    /// What has sequences in `low..=high`, found without a look at all.
    pub(in crate::driver::redb) fn between(
        self,
        low: u64,
        high: u64,
    ) -> impl DoubleEndedIterator<Item = Addition> + 'a {
        let from = self.packed.partition_point(|p| p.first_sequence + u64::from(p.events) <= low);
        let to = self.packed.partition_point(|p| p.first_sequence <= high).max(from);
        let packed = self.packed.get(from..to).unwrap_or_default();
        MemberAdditions { packed, ..self }.iter().filter_map(move |a| a.between(low, high))
    }
}

/// What looks for a key in a filter.
#[derive(Clone, Copy)]
pub(in crate::driver::redb) struct KeyHash(u64);

impl KeyHash {
    pub(in crate::driver::redb) fn of(key: &str) -> Self {
        KeyHash(XxHash3_64::oneshot(key.as_bytes()))
    }

    /// Three bits of one word.
    fn bits(self) -> u64 {
        1 << (self.0 & 63) | 1 << (self.0 >> 6 & 63) | 1 << (self.0 >> 12 & 63)
    }

    fn word(self, words: usize) -> usize {
        (self.0 >> 18) as usize % words.max(1)
    }
}

impl Delta {
    /// A delta without events, which begins at this position.
    pub(in crate::driver::redb) fn at(first_position: u64) -> Self {
        Delta { first_position, ..Delta::default() }
    }

    /// Adds to the aggregate `key`, which is the last one or one behind it. `None` where an
    /// addition does not follow the one before it.
    pub(in crate::driver::redb) fn push(
        &mut self,
        key: &str,
        additions: impl Iterator<Item = Addition>,
    ) -> Option<()> {
        if self.members.last().is_none() || self.key(self.members.len() - 1) != Some(key) {
            self.keys.push_str(key);
            let end = u32::try_from(self.keys.len()).ok()?;
            self.members.push(MemberEnd { key: end, additions: self.additions.len() as u32 });
        }
        let begin = match self.members.len().checked_sub(2) {
            Some(before) => self.members.get(before)?.additions as usize,
            None => 0,
        };
        for addition in additions {
            let offset = addition.first_position.checked_sub(self.first_position)?;
            let (offset, events) =
                (u32::try_from(offset).ok()?, u32::try_from(addition.events).ok()?);
            self.events += addition.events;
            let is_first = self.additions.len() == begin;
            if let Some(last) = self.additions.last_mut().filter(|_| !is_first) {
                let next = u64::from(last.offset) + u64::from(last.events);
                let next_sequence = last.first_sequence + u64::from(last.events);
                if addition.first_sequence != next_sequence || u64::from(offset) < next {
                    return None;
                }
                let joined = last.events.checked_add(events);
                if let Some(joined) = joined.filter(|_| u64::from(offset) == next) {
                    last.events = joined;
                    continue;
                }
            }
            let first_sequence = addition.first_sequence;
            self.additions.push(PackedAddition { first_sequence, offset, events });
        }
        self.members.last_mut()?.additions = u32::try_from(self.additions.len()).ok()?;
        Some(())
    }

    /// Fills the filter, after the last aggregate.
    pub(in crate::driver::redb) fn finish(mut self) -> Self {
        self.filter = vec![0; (self.members.len() * FILTER_BITS).div_ceil(64)];
        let words = self.filter.len();
        for number in 0..self.members.len() {
            let hash = self.key(number).map(KeyHash::of);
            if let Some(hash) = hash
                && let Some(word) = self.filter.get_mut(hash.word(words))
            {
                *word |= hash.bits();
            }
        }
        self
    }

    /// Two deltas as one. `None` where `newer` does not follow `older`.
    pub(in crate::driver::redb) fn join(older: &Delta, newer: &Delta) -> Option<Delta> {
        if older.next_position() != newer.first_position {
            return None;
        }
        let mut joined = Delta::at(older.first_position);
        let (mut a, mut b) = (0, 0);
        loop {
            let (left, right) = (older.key(a), newer.key(b));
            let (takes_left, takes_right) = match (left, right) {
                (None, None) => return Some(joined.finish()),
                (Some(left), Some(right)) => (left <= right, right <= left),
                (left, right) => (left.is_some(), right.is_some()),
            };
            if let Some(key) = left.filter(|_| takes_left) {
                joined.push(key, older.additions(a).iter())?;
                a += 1;
            }
            if let Some(key) = right.filter(|_| takes_right) {
                joined.push(key, newer.additions(b).iter())?;
                b += 1;
            }
        }
    }

    pub(in crate::driver::redb) fn first_position(&self) -> u64 {
        self.first_position
    }

    /// The position behind the last event.
    pub(in crate::driver::redb) fn next_position(&self) -> u64 {
        self.first_position + self.events
    }

    /// How many aggregates it adds to.
    pub(in crate::driver::redb) fn len(&self) -> usize {
        self.members.len()
    }

    /// The memory it takes.
    pub(in crate::driver::redb) fn bytes(&self) -> usize {
        self.keys.capacity()
            + self.members.capacity() * size_of::<MemberEnd>()
            + self.additions.capacity() * size_of::<PackedAddition>()
            + self.filter.capacity() * size_of::<u64>()
    }

    /// The key of the aggregate with this number, in key order.
    pub(in crate::driver::redb) fn key(&self, number: usize) -> Option<&str> {
        let end = self.members.get(number)?.key as usize;
        let start = match number.checked_sub(1) {
            Some(before) => self.members.get(before)?.key as usize,
            None => 0,
        };
        self.keys.get(start..end)
    }

    /// What is added to that aggregate.
    pub(in crate::driver::redb) fn additions(&self, number: usize) -> MemberAdditions<'_> {
        let end = self.members.get(number).map_or(0, |member| member.additions as usize);
        let before = number.checked_sub(1).and_then(|before| self.members.get(before));
        let start = before.map_or(0, |member| member.additions as usize);
        let packed = self.additions.get(start..end).unwrap_or_default();
        MemberAdditions { first_position: self.first_position, packed }
    }

    /// The number of the first aggregate that does not stand before `key`.
    pub(in crate::driver::redb) fn number_from(&self, key: &str) -> usize {
        let (mut low, mut high) = (0, self.members.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.key(middle).is_some_and(|found| found < key) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// What is added to the aggregate `key`, which has this hash.
    pub(in crate::driver::redb) fn find(
        &self,
        key: &str,
        hash: KeyHash,
    ) -> Option<MemberAdditions<'_>> {
        let word = self.filter.get(hash.word(self.filter.len()))?;
        if word & hash.bits() != hash.bits() {
            return None;
        }
        let number = self.number_from(key);
        (self.key(number)? == key).then(|| self.additions(number))
    }

    /// As it is stored under its first position.
    pub(in crate::driver::redb) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.keys.len() + 8 * self.additions.len());
        put_varint(self.events, &mut out);
        for number in 0..self.len() {
            let (key, additions) = (self.key(number).unwrap_or_default(), self.additions(number));
            put_varint(key.len() as u64, &mut out);
            out.extend_from_slice(key.as_bytes());
            put_varint(additions.packed.len() as u64, &mut out);
            put_varint(additions.first_sequence(), &mut out);
            let mut next = self.first_position;
            for addition in additions.iter() {
                put_varint(addition.first_position - next, &mut out);
                put_varint(addition.events, &mut out);
                next = addition.next_position();
            }
        }
        sealed::seal(&self.first_position.to_le_bytes(), &out)
    }

    /// The delta that was stored under `first_position`; `None` where the bytes are none.
    pub(in crate::driver::redb) fn decode(first_position: u64, stored: &[u8]) -> Option<Delta> {
        Delta::read(first_position, sealed::unseal(&first_position.to_le_bytes(), stored)?)
    }

    fn read(first_position: u64, content: &[u8]) -> Option<Delta> {
        let mut reader = Reader(content);
        let events = reader.varint()?;
        first_position.checked_add(events).filter(|_| events <= u64::from(u32::MAX))?;
        let mut delta = Delta::at(first_position);
        while !reader.0.is_empty() {
            let length = usize::try_from(reader.varint()?).ok()?;
            let key = std::str::from_utf8(reader.bytes(length)?).ok()?;
            let is_next = delta.len().checked_sub(1).is_none_or(|l| delta.key(l) < Some(key));
            let additions = reader.varint()?;
            let mut first_sequence = reader.varint()?;
            if key.is_empty() || !is_next || additions == 0 || first_sequence == 0 {
                return None;
            }
            let mut next = first_position;
            for _ in 0..additions {
                let first_position = next.checked_add(reader.varint()?)?;
                let events = reader.varint()?;
                next = first_position.checked_add(events).filter(|_| events > 0)?;
                let addition = Addition { first_sequence, first_position, events };
                first_sequence = first_sequence.checked_add(events)?;
                delta.push(key, std::iter::once(addition))?;
            }
            if next > delta.first_position + events || delta.events > events {
                return None;
            }
        }
        (delta.events == events && events > 0).then(|| delta.finish())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    /// The position of each event, by key and sequence.
    type Places = BTreeMap<(String, u64), u64>;

    /// Deltas of so many events each, which follow one another, and what they must say.
    fn deltas(sizes: &[usize], mut keys: impl Iterator<Item = u8>) -> (Vec<Delta>, Places) {
        let (mut latest, mut places, mut position) = (BTreeMap::new(), Places::new(), 7);
        let deltas = sizes.iter().map(|size| {
            let mut additions: BTreeMap<String, Vec<Addition>> = BTreeMap::new();
            let first = position;
            for key in keys.by_ref().take(*size) {
                let key = format!("account/{key}");
                // An aggregate that came before the first delta has events already.
                let sequence = latest.entry(key.clone()).or_insert(u64::from(key.len() > 9) * 4);
                *sequence += 1;
                places.insert((key.clone(), *sequence), position);
                let first_sequence = *sequence;
                let addition = Addition { first_sequence, first_position: position, events: 1 };
                additions.entry(key).or_default().push(addition);
                position += 1;
            }
            let mut delta = Delta::at(first);
            for (key, additions) in additions {
                delta.push(&key, additions.into_iter()).unwrap();
            }
            delta.finish()
        });
        (deltas.collect(), places)
    }

    fn any_keys() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![0..4u8, any::<u8>()], 3..200)
    }

    fn places(delta: &Delta) -> Places {
        let members = 0..delta.len();
        members
            .flat_map(|number| {
                let key = delta.key(number).unwrap();
                assert_eq!(delta.number_from(key), number);
                let additions = delta.find(key, KeyHash::of(key)).unwrap();
                additions.iter().flat_map(move |a| {
                    (0..a.events).map(move |n| {
                        ((key.to_owned(), a.first_sequence + n), a.first_position + n)
                    })
                })
            })
            .collect()
    }

    proptest! {
        #[test]
        fn a_delta_reads_back_under_its_own_position_only(keys in any_keys()) {
            let (deltas, expected) = deltas(&[keys.len()], keys.into_iter());
            let stored = deltas[0].encode();
            let read = Delta::decode(7, &stored).unwrap();
            prop_assert_eq!(&read.encode(), &stored);
            prop_assert_eq!(places(&read), expected);
            prop_assert!(Delta::decode(8, &stored).is_none());
            prop_assert!(read.find("account/", KeyHash::of("account/")).is_none());
        }

        #[test]
        fn joined_deltas_say_what_each_said(keys in any_keys(), at: prop::sample::Index) {
            let first = 1 + at.index(keys.len() - 1);
            let sizes = [first, keys.len() - first];
            let (deltas, expected) = deltas(&sizes, keys.into_iter());
            let joined = Delta::join(&deltas[0], &deltas[1]).unwrap();
            prop_assert_eq!(places(&joined), expected);
            prop_assert!(Delta::join(&deltas[1], &deltas[0]).is_none());
        }

        #[test]
        fn any_range_of_sequences_is_found(keys in any_keys(), low in 0..60u64, more in 0..60u64) {
            let (deltas, expected) = deltas(&[keys.len()], keys.into_iter());
            for number in 0..deltas[0].len() {
                let key = deltas[0].key(number).unwrap();
                let found: Vec<u64> = deltas[0]
                    .additions(number)
                    .between(low, low + more)
                    .flat_map(|a| a.first_position..a.first_position + a.events)
                    .collect();
                let range = (key.to_owned(), low)..=(key.to_owned(), low + more);
                let expected: Vec<u64> = expected.range(range).map(|(_, place)| *place).collect();
                prop_assert_eq!(found, expected);
            }
        }

        #[test]
        fn any_flipped_bit_is_damage(keys in any_keys(), at: prop::sample::Index, bit in 0..8u8) {
            let mut stored = deltas(&[keys.len()], keys.into_iter()).0[0].encode();
            let at = at.index(stored.len());
            stored[at] ^= 1 << bit;
            prop_assert!(Delta::decode(7, &stored).is_none());
        }
    }

    #[test]
    fn an_addition_that_does_not_follow_is_refused() {
        let addition =
            |first_sequence, first_position| Addition { first_sequence, first_position, events: 1 };
        for (second, follows) in [((2, 9), true), ((3, 9), false), ((1, 9), false), ((2, 7), false)]
        {
            let additions = [addition(1, 8), addition(second.0, second.1)];
            let pushed = Delta::at(7).push("a", additions.into_iter());
            assert_eq!(pushed.is_some(), follows, "{second:?}");
        }
    }

    #[test]
    fn nearly_all_keys_that_are_not_there_pass_no_filter() {
        let (deltas, _) = deltas(&[250], 0..250);
        let others = (0..10_000).map(|n| format!("order/{n}"));
        let words = deltas[0].filter.len();
        let passed = others.filter(|key| {
            let hash = KeyHash::of(key);
            deltas[0].filter[hash.word(words)] & hash.bits() == hash.bits()
        });
        let passed = passed.count();
        assert!(passed < 500, "{passed} of 10,000 passed");
    }
}
