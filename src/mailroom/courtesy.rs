//! Room for other stores that put to the same aggregate.
//!
//! Who has just committed knows the next sequence and can send its next put at once; who lost to it must read
//! first, and is a round trip behind for ever. Between two stores whose callers never pause, one would win
//! every race, and the other's appends would wait until their deadline. So where a driver is not
//! [exclusive](crate::driver::Driver::is_exclusive), a pause is left between two puts now and then, long enough for
//! a read and a put: often when another store's events were met, and seldom otherwise, because a store that wins
//! every race meets nobody.

use std::time::{Duration, Instant};

/// After so long without another store's events it counts as alone again.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Puts before a pause, when another store was met.
const AMONG_OTHERS: u32 = 8;
/// Puts before a pause otherwise: fewer than one append in a hundred may wait for it.
const ALONE: u32 = 128;
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What an aggregate's slot remembers of other stores.
#[derive(Debug, Default)]
pub(super) struct Courtesy {
    met: Option<Instant>,
    in_a_row: u32,
}

impl Courtesy {
    /// A put conflicted with what another store wrote.
    pub(super) fn met_another(&mut self) {
        self.met = Some(Instant::now());
        self.in_a_row = 0;
    }

    /// A put that was formed then is committed: how long the next one should wait.
    pub(super) fn pause_after(&mut self, formed: Instant) -> Option<Duration> {
        let since_met = self.met.map(|met| met.elapsed());
        self.pause(since_met, formed.elapsed())
    }

    fn pause(&mut self, since_met: Option<Duration>, round_trip: Duration) -> Option<Duration> {
        let most = match since_met {
            Some(since) if since <= REMEMBERED => AMONG_OTHERS,
            _ => ALONE,
        };
        self.in_a_row += 1;
        if self.in_a_row < most {
            return None;
        }
        self.in_a_row = 0;
        // A read and a put of the other one, more or less, so that two do not pause in step.
        Some(round_trip.mul_f64(1.5 + fastrand::f64()).min(LONGEST_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(5);

    /// After how many puts each there is a pause.
    fn runs(since_met: Option<Duration>) -> Vec<usize> {
        let mut courtesy = Courtesy::default();
        let paused = |_: &usize| {
            let pause = courtesy.pause(since_met, ROUND_TRIP);
            assert!(pause.is_none_or(|pause| (7..=13).contains(&pause.as_millis())), "{pause:?}");
            pause.is_some()
        };
        (1..=300).filter(paused).collect()
    }

    #[test]
    fn who_is_alone_pauses_seldom() {
        assert_eq!(runs(None), [128, 256]);
    }

    #[test]
    fn who_has_met_another_pauses_often() {
        assert_eq!(runs(Some(Duration::ZERO))[..3], [8, 16, 24]);
    }

    #[test]
    fn others_are_forgotten() {
        assert_eq!(runs(Some(REMEMBERED * 2)), [128, 256]);
    }
}
