//! Merging: deltas go into the index's blocks, some with each transaction.
//!
//! A batch of events of very many aggregates would change most pages of the index, at each of them
//! a few bytes. So what a batch adds is written as one delta. Later, when many deltas have come,
//! they are merged in key order, a slice of the keys with each transaction: a slice changes few
//! pages, and each of them for many events.
//!
//! ```text
//! batch ─▶ young deltas ─▶ (enough of them) ─▶ old deltas ─▶ slice by slice ─▶ blocks
//! ```
//!
//! Deltas leave memory and redb when the last slice of the old ones is merged.

use std::sync::Arc;

use redb::{ReadTransaction, TableError};

use crate::driver::DriverError;
use crate::driver::redb::apply::index::ByAggregate;
use crate::driver::redb::failure::redb_failed;
use crate::driver::redb::format::delta::Delta;
use crate::driver::redb::format::tables::DELTAS;
use crate::driver::redb::read::unmerged_index::UnmergedIndex;

/// With each aggregate that comes, so many that came earlier are merged.
const MERGED_FOR_EACH: usize = 2;
/// Young deltas become old when they take three eighths of what the tail may take.
const TAIL_PARTS: (usize, usize) = (3, 8);
/// A slice has at least about so many aggregates for each MiB of young deltas.
const SLICE_FOR_EACH_MIB: usize = 256;
/// Deltas are joined as long as the result takes no more than this part of all.
const JOINED_PART: usize = 4;

/// The deltas and what became of them. It changes when a transaction is durable.
#[derive(Clone)]
pub(in crate::driver::redb) struct Merger {
    /// In position order, and before all young ones.
    old: Vec<Arc<Delta>>,
    /// Of the old ones, what stands before this key is merged.
    merged_before: String,
    young: Vec<Arc<Delta>>,
    /// So many aggregates may be merged with the next slice.
    credit: usize,
    /// The bytes of young deltas that become old.
    limit: usize,
    /// Aggregates that the blocks do not have.
    new_aggregates: u64,
}

/// Old deltas and the keys of which they are merged.
struct MergeSlice {
    deltas: Vec<Arc<Delta>>,
    from: String,
    /// Not this one itself; `None` for all.
    to: Option<String>,
}

impl MergeSlice {
    fn by_aggregate(&self) -> ByAggregate<'_> {
        ByAggregate::gather(self.deltas.iter().flat_map(|delta| {
            let to = self.to.as_ref().map_or(delta.len(), |to| delta.number_from(to));
            (delta.number_from(&self.from)..to).flat_map(move |number| {
                let key = delta.key(number).unwrap_or_default();
                delta.additions(number).iter().map(move |addition| (key, addition))
            })
        }))
    }
}

/// What one transaction does to the index.
pub(in crate::driver::redb) struct IndexStep {
    /// The deltas after it.
    merger: Merger,
    slice: Option<MergeSlice>,
    /// What it adds, as it is stored, and the position under which.
    delta: Option<(u64, Vec<u8>)>,
}

impl IndexStep {
    /// Adds these, the first of which has this position, and merges some that came before.
    pub(in crate::driver::redb) fn take(
        merger: &Merger,
        first_position: Option<u64>,
        by_aggregate: &ByAggregate<'_>,
    ) -> Result<Self, DriverError> {
        let fresh = first_position.map(|first| by_aggregate.delta(first)).transpose()?;
        let delta = fresh.as_ref().map(|fresh| (fresh.first_position(), fresh.encode()));
        let (merger, slice) = merger.step(fresh)?;
        Ok(IndexStep { merger, slice, delta })
    }

    /// Merges the next slice of about so many aggregates, however few wait. `None` where all are
    /// merged.
    pub(in crate::driver::redb) fn of_rest(merger: &Merger, aggregates: usize) -> Option<Self> {
        let (merger, slice) = merger.step_to_end(aggregates);
        slice.map(|slice| IndexStep { merger, slice: Some(slice), delta: None })
    }

    pub(in crate::driver::redb) fn delta(&self) -> Option<(u64, &[u8])> {
        self.delta.as_ref().map(|(first, stored)| (*first, stored.as_slice()))
    }

