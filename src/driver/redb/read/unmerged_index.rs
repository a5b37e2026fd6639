//! The part of the index that is not merged yet: deltas, looked through beside the blocks.
//!
//! An event's position never changes, so it does not matter whether the blocks have it too: a
//! reader takes from the deltas what has a sequence that the blocks do not reach.

use std::sync::Arc;

use crate::driver::redb::format::delta::{Delta, KeyHash, MemberAdditions};

/// What the blocks do not have.
#[derive(Clone, Default)]
pub(in crate::driver::redb) struct UnmergedIndex {
    /// In position order. Each begins where the one before ends.
    pub(in crate::driver::redb) deltas: Vec<Arc<Delta>>,
    /// So many aggregates have no block.
    pub(in crate::driver::redb) new_aggregates: u64,
}

impl UnmergedIndex {
    /// What is added to the aggregate, the oldest first.
    pub(in crate::driver::redb) fn additions<'a>(
        &'a self,
        key: &'a str,
    ) -> impl DoubleEndedIterator<Item = MemberAdditions<'a>> {
        let hash = (!self.deltas.is_empty()).then(|| KeyHash::of(key));
        self.deltas.iter().filter_map(move |delta| delta.find(key, hash?))
    }

    /// The sequence behind the aggregate's latest event, if a delta has it.
    pub(in crate::driver::redb) fn next_sequence(&self, key: &str) -> Option<u64> {
        self.additions(key).next_back().map(MemberAdditions::next_sequence)
    }

    /// The position of an event, if a delta has it.
    pub(in crate::driver::redb) fn position(&self, key: &str, sequence: u64) -> Option<u64> {
        self.additions(key).find_map(|additions| {
            additions.between(sequence, sequence).next().map(|found| found.first_position)
        })
    }

    /// The first `limit` keys, in order, of aggregates whose first event is in a delta; from `from`
    /// on, with this prefix.
    pub(in crate::driver::redb) fn new_keys(
        &self,
        from: &str,
        prefix: &str,
        limit: usize,
    ) -> Vec<&str> {
        let mut keys: Vec<&str> = self
            .deltas
            .iter()
            .flat_map(|delta| {
                let numbers = delta.number_from(from)..delta.len();
                let new = numbers.filter(|number| delta.additions(*number).first_sequence() == 1);
                let keys = new.filter_map(|number| delta.key(number));
                keys.take_while(|key| key.starts_with(prefix)).take(limit)
            })
            .collect();
        keys.sort_unstable();
        keys
    }
}
