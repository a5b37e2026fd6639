//! When the apply thread begins a transaction.
//!
//! With quick repair, redb writes with each transaction which pages of its file are free: 128 KiB
//! for each GiB of the file, whatever the transaction holds. So the larger the file is, the more
//! events a transaction takes. Events that wait are in the journal and in the tail: they are
//! durable and readable. After a crash more of them are replayed, within the bounds of the tail.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::driver::redb::options::RedbBuilder;

/// redb writes one byte with each transaction for so many bytes of its file.
const FILE_BYTES_PER_BYTE: u64 = 8 << 10;
/// Events begin a transaction by their age if it costs at most so many bytes for each of theirs.
const MOST_BYTES_PER_BYTE: u64 = 16;

/// When events go from the tail into redb.
pub(in crate::driver::redb) struct ApplyPace {
    tail_bytes: u64,
    after: Duration,
    /// What redb writes with each transaction beside what it holds.
    fixed_bytes: AtomicU64,
}

impl ApplyPace {
    pub(in crate::driver::redb) fn new(options: &RedbBuilder) -> Self {
        ApplyPace {
            tail_bytes: options.tail_bytes as u64,
            after: options.apply_after,
            fixed_bytes: AtomicU64::new(0),
        }
    }

    /// redb's file has this size now. Told before events leave the tail, so that a writer whose
    /// events follow them compares with it.
    pub(in crate::driver::redb) fn note_file(&self, bytes: u64) {
        self.fixed_bytes.store(bytes / FILE_BYTES_PER_BYTE, Ordering::Release);
    }

    fn fixed_bytes(&self) -> u64 {
        self.fixed_bytes.load(Ordering::Acquire)
    }

    /// So many bytes are applied without waiting for more: an eighth to a half of what the tail may
    /// hold.
    pub(in crate::driver::redb) fn enough(&self) -> usize {
        self.fixed_bytes().clamp(self.tail_bytes / 8, self.tail_bytes / 2) as usize
    }

    /// Fewer bytes wait for others, however old they are.
    pub(in crate::driver::redb) fn least(&self) -> usize {
        (self.fixed_bytes() / MOST_BYTES_PER_BYTE).min(self.enough() as u64) as usize
    }

    /// How much longer `bytes` wait, the first of which came `age` ago; `None` where they wait for
    /// others.
    pub(in crate::driver::redb) fn wait(&self, bytes: usize, age: Duration) -> Option<Duration> {
        match bytes {
            bytes if bytes >= self.enough() => Some(Duration::ZERO),
            bytes if bytes >= self.least() => Some(self.after.saturating_sub(age)),
            _ => None,
        }
    }

    /// Whether the apply thread has to look again when what waits grows so.
    pub(in crate::driver::redb) fn is_passed(&self, before: usize, bytes: usize) -> bool {
        [self.least(), self.enough()].iter().any(|mark| before < *mark && bytes >= *mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn pace(file_bytes: u64) -> ApplyPace {
        of_tail((64 << 20, file_bytes))
    }

    fn of_tail((tail_bytes, file_bytes): (usize, u64)) -> ApplyPace {
        let pace = ApplyPace::new(&RedbBuilder::default().tail_bytes(tail_bytes));
        pace.note_file(file_bytes);
        pace
    }

    /// What redb writes beside events of 300 bytes that come once a second or as fast as may be,
    /// for each byte of theirs.
    fn overhead(file_bytes: u64, in_a_second: usize) -> f64 {
        const EVENT_BYTES: usize = 300;
        let pace = pace(file_bytes);
        let (mut bytes, mut seconds) = (0, 0);
        loop {
            bytes += in_a_second * EVENT_BYTES;
            seconds += 1;
            if pace.wait(bytes, Duration::from_secs(seconds)) == Some(Duration::ZERO) {
                return (file_bytes / FILE_BYTES_PER_BYTE) as f64 / bytes as f64;
            }
        }
    }

    #[test]
    fn what_a_transaction_costs_beside_its_events_is_bounded_up_to_a_tebibyte() {
        for file in [0, 1, 10, 100, 500, 1_024].map(|gib| gib * GIB) {
            for (in_a_second, most) in [(1, 16.0), (1_000, 16.0), (100_000, 4.5)] {
                let cost = overhead(file, in_a_second);
                assert!(cost <= most, "{file} bytes, {in_a_second} events a second: {cost}");
            }
        }
    }

    #[test]
    fn a_small_store_applies_after_a_second_or_at_an_eighth_of_the_tail() {
        let (pace, second) = (pace(GIB / 128), Duration::from_secs(1));
        assert_eq!(pace.wait(300, second), Some(Duration::ZERO));
        assert_eq!(pace.wait(300, second / 4), Some(second * 3 / 4));
        assert_eq!(pace.wait(8 << 20, Duration::ZERO), Some(Duration::ZERO));
    }

    #[test]
    fn the_apply_thread_is_told_of_each_mark() {
        let pace = pace(100 * GIB);
        let (least, enough) = (pace.least(), pace.enough());
        assert!(least < enough && pace.wait(least - 1, Duration::MAX).is_none());
        for mark in [least, enough] {
            assert!(pace.is_passed(mark - 1, mark) && !pace.is_passed(mark, mark + 1));
        }
    }

    #[test]
    fn a_tail_of_any_size_is_applied_before_it_is_full() {
        for tail in [1, 7, 1_000, 64 << 20] {
            for file in [0, GIB, 1 << 50] {
                let pace = of_tail((tail, file));
                assert!(pace.least() <= pace.enough() && pace.enough() < tail);
            }
        }
    }
}
