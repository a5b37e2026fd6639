//! The index on its way into redb: which events are whose.
//!
//! Events come in position order and are gathered by aggregate first, so that each block is read
//! and written once, in key order.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use redb::{ReadableTable, Table};

use crate::driver::DriverError;
use crate::driver::redb::failure::redb_failed;
use crate::driver::redb::format::block::Block;
use crate::driver::redb::format::delta::{Addition, Delta};
use crate::driver::redb::format::tables::earlier_key;
use crate::driver::redb::read::committed_view::decode_block;
use crate::spin_wait::yield_now;

pub(in crate::driver::redb) type Latest<'t> = Table<'t, &'static str, &'static [u8]>;
pub(in crate::driver::redb) type Earlier<'t> = Table<'t, &'static [u8], &'static [u8]>;

/// Additions by aggregate.
#[derive(Default)]
pub(in crate::driver::redb) struct ByAggregate<'a> {
    aggregates: Vec<BlockChain<'a>>,
    links: Vec<Link>,
}

/// An aggregate's additions: the numbers of the first and the last link.
struct BlockChain<'a> {
    key: &'a str,
    first: usize,
    last: usize,
}

struct Link {
    addition: Addition,
    next: Option<usize>,
}

impl<'a> ByAggregate<'a> {
    /// Collecting first and sorting the keys costs a third of sorting all additions by key.
    pub(in crate::driver::redb) fn gather(
        additions: impl Iterator<Item = (&'a str, Addition)>,
    ) -> Self {
        let mut chains: HashMap<&str, usize> = HashMap::new();
        let (mut aggregates, mut links) = (Vec::<BlockChain<'a>>::new(), Vec::<Link>::new());
        for (key, addition) in additions {
            let link = links.len();
            links.push(Link { addition, next: None });
            match chains.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(aggregates.len());
                    aggregates.push(BlockChain { key, first: link, last: link });
                }
                Entry::Occupied(chain) => {
                    let Some(chain) = aggregates.get_mut(*chain.get()) else { continue };
                    if let Some(last) = links.get_mut(chain.last) {
                        last.next = Some(link);
                    }
                    chain.last = link;
                }
            }
        }
        aggregates.sort_unstable_by_key(|chain| chain.key);
        ByAggregate { aggregates, links }
    }

    /// How many aggregates there are.
    pub(in crate::driver::redb) fn len(&self) -> usize {
        self.aggregates.len()
    }

    /// The aggregates in key order, each with its additions in the order they came in.
    fn iter(&self) -> impl Iterator<Item = (&'a str, impl Iterator<Item = Addition> + '_)> {
        self.aggregates.iter().map(|chain| {
            let first = self.links.get(chain.first);
            let links = std::iter::successors(first, |link| self.links.get(link.next?));
            (chain.key, links.map(|link| link.addition))
        })
    }

    /// The delta of these additions, which begins at `first_position`.
    pub(in crate::driver::redb) fn delta(&self, first_position: u64) -> Result<Delta, DriverError> {
        let mut delta = Delta::at(first_position);
        for (number, (key, additions)) in self.iter().enumerate() {
            if number % 64 == 0 {
                yield_now();
            }
            delta.push(key, additions).ok_or_else(|| {
                DriverError::damaged(format!(
                    "{key}: its sequences from position {first_position} on do not follow"
                ))
            })?;
        }
        Ok(delta.finish())
    }

    /// Adds them to the blocks of their aggregates, and returns how many of these are new. What is
    /// in the blocks already is passed over.
    pub(in crate::driver::redb) fn write(
        &self,
        latest: &mut Latest<'_>,
        earlier: &mut Earlier<'_>,
    ) -> Result<u64, DriverError> {
        let (mut bytes, mut place, mut new) = (Vec::new(), Vec::new(), 0);
        for (number, (key, additions)) in self.iter().enumerate() {
            if number % 32 == 0 {
                yield_now();
            }
            let mut block = match latest.get(key).map_err(redb_failed)? {
                Some(stored) => decode_block(key, stored.value())?,
                None => {
                    new += 1;
                    Block::new(1)
                }
            };
            let first = block.next_sequence();
            for addition in additions {
                let merged = merged_events(key, &block, &addition)?;
                let next = addition.first_position + addition.events;
                for position in addition.first_position + merged..next {
                    if block.push(position) {
                        continue;
                    }
                    block.encode(key, &mut bytes);
                    earlier_key(key, block.first_sequence(), &mut place);
                    earlier.insert(place.as_slice(), bytes.as_slice()).map_err(redb_failed)?;
                    block = Block::new(block.next_sequence());
                    block.push(position);
                }
            }
            if block.next_sequence() > first {
                block.encode(key, &mut bytes);
                latest.insert(key, bytes.as_slice()).map_err(redb_failed)?;
            }
        }
        Ok(new)
    }
}

/// How many of the addition's events are in the aggregate's blocks, of which this is the last.
fn merged_events(key: &str, block: &Block, addition: &Addition) -> Result<u64, DriverError> {
    let next = block.next_sequence();
    let merged = next.saturating_sub(addition.first_sequence).min(addition.events);
    let last = addition.first_sequence + merged.saturating_sub(1);
    let is_same = merged == 0
        || last < block.first_sequence()
        || block.positions(last, last).any(|run| run.first + 1 == addition.first_position + merged);
    if addition.first_sequence > next || !is_same {
        return Err(DriverError::damaged(format!(
            "{key}: sequence {} at position {} does not follow {}",
            addition.first_sequence,
            addition.first_position,
            next - 1
        )));
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_are_gathered_by_aggregate_in_key_order_and_keep_their_own() {
        let addition =
            |position| Addition { first_sequence: 1, first_position: position, events: 1 };
        let came = [("b", 1), ("a", 2), ("b", 3), ("c", 4), ("a", 5), ("b", 6)];
        let gathered = ByAggregate::gather(came.map(|(key, at)| (key, addition(at))).into_iter());
        let positions: Vec<(&str, Vec<u64>)> = gathered
            .iter()
            .map(|(key, additions)| (key, additions.map(|a| a.first_position).collect()))
            .collect();
        assert_eq!(positions, [("a", vec![2, 5]), ("b", vec![1, 3, 6]), ("c", vec![4])]);
        assert_eq!(gathered.len(), 3);
    }
}
