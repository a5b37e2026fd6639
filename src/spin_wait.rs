//! A short spin before a thread sleeps, and a yield inside long work.
//!
//! Putting a thread to sleep and waking it costs several microseconds on both sides, more than an
//! append costs any one thread. What a busy thread waits for mostly comes within a few
//! microseconds. So the thread looks for it for a moment, and offers its core to other threads
//! meanwhile.
//!
//! Spinning uses CPU that other threads, or a container quota, need. A thread that has spun in vain
//! [`GIVE_UP_AFTER`] times in a row therefore spins only once in [`GIVE_UP_AFTER`] waits, until
//! spinning pays again.
//!
//! No answer depends on a spin: it only moves the moment at which a thread sleeps.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The longest spin: more than an append's work in one thread, less than two wake-ups.
const SPIN: Duration = Duration::from_micros(10);
/// Checks between two yields, which are system calls.
const CHECKS_PER_YIELD: u32 = 8;
/// Spins in vain, in a row, after which most are skipped.
const GIVE_UP_AFTER: u32 = 32;

/// One thread's spinning: whether it pays at present.
pub(crate) struct SpinWait {
    has_one_core: bool,
    /// Spins in vain since the last one that paid.
    in_vain: AtomicU32,
}

impl Default for SpinWait {
    fn default() -> Self {
        // On a single core, what the thread waits for needs that core.
        let has_one_core = std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
        SpinWait { has_one_core, in_vain: AtomicU32::new(0) }
    }
}

impl SpinWait {
    /// Returns when `is_ready` says so, after [`SPIN`] at the latest, or at once while spinning
    /// does not pay.
    pub(crate) fn wait_until(&self, is_ready: impl Fn() -> bool) {
        if self.has_one_core {
            return;
        }
        let in_vain = self.in_vain.load(Ordering::Relaxed);
        let is_tried = in_vain < GIVE_UP_AFTER || in_vain.is_multiple_of(GIVE_UP_AFTER);
        let paid = is_tried && is_ready_soon(is_ready);
        let in_vain = if paid { 0 } else { in_vain.wrapping_add(1) };
        self.in_vain.store(in_vain, Ordering::Relaxed);
    }
}

fn is_ready_soon(is_ready: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    loop {
        for _ in 0..CHECKS_PER_YIELD {
            if is_ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        if began.elapsed() >= SPIN {
            return false;
        }
        yield_now();
    }
}

/// Offers the core to another thread. Long work on a thread of the store calls it every fraction of
/// a millisecond: where cores are few, appends would otherwise wait for a whole time slice. It
/// costs little while no thread waits for the core.
pub(crate) fn yield_now() {
    std::thread::yield_now();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn on_cores(cores: usize) -> SpinWait {
        SpinWait { has_one_core: cores == 1, in_vain: AtomicU32::new(0) }
    }

    /// Whether it spun, when the condition holds at the third check or never.
    fn spins(spin_wait: &SpinWait, becomes_ready: bool) -> bool {
        let (checks, began) = (Cell::new(0), Instant::now());
        spin_wait.wait_until(|| {
            checks.set(checks.get() + 1);
            becomes_ready && checks.get() == 3
        });
        match checks.get() {
            0 => false,
            checks if becomes_ready => checks == 3,
            _ => began.elapsed() >= SPIN,
        }
    }

    #[test]
    fn it_ends_when_ready_or_after_a_moment() {
        let spin_wait = on_cores(2);
        assert!(spins(&spin_wait, true));
        assert!(spins(&spin_wait, false));
    }

    #[test]
    fn a_single_core_is_left_at_once() {
        on_cores(1).wait_until(|| panic!("it checked"));
    }

    #[test]
    fn it_stops_where_it_never_pays_and_goes_on_where_it_sometimes_does() {
        let spin_wait = on_cores(2);
        let sometimes = (0..GIVE_UP_AFTER * 8).all(|number| spins(&spin_wait, number % 8 == 7));
        assert!(sometimes);
        let never = (0..GIVE_UP_AFTER * 8).filter(|_| spins(&spin_wait, false)).count();
        assert_eq!(never as u32, GIVE_UP_AFTER + 7);
        let again = (0..GIVE_UP_AFTER).filter(|_| spins(&spin_wait, true)).count();
        assert_eq!(again as u32, GIVE_UP_AFTER);
    }
}
