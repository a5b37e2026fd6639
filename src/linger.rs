//! A moment awake before a thread goes to sleep.
//!
//! Putting a thread to sleep and waking it costs both sides some microseconds, more than an append's work in any one
//! thread. What a busy thread waits for mostly comes within a few microseconds; so it looks for it a while before it
//! sleeps, and gives its core to whoever else wants it meanwhile. A thread that nobody wakes pays nothing.

use std::time::{Duration, Instant};

/// Some appends' worth of work in the thread that is waited for, and less than two wake-ups cost.
const LINGER: Duration = Duration::from_micros(10);
/// Looks between two offers of the core, which are system calls.
const LOOKS: u32 = 8;

/// Returns when `is_called` says so, and after [`LINGER`] at the latest.
pub(crate) fn linger(is_called: impl Fn() -> bool) {
    let began = Instant::now();
    while began.elapsed() < LINGER {
        for _ in 0..LOOKS {
            if is_called() {
                return;
            }
            std::hint::spin_loop();
        }
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn it_ends_with_the_call_or_after_a_moment() {
        let looks = Cell::new(0);
        linger(|| {
            looks.set(looks.get() + 1);
            looks.get() == 3
        });
        assert_eq!(looks.get(), 3);
        let began = Instant::now();
        linger(|| false);
        assert!(began.elapsed() >= LINGER);
    }
}
