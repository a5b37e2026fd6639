//! Measured values in buckets, from which quantiles are read.
//!
//! Values up to 15 have a bucket each. Above, each power of two is divided into eight buckets, so a
//! quantile is at most an eighth above the measured value.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// Buckets for each power of two.
const PER_OCTAVE: usize = 8;
/// As many buckets as 64 bits need.
pub(super) const BUCKETS: usize = (64 - 2) * PER_OCTAVE;

/// What a [`Distribution`] measures: durations, or plain numbers.
pub trait Measure: Copy + fmt::Debug + sealed::Sealed {}

impl Measure for Duration {}
impl Measure for u64 {}

mod sealed {
    use std::time::Duration;

    pub trait Sealed {
        fn from_number(number: u64) -> Self;
        fn to_number(self) -> u64;
    }

    impl Sealed for u64 {
        fn from_number(number: u64) -> Self {
            number
        }

        fn to_number(self) -> u64 {
            self
        }
    }

    /// In nanoseconds: 584 years are counted right.
    impl Sealed for Duration {
        fn from_number(number: u64) -> Self {
            Duration::from_nanos(number)
        }

        fn to_number(self) -> u64 {
            u64::try_from(self.as_nanos()).unwrap_or(u64::MAX)
        }
    }
}

pub(super) fn number_of<T: Measure>(value: T) -> u64 {
    value.to_number()
}

/// The bucket of a number.
pub(super) fn bucket_of(number: u64) -> usize {
    if number < PER_OCTAVE as u64 {
        return number as usize;
    }
    let octave = number.ilog2() as usize - PER_OCTAVE.ilog2() as usize;
    octave * PER_OCTAVE + (number >> octave) as usize
}

/// The greatest number of a bucket.
fn greatest_in(bucket: usize) -> u64 {
    if bucket < PER_OCTAVE {
        return bucket as u64;
    }
    let octave = bucket / PER_OCTAVE - 1;
    let next = (bucket % PER_OCTAVE + PER_OCTAVE + 1) as u128;
    u64::try_from((next << octave) - 1).unwrap_or(u64::MAX)
}

/// How often which values were measured.
///
/// ```
/// use std::time::Duration;
/// use seriatim::stats::Distribution;
///
/// let mut times = Distribution::default();
/// for millis in 1..=100 {
///     times.record(Duration::from_millis(millis));
/// }
/// assert_eq!(times.count(), 100);
/// let median = times.quantile(0.5).unwrap();
/// assert!((Duration::from_millis(50)..Duration::from_millis(57)).contains(&median));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Distribution<T> {
    /// Up to the last one that is not empty.
    buckets: Vec<u64>,
    sum: u128,
    measures: PhantomData<T>,
}

impl<T> Default for Distribution<T> {
    fn default() -> Self {
        Distribution { buckets: Vec::new(), sum: 0, measures: PhantomData }
    }
}

impl<T: Measure> Distribution<T> {
    /// Adds one value.
    pub fn record(&mut self, value: T) {
        let number = value.to_number();
        self.add(bucket_of(number), 1);
        self.add_sum(number);
    }

    pub(super) fn add(&mut self, bucket: usize, count: u64) {
        if count == 0 {
            return;
        }
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        if let Some(there) = self.buckets.get_mut(bucket) {
            *there += count;
        }
    }

    pub(super) fn add_sum(&mut self, sum: u64) {
        self.sum += u128::from(sum);
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of all values; the longest duration if it is longer.
    pub fn sum(&self) -> T {
        T::from_number(u64::try_from(self.sum).unwrap_or(u64::MAX))
    }

    /// The average; `None` without values.
    pub fn mean(&self) -> Option<T> {
        let mean = self.sum.checked_div(u128::from(self.count()))?;
        Some(T::from_number(u64::try_from(mean).unwrap_or(u64::MAX)))
    }

    /// The value that this share of the values does not exceed, or up to an eighth more. 0.5 is the
    /// median, 1 the greatest value. `None` without values. A share outside of 0 to 1 counts as the
    /// nearer of the two.
    pub fn quantile(&self, share: f64) -> Option<T> {
        let count = self.count();
        let rank = ((share.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        self.buckets().find_map(|(at_most, count)| {
            seen += count;
            (seen >= rank).then_some(at_most)
        })
    }

    /// The buckets that are not empty, in ascending order: the greatest value that a bucket can
    /// hold, and how many it holds.
    pub fn buckets(&self) -> impl Iterator<Item = (T, u64)> + '_ {
        let filled = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(bucket, count)| (T::from_number(greatest_in(bucket)), *count))
    }

    /// What was measured after `earlier`, a distribution of the same store.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut later = Distribution::default();
        for (bucket, count) in self.buckets.iter().enumerate() {
            let before = earlier.buckets.get(bucket).copied().unwrap_or(0);
            later.add(bucket, count.saturating_sub(before));
        }
        later.sum = self.sum.saturating_sub(earlier.sum);
        later
    }
}

impl<T: Measure> fmt::Debug for Distribution<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Distribution");
        shown.field("count", &self.count());
        let quantiles = [("p50", 0.5), ("p99", 0.99), ("max", 1.0)];
        let mean = self.mean().map(|mean| ("mean", mean));
        let named = quantiles.into_iter().filter_map(|(name, q)| Some((name, self.quantile(q)?)));
        for (name, value) in mean.into_iter().chain(named) {
            shown.field(name, &value);
        }
        shown.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_number_and_little_above_it() {
        let around = (0..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        for number in around.chain(0..5_000).chain([u64::MAX - 1, u64::MAX]) {
            let bucket = bucket_of(number);
            assert!(bucket < BUCKETS, "{number}");
            let greatest = greatest_in(bucket);
            assert!(greatest >= number, "{number} is above {greatest}");
            assert!(greatest - number <= number / 8, "{greatest} is far above {number}");
            if let Some(below) = bucket.checked_sub(1) {
                assert!(greatest_in(below) < number, "{number} fits the bucket below");
            }
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_few_values_are_those_values() {
        let mut sizes = Distribution::<u64>::default();
        assert_eq!((sizes.quantile(0.5), sizes.mean()), (None, None));
        for size in [1, 2, 3, 10] {
            sizes.record(size);
        }
        let quantiles = [-1.0, 0.0, 0.25, 0.5, 0.75, 0.76, 1.0, 2.0];
        let found = quantiles.map(|q| sizes.quantile(q).unwrap());
        assert_eq!(found, [1, 1, 1, 2, 3, 10, 10, 10]);
        assert_eq!((sizes.count(), sizes.sum(), sizes.mean()), (4, 16, Some(4)));
    }

    #[test]
    fn what_came_later_is_told_apart() {
        let mut times = Distribution::default();
        times.record(Duration::from_secs(1));
        let earlier = times.clone();
        times.record(Duration::from_millis(2));
        let later = times.since(&earlier);
        assert_eq!((later.count(), later.sum()), (1, Duration::from_millis(2)));
        assert_eq!(times.since(&times), Distribution::default());
    }
}