    pub(in crate::driver::redb) fn merged(&self) -> ByAggregate<'_> {
        self.slice.as_ref().map(MergeSlice::by_aggregate).unwrap_or_default()
    }

    /// The position up to which the blocks have all after it, when `applied` is the last one.
    pub(in crate::driver::redb) fn indexed(&self, applied: u64) -> u64 {
        self.merger.indexed(applied)
    }

    /// The deltas, when the transaction is durable and put so many aggregates into the blocks.
    pub(in crate::driver::redb) fn done(self, new_aggregates: u64) -> Merger {
        let mut merger = self.merger;
        merger.new_aggregates = merger.new_aggregates.saturating_sub(new_aggregates);
        merger
    }
}

impl Merger {
    pub(in crate::driver::redb) fn new(tail_bytes: usize) -> Self {
        Merger {
            old: Vec::new(),
            merged_before: String::new(),
            young: Vec::new(),
            credit: 0,
            limit: tail_bytes.saturating_mul(TAIL_PARTS.0) / TAIL_PARTS.1,
            new_aggregates: 0,
        }
    }

    /// Reads the deltas, which must have the events from behind `indexed` to `applied`. Merging
    /// passes over those that are in the blocks already.
    pub(in crate::driver::redb) fn load(
        &mut self,
        transaction: &ReadTransaction,
        (indexed, applied): (u64, u64),
        is_known: impl Fn(&str) -> Result<bool, DriverError>,
    ) -> Result<(), DriverError> {
        let mut next = indexed + 1;
        let table = match transaction.open_table(DELTAS) {
            Ok(table) => Some(table),
            Err(TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(redb_failed(error)),
        };
        if let Some(table) = table {
            for entry in table.range(0..).map_err(redb_failed)? {
                let (first, stored) = entry.map_err(redb_failed)?;
                let delta = decode_delta(first.value(), stored.value())?;
                if delta.first_position() != next {
                    return Err(damaged_delta(next));
                }
                next = delta.next_position();
                self.new_aggregates += new_aggregates(&delta, &is_known)?;
                self.push(delta);
            }
        }
        if next == applied + 1 { Ok(()) } else { Err(damaged_delta(next)) }
    }

    /// What the blocks do not have.
    pub(in crate::driver::redb) fn unmerged(&self) -> UnmergedIndex {
        let deltas = self.old.iter().chain(&self.young).cloned().collect();
        UnmergedIndex { deltas, new_aggregates: self.new_aggregates }
    }

    /// The position up to which the blocks have all, when `applied` is the last one.
    fn indexed(&self, applied: u64) -> u64 {
        let first = self.old.first().or(self.young.first());
        first.map_or(applied, |first| first.first_position() - 1)
    }

    /// What becomes of this when a transaction adds `fresh` and merges the slice.
    fn step(&self, fresh: Option<Delta>) -> Result<(Merger, Option<MergeSlice>), DriverError> {
        let mut next = self.clone();
        if let Some(delta) = fresh {
            next.credit += delta.len() * MERGED_FOR_EACH;
            next.new_aggregates += new_aggregates(&delta, |_| Ok(false))?;
            next.push(delta);
        }
        if next.old.is_empty() && next.young_bytes() >= next.limit {
            next.age();
        }
        let least = next.limit.div_ceil(1 << 20) * SLICE_FOR_EACH_MIB;
        let is_worth_it = next.credit >= least || next.young_bytes() >= next.limit;
        let slice = is_worth_it.then(|| next.take_slice()).flatten();
        Ok((next, slice))
    }

    /// What becomes of this when a transaction merges the next slice of at most about so many
    /// aggregates, whether or not many wait.
    fn step_to_end(&self, aggregates: usize) -> (Merger, Option<MergeSlice>) {
        let mut next = self.clone();
        if next.old.is_empty() {
            next.age();
        }
        next.credit = aggregates;
        let slice = next.take_slice();
        (next, slice)
    }

    fn young_bytes(&self) -> usize {
        self.young.iter().map(|delta| delta.bytes()).sum()
    }

    fn push(&mut self, delta: Delta) {
        let mut newest = delta;
        // As in a counter of twos: each addition is copied few times, and few deltas are left.
        while let Some(last) = self.young.last()
            && last.bytes() <= 2 * newest.bytes()
            && last.bytes() + newest.bytes() <= self.limit / JOINED_PART
            && let Some(joined) = Delta::join(last, &newest)
        {
            newest = joined;
            self.young.pop();
        }
        self.young.push(Arc::new(newest));
    }

    fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
        self.merged_before.clear();
        self.credit = 0;
    }

