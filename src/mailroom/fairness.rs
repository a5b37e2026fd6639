//! Pauses in which other stores can put to the same aggregate.
//!
//! The store that has just committed knows the next sequence and can send its next put at once. A
//! store that lost to it must read first, so it is always one round trip behind. Between two stores
//! whose callers never pause, one would win every race, and the appends of the other would wait
//! until their deadline. So if a driver is not [exclusive](crate::driver::Driver::is_exclusive), a
//! store sometimes pauses between two puts for long enough that another store can read and put:
//! often when it met events of another store, and seldom otherwise, because a store that wins every
//! race meets nobody.

use std::time::{Duration, Instant};

/// After this time without events of another store, a store counts as alone.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Puts between two pauses after another store was met.
const AMONG_OTHERS: u32 = 8;
/// Puts between two pauses otherwise: fewer than one append in a hundred waits for one.
const ALONE: u32 = 128;
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What a slot remembers of other stores.
#[derive(Debug, Default)]
pub(super) struct Fairness {
    met: Option<Instant>,
    in_a_row: u32,
}

impl Fairness {
    /// A put conflicted with what another store wrote.
    pub(super) fn met_another(&mut self) {
        self.met = Some(Instant::now());
        self.in_a_row = 0;
    }

    /// A put that was formed at this moment is committed: how long the next put pauses.
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
        // About a read and a put of the other store; random, so that two stores do not pause in
        // step.
        Some(round_trip.mul_f64(1.5 + fastrand::f64()).min(LONGEST_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(5);

    /// After how many puts the pauses come.
    fn runs(since_met: Option<Duration>) -> Vec<usize> {
        let mut fairness = Fairness::default();
        let paused = |_: &usize| {
            let pause = fairness.pause(since_met, ROUND_TRIP);
            assert!(pause.is_none_or(|pause| (7..=13).contains(&pause.as_millis())), "{pause:?}");
            pause.is_some()
        };
        (1..=300).filter(paused).collect()
    }

    #[test]
    fn a_store_that_is_alone_pauses_seldom() {
        assert_eq!(runs(None), [128, 256]);
    }

    #[test]
    fn a_store_that_met_another_pauses_often() {
        assert_eq!(runs(Some(Duration::ZERO))[..3], [8, 16, 24]);
    }

    #[test]
    fn others_are_forgotten() {
        assert_eq!(runs(Some(REMEMBERED * 2)), [128, 256]);
    }
}
