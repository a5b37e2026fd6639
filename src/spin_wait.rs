//! A short spin before a thread sleeps, and a yield inside long work.
//!
//! Putting a thread to sleep and waking it costs several microseconds on both sides, more than an
//! append costs any one thread. What a busy thread waits for mostly comes within a few
//! microseconds. So the thread looks for it for a moment, and offers its core to other threads
//! meanwhile.
//!
//! Spinning uses CPU that other threads, or a container quota, need. A thread that has spun in vain
//! [`GIVE_UP_AFTER`] times in a row therefore spins only once in [`GIVE_UP_AFTER`] waits, until
//! spinning pays again. Where another program takes the core that was offered, the thread has it
//! back milliseconds later, and would have been woken sooner if it had slept. Such a thread spins
//! only once in [`WAITS_AFTER_LOSS`] waits.
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
/// A spin that lasted so long, a few times [`SPIN`], lost its core to another thread.
const LOST_CORE: Duration = Duration::from_micros(40);
/// Waits without a spin after that.
const WAITS_AFTER_LOSS: u32 = 1_024;

/// One thread's spinning: whether it pays at present.
pub(crate) struct SpinWait {
    has_one_core: bool,
    /// Spins in vain since the last one that paid.
    in_vain: AtomicU32,
    /// So many waits to come are without a spin.
    without: AtomicU32,
}

/// How a spin ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spun {
    /// What was waited for came.
    Paid,
    InVain,
    LostCore,
}

impl Default for SpinWait {
    fn default() -> Self {
        // On a single core, what the thread waits for needs that core.
        let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get());
        SpinWait::on_cores(cores)
    }
}

impl SpinWait {
    fn on_cores(cores: usize) -> Self {
        SpinWait {
            has_one_core: cores == 1,
            in_vain: AtomicU32::new(0),
            without: AtomicU32::new(0),
        }
    }

    /// Returns when `is_ready` says so, after [`SPIN`] at the latest, or at once while spinning
    /// does not pay.
    pub(crate) fn wait_until(&self, is_ready: impl Fn() -> bool) {
        if self.is_tried() {
            self.note(spin(is_ready));
        }
    }

    fn is_tried(&self) -> bool {
        let without = self.without.load(Ordering::Relaxed);
        if without > 0 {
            self.without.store(without - 1, Ordering::Relaxed);
        }
        without == 0 && !self.has_one_core
    }

    fn note(&self, spun: Spun) {
        let in_vain = match spun {
            Spun::Paid => 0,
            Spun::InVain | Spun::LostCore => self.in_vain.load(Ordering::Relaxed).saturating_add(1),
        };
        self.in_vain.store(in_vain, Ordering::Relaxed);
        let without = match spun {
            Spun::LostCore => WAITS_AFTER_LOSS,
            Spun::InVain if in_vain >= GIVE_UP_AFTER => GIVE_UP_AFTER - 1,
            Spun::InVain | Spun::Paid => 0,
        };
        self.without.store(without, Ordering::Relaxed);
    }
}

fn spin(is_ready: impl Fn() -> bool) -> Spun {
    let began = Instant::now();
    let is_ready = is_ready_soon(began, is_ready);
    match began.elapsed() {
        took if took >= LOST_CORE => Spun::LostCore,
        _ if is_ready => Spun::Paid,
        _ => Spun::InVain,
    }
}

fn is_ready_soon(began: Instant, is_ready: impl Fn() -> bool) -> bool {
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

    /// In how many of so many waits it spins, when each spin ends as told.
    fn spins(spin_wait: &SpinWait, waits: u32, spun: impl Fn(u32) -> Spun) -> u32 {
        let tried = |wait: &u32| {
            let is_tried = spin_wait.is_tried();
            if is_tried {
                spin_wait.note(spun(*wait));
            }
            is_tried
        };
        (0..waits).filter(tried).count() as u32
    }

    #[test]
    fn it_ends_when_ready_or_after_a_moment() {
        let (checks, began) = (Cell::new(0), Instant::now());
        let ready = is_ready_soon(began, || {
            checks.set(checks.get() + 1);
            checks.get() == 3
        });
        assert!(ready && checks.get() == 3);
        assert!(!is_ready_soon(began, || false) && began.elapsed() >= SPIN);
    }

    #[test]
    fn a_single_core_is_left_at_once() {
        SpinWait::on_cores(1).wait_until(|| panic!("it checked"));
    }

    #[test]
    fn it_stops_where_it_never_pays_and_goes_on_where_it_sometimes_does() {
        let spin_wait = SpinWait::on_cores(2);
        let sometimes = |wait| if wait % 8 == 7 { Spun::Paid } else { Spun::InVain };
        assert_eq!(spins(&spin_wait, GIVE_UP_AFTER * 8, sometimes), GIVE_UP_AFTER * 8);
        assert_eq!(spins(&spin_wait, GIVE_UP_AFTER * 8, |_| Spun::InVain), GIVE_UP_AFTER + 7);
        // The next spin pays, and so does each wait's from there on.
        let again = spins(&spin_wait, GIVE_UP_AFTER * 2, |_| Spun::Paid);
        assert_eq!(again, GIVE_UP_AFTER + 1);
    }

    #[test]
    fn it_stops_where_the_core_is_wanted() {
        let spin_wait = SpinWait::on_cores(2);
        assert_eq!(spins(&spin_wait, WAITS_AFTER_LOSS + 1, |_| Spun::LostCore), 1);
        assert_eq!(spins(&spin_wait, 8, |_| Spun::Paid), 8);
    }

    #[test]
    fn a_core_that_another_thread_took_is_lost() {
        let took = spin(|| {
            std::thread::sleep(LOST_CORE);
            true
        });
        assert_eq!(took, Spun::LostCore);
    }
}