    fn take_slice(&mut self) -> Option<MergeSlice> {
        let left = |delta: &Arc<Delta>| delta.len() - delta.number_from(&self.merged_before);
        let all: usize = self.old.iter().map(left).sum();
        let most = self.old.iter().max_by_key(|delta| left(delta))?;
        let to = (self.credit < all).then(|| {
            // As large a part of the one that has most left as of all.
            let part = (left(most) as u128 * self.credit as u128 / all as u128) as usize;
            most.key(most.number_from(&self.merged_before) + part.max(1)).map(str::to_owned)
        });
        let to = to.flatten();
        self.credit = 0;
        let from = to.clone().unwrap_or_default();
        let from = std::mem::replace(&mut self.merged_before, from);
        let deltas = match to {
            Some(_) => self.old.clone(),
            None => std::mem::take(&mut self.old),
        };
        Some(MergeSlice { deltas, from, to })
    }
}

/// How many aggregates have their first event in the delta, and are not known otherwise.
fn new_aggregates(
    delta: &Delta,
    is_known: impl Fn(&str) -> Result<bool, DriverError>,
) -> Result<u64, DriverError> {
    let mut new = 0;
    for number in 0..delta.len() {
        if delta.additions(number).first_sequence() == 1
            && !is_known(delta.key(number).unwrap_or_default())?
        {
            new += 1;
        }
    }
    Ok(new)
}

pub(in crate::driver::redb) fn decode_delta(
    first_position: u64,
    stored: &[u8],
) -> Result<Delta, DriverError> {
    Delta::decode(first_position, stored).ok_or_else(|| damaged_delta(first_position))
}

fn damaged_delta(position: u64) -> DriverError {
    DriverError::damaged(format!("the index of position {position} on is damaged: run reindex"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::driver::redb::format::delta::Addition;

    /// A batch of one event of each of these aggregates, from `first_position` on.
    fn batch(first_position: u64, numbers: &[u64], sequence: u64) -> Delta {
        let mut delta = Delta::at(first_position);
        for (number, position) in numbers.iter().zip(first_position..) {
            let addition =
                Addition { first_sequence: sequence, first_position: position, events: 1 };
            delta.push(&format!("account/{number:06}"), std::iter::once(addition)).unwrap();
        }
        delta.finish()
    }

    /// Every aggregate gets an event in each round. Calls `see` with each step's merged aggregates.
    fn run(rounds: u64, merger: &mut Merger, mut see: impl FnMut(&Merger, usize)) -> u64 {
        const AGGREGATES: u64 = 20_000;
        const IN_A_BATCH: u64 = 500;
        let mut position = 1;
        for round in 1..=rounds {
            for start in 0..AGGREGATES / IN_A_BATCH {
                // Neighbours in time are far from each other in key order.
                let numbers: Vec<u64> =
                    (0..IN_A_BATCH).map(|n| n * (AGGREGATES / IN_A_BATCH) + start).collect();
                let (next, slice) = merger.step(Some(batch(position, &numbers, round))).unwrap();
                position += IN_A_BATCH;
                *merger = next;
                see(merger, slice.map_or(0, |slice| slice.by_aggregate().len()));
            }
        }
        position - 1
    }

    #[test]
    fn memory_stays_within_twice_the_limit_and_slices_are_small_parts_of_all() {
        let mut merger = Merger::new(1 << 20);
        let limit = merger.limit;
        let (mut slices, mut largest) = (0, 0);
        run(10, &mut merger, |merger, merged| {
            let bytes: usize =
                merger.old.iter().chain(&merger.young).map(|delta| delta.bytes()).sum();
            assert!(bytes <= 2 * limit + limit / 4, "{bytes} bytes of {limit}");
            assert!(merger.old.len() + merger.young.len() <= 40);
            slices += usize::from(merged > 0);
            largest = largest.max(merged);
        });
        assert!(slices > 20 && largest <= 2_500, "{slices} slices, one of {largest} aggregates");
    }

    #[test]
    fn each_addition_is_merged_once_and_all_in_the_end() {
        let mut merger = Merger::new(1 << 20);
        let mut merged = 0;
        let applied = run(3, &mut merger, |_, aggregates| merged += aggregates);
        assert!(merger.indexed(applied) < applied);
        while let Some(step) = IndexStep::of_rest(&merger, 1_000) {
            let aggregates = step.merged().len();
            assert!(aggregates <= 2_000, "{aggregates} at once");
            merged += aggregates;
            merger = step.done(0);
        }
        assert_eq!(merger.indexed(applied), applied);
        // An aggregate of which several events are merged at once counts once.
        assert!(merged <= applied as usize && merged >= 20_000);
    }
}
