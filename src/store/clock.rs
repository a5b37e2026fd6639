//! A clock that does not follow a jump at once.
//!
//! Where there is a log, recorded-at never decreases along positions. So one event under a clock
//! that is 20 years ahead would put every later event there too. This clock compares what it reads
//! with the time that has passed by the monotonic clock. While both differ by more than a bound, it
//! goes on from where it was. A clock that stands by its jump is believed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::mailroom::Clock;

/// The longest time for which a clock must stand by a jump.
const LONGEST_DOUBT: Duration = Duration::from_secs(60);

/// The last reading that was believed, and when.
struct Believed {
    time: SystemTime,
    at: Instant,
    /// When the clock was first seen to disagree with it.
    doubted: Option<Instant>,
}

/// The clock without jumps of more than `bound`.
pub(super) fn without_jumps(clock: Clock, bound: Duration) -> Clock {
    let believed: Mutex<Option<Believed>> = Mutex::new(None);
    Arc::new(move || {
        let read = clock();
        let mut believed = believed.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let time = match &mut *believed {
            Some(last) => last.follow(read, now, bound),
            None => read,
        };
        if time == read {
            *believed = Some(Believed { time, at: now, doubted: None });
        }
        time
    })
}

impl Believed {
    /// The time to go by, when the clock reads `read`.
    fn follow(&mut self, read: SystemTime, now: Instant, bound: Duration) -> SystemTime {
        let passed = now.saturating_duration_since(self.at);
        let Some(expected) = self.time.checked_add(passed) else { return read };
        let jump = match read.duration_since(expected) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        };
        if jump <= bound {
            return read;
        }
        let doubted = *self.doubted.get_or_insert_with(|| {
            tracing::warn!(?jump, ?bound, "the clock has jumped; events keep the time without it");
            now
        });
        if now.saturating_duration_since(doubted) < bound.min(LONGEST_DOUBT) {
            return expected;
        }
        tracing::warn!(?jump, "the clock stands by its jump and is believed");
        read
    }
}
