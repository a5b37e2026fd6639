//! Whether the next frame waits for callers that were just answered.
//!
//! A caller that appends again at once comes back while the writer begins the next frame, and
//! misses it. Such callers split into two halves that take turns, each waiting for the other's
//! flush. A short wait lets most of them share a flush. It delays those that wait already, so it
//! must bring at least as many more puts, in proportion, as the frame takes longer. If it did not,
//! it is not tried again for some frames.
//!
//! With many callers, their own work takes as long as the flush and overlaps with it, so waiting
//! gains nothing. No answer depends on the wait: it only moves the moment at which a frame begins.

use std::time::{Duration, Instant};

/// The longest wait; also never more than half of a frame's time.
const LONGEST: Duration = Duration::from_millis(2);
/// The most callers that a frame waits for.
const FEW: usize = 64;
/// Frames that begin without a wait after a wait in vain.
const FRAMES_WITHOUT: u32 = 32;

/// What the writer knows of earlier frames.
#[derive(Default)]
pub(in crate::driver::redb) struct FlushDelay {
    /// How long a frame takes, from its first byte to its last answer.
    frame_takes: Duration,
    /// When the latest frame's callers were answered, and how many.
    answered: Option<(Instant, usize)>,
    frames_without: u32,
}

/// A wait for so many puts, or until then.
#[derive(Clone, Copy, Debug)]
pub(in crate::driver::redb) struct FlushWait {
    pub(in crate::driver::redb) puts: usize,
    pub(in crate::driver::redb) until: Instant,
    began: Instant,
    there: usize,
}

impl FlushDelay {
    /// A frame's callers were answered; it was begun at `began`.
    pub(in crate::driver::redb) fn answered(&mut self, puts: usize, began: Instant, now: Instant) {
        let took = now.saturating_duration_since(began);
        self.frame_takes = match self.frame_takes.is_zero() {
            true => took,
            false => (self.frame_takes * 7 + took) / 8,
        };
        self.answered = Some((now, puts));
    }

    /// Whether to wait before the next frame, for which `there` puts wait already.
    pub(in crate::driver::redb) fn expected(&mut self, there: usize) -> Option<FlushWait> {
        let (began, answered) = self.answered.take()?;
        if self.frames_without > 0 {
            self.frames_without -= 1;
            return None;
        }
        // Some do not come back, and must not be waited for each time.
        let all = there + answered;
        let puts = all - all / 8;
        let until = began + LONGEST.min(self.frame_takes / 2);
        (puts > there.max(1) && all <= FEW).then_some(FlushWait { puts, until, began, there })
    }

    /// The wait is over, and so many puts are there.
    pub(in crate::driver::redb) fn came(&mut self, wait: FlushWait, puts: usize, now: Instant) {
        let waited = now.saturating_duration_since(wait.began);
        // Without the wait the frame would have taken what was there, or the first that came.
        let without = wait.there.max(1);
        let gained = puts.saturating_sub(without) as f64 / without as f64;
        if gained * self.frame_takes.as_secs_f64() < waited.as_secs_f64() {
            self.frames_without = FRAMES_WITHOUT;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_micros(400);

    /// A frame of 400 µs with so many puts was answered now.
    fn after_a_frame(puts: usize) -> (FlushDelay, Instant) {
        let (mut flush_delay, began) = (FlushDelay::default(), Instant::now());
        flush_delay.answered(puts, began, began + FRAME);
        (flush_delay, began + FRAME)
    }

    #[test]
    fn callers_that_were_answered_are_waited_for_half_a_frame_at_most() {
        let (mut flush_delay, now) = after_a_frame(16);
        let wait = flush_delay.expected(16).unwrap();
        assert_eq!((wait.puts, wait.until), (28, now + FRAME / 2));
        assert!(flush_delay.expected(16).is_none(), "once for each frame");
    }

    #[test]
    fn a_lone_caller_waits_for_nobody_and_nobody_for_many() {
        let (mut flush_delay, _) = after_a_frame(1);
        assert!(flush_delay.expected(0).is_none());
        let (mut flush_delay, _) = after_a_frame(40);
        assert!(flush_delay.expected(40).is_none());
        assert!(FlushDelay::default().expected(5).is_none());
    }

    #[test]
    fn what_was_waited_for_in_vain_is_not_waited_for_again_soon() {
        let (mut flush_delay, now) = after_a_frame(16);
        let wait = flush_delay.expected(16).unwrap();
        flush_delay.came(wait, 20, now + FRAME / 2);
        for frame in 0..FRAMES_WITHOUT {
            flush_delay.answered(16, now, now + FRAME);
            assert!(flush_delay.expected(16).is_none(), "frame {frame}");
        }
        flush_delay.answered(16, now, now + FRAME);
        assert!(flush_delay.expected(16).is_some());
    }

    #[test]
    fn a_wait_that_paid_is_made_again() {
        let (mut flush_delay, now) = after_a_frame(16);
        let wait = flush_delay.expected(16).unwrap();
        flush_delay.came(wait, 28, now + FRAME / 4);
        flush_delay.answered(28, now, now + FRAME);
        assert!(flush_delay.expected(4).is_some());
    }
}
