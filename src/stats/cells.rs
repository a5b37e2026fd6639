//! Counters and distributions while they are counted.

use std::sync::atomic::{AtomicU64, Ordering};

use super::distribution::{BUCKETS, bucket_of, number_of};
use super::{Distribution, Measure, Owner};

/// A number that only grows.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Adds `more`. Whoever owns the cell needs no locked instruction.
    pub(crate) fn add(&self, more: u64, owner: Owner) {
        match owner {
            Owner::Alone => {
                let now = self.0.load(Ordering::Relaxed).wrapping_add(more);
                self.0.store(now, Ordering::Relaxed);
            }
            Owner::Shared => {
                self.0.fetch_add(more, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A [`Distribution`] that is counted.
pub(crate) struct DistributionCells {
    buckets: [Count; BUCKETS],
    sum: Count,
}

impl Default for DistributionCells {
    fn default() -> Self {
        let buckets = std::array::from_fn(|_| Count::default());
        DistributionCells { buckets, sum: Count::default() }
    }
}

impl DistributionCells {
    pub(crate) fn record(&self, value: impl Measure, owner: Owner) {
        let number = number_of(value);
        if let Some(bucket) = self.buckets.get(bucket_of(number)) {
            bucket.add(1, owner);
        }
        self.sum.add(number, owner);
    }

    /// Adds what was counted here to `total`.
    pub(crate) fn add_to<T: Measure>(&self, total: &mut Distribution<T>) {
        for (bucket, count) in self.buckets.iter().enumerate() {
            total.add(bucket, count.get());
        }
        total.add_sum(self.sum.get());
    }
}
