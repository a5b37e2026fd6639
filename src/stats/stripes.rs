//! Cells for each thread, so that threads that count do not contend for cache lines.
//!
//! A thread gets a number when it counts for the first time, and returns it when it ends. The
//! number names its stripe in every store. What must stay true: no two threads have one number at a
//! time, because the owner of a stripe adds without a locked instruction. Threads beyond the
//! numbers share one more stripe, with locked instructions.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Threads with a stripe of their own.
const OWN: usize = 64;

/// Whether other threads may add to the same cells at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Alone,
    Shared,
}

/// Cells `T`, once for each thread that counts.
pub(crate) struct Stripes<T> {
    own: [OnceLock<Box<Stripe<T>>>; OWN],
    shared: Box<Stripe<T>>,
}

/// Aligned, so that no two share a cache line, or a pair of lines that is fetched together.
#[derive(Default)]
#[repr(align(128))]
struct Stripe<T>(T);

impl<T: Default> Default for Stripes<T> {
    fn default() -> Self {
        Stripes { own: std::array::from_fn(|_| OnceLock::new()), shared: Box::default() }
    }
}

impl<T: Default> Stripes<T> {
    /// Lets this thread count.
    pub(crate) fn count(&self, count: impl FnOnce(&T, Owner)) {
        let number = NUMBER.try_with(|number| number.0).ok().flatten();
        match number.and_then(|number| self.own.get(number)) {
            Some(own) => count(&own.get_or_init(Box::default).0, Owner::Alone),
            None => count(&self.shared.0, Owner::Shared),
        }
    }

    /// The cells of all threads that have counted.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let own = self.own.iter().filter_map(OnceLock::get);
        own.chain([&self.shared]).map(|stripe| &stripe.0)
    }

    /// The sum of one figure over all threads.
    pub(crate) fn sum(&self, figure: impl Fn(&T) -> u64) -> u64 {
        self.iter().map(figure).sum()
    }
}

thread_local! {
    static NUMBER: ThreadNumber = ThreadNumber::take();
}

/// The numbers that threads have returned, and how many were given out in all.
static FREE: Mutex<(Vec<usize>, usize)> = Mutex::new((Vec::new(), 0));

fn free() -> MutexGuard<'static, (Vec<usize>, usize)> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread's number, if there was one left.
struct ThreadNumber(Option<usize>);

impl ThreadNumber {
    fn take() -> Self {
        let mut free = free();
        if let Some(returned) = free.0.pop() {
            return ThreadNumber(Some(returned));
        }
        let is_left = free.1 < OWN;
        free.1 += usize::from(is_left);
        ThreadNumber(is_left.then(|| free.1 - 1))
    }
}

impl Drop for ThreadNumber {
    fn drop(&mut self) {
        // The lock makes what was counted visible to the next owner.
        free().0.extend(self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;
    use crate::stats::Count;

    #[test]
    fn every_thread_counts_whether_or_not_it_has_a_stripe() {
        let stripes = Stripes::<Count>::default();
        let (threads, rounds, times) = (OWN + 16, 3, 1_000);
        for _ in 0..rounds {
            let all_are_there = Barrier::new(threads);
            thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        stripes.count(|count, owner| count.add(1, owner));
                        all_are_there.wait();
                        for _ in 1..times {
                            stripes.count(|count, owner| count.add(1, owner));
                        }
                    });
                }
            });
        }
        assert_eq!(stripes.sum(Count::get), (threads * rounds * times) as u64);
        assert!(stripes.shared.0.get() > 0, "no thread was beyond the stripes");
        assert!(stripes.iter().count() > OWN / 2, "threads share stripes needlessly");
    }
}
