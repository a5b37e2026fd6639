//! A moment awake before a thread goes to sleep.
//!
//! Putting a thread to sleep and waking it costs both sides some microseconds, more than an append's work in any one
//! thread. What a busy thread waits for mostly comes within a few microseconds; so it looks for it a while before it
//! sleeps, and gives its core to whoever else wants it meanwhile.
//!
//! What is burnt in vain somebody else might have had, or a quota counts it: a lone caller, who never comes back so soon,
//! would be held up for whole milliseconds by the quota of its container. So a thread that has looked in vain many
//! times in a row seldom does, until it pays again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Some appends' worth of work in the thread that is waited for, and less than two wake-ups cost.
const LINGER: Duration = Duration::from_micros(10);
/// Looks between two offers of the core, which are system calls.
const LOOKS: u32 = 8;
/// After so many in vain, and nothing else, one in so many is tried.
const PATIENCE: u32 = 32;

/// One thread's moments.
pub(crate) struct Lingering {
    is_alone: bool,
    /// How often in a row it slept uncalled.
    in_vain: AtomicU32,
}

impl Default for Lingering {
    fn default() -> Self {
        // On a single core, whatever is waited for waits for that core.
        let is_alone = std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
        Lingering { is_alone, in_vain: AtomicU32::new(0) }
    }
}

impl Lingering {
    /// Returns when `is_called` says so, after [`LINGER`] at the latest, or at once where it never comes so soon.
    pub(crate) fn linger(&self, is_called: impl Fn() -> bool) {
        if self.is_alone {
            return;
        }
        let in_vain = self.in_vain.load(Ordering::Relaxed);
        let is_tried = in_vain < PATIENCE || in_vain.is_multiple_of(PATIENCE);
        let is_called = is_tried && is_called_soon(is_called);
        let in_vain = if is_called { 0 } else { in_vain.wrapping_add(1) };
        self.in_vain.store(in_vain, Ordering::Relaxed);
    }
}

fn is_called_soon(is_called: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    loop {
        for _ in 0..LOOKS {
            if is_called() {
                return true;
            }
            std::hint::spin_loop();
        }
        if began.elapsed() >= LINGER {
            return false;
        }
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn on_cores(cores: usize) -> Lingering {
        Lingering { is_alone: cores == 1, in_vain: AtomicU32::new(0) }
    }

    /// Whether it looked, when the call comes at the third look or never.
    fn lingers(lingering: &Lingering, comes: bool) -> bool {
        let (looks, began) = (Cell::new(0), Instant::now());
        lingering.linger(|| {
            looks.set(looks.get() + 1);
            comes && looks.get() == 3
        });
        match looks.get() {
            0 => false,
            looks if comes => looks == 3,
            _ => began.elapsed() >= LINGER,
        }
    }

    #[test]
    fn it_ends_with_the_call_or_after_a_moment() {
        let lingering = on_cores(2);
        assert!(lingers(&lingering, true));
        assert!(lingers(&lingering, false));
    }

    #[test]
    fn a_single_core_is_left_at_once() {
        on_cores(1).linger(|| panic!("it looked"));
    }

    #[test]
    fn it_is_given_up_where_it_never_pays_and_kept_up_where_it_does_now_and_then() {
        let lingering = on_cores(2);
        let now_and_then = (0..PATIENCE * 8).all(|number| lingers(&lingering, number % 8 == 7));
        assert!(now_and_then);
        let never = (0..PATIENCE * 8).filter(|_| lingers(&lingering, false)).count();
        assert_eq!(never as u32, PATIENCE + 7);
        let again = (0..PATIENCE).filter(|_| lingers(&lingering, true)).count();
        assert_eq!(again as u32, PATIENCE);
    }
}
