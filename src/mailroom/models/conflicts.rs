//! Puts that lose a race with another process come back to the actor.

use shuttle::future::block_on;
use shuttle::thread;

use super::harness::{config, run, search};
use crate::append::Expected;

#[test]
fn what_comes_back_from_a_conflict_is_decided_again_and_nothing_is_lost() {
    search(|| {
        run(config(), |store| {
            // It is resident, and its actor knows nothing of the other process.
            block_on(store.append("a", Expected::Any, 1)).unwrap();
            let rival = store.rival("a");
            let writers: Vec<_> = (0..2).map(|_| store.writer("a", 2)).collect();
            let written: Vec<_> =
                writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
            rival.join().unwrap();
            let mut distinct = written.clone();
            distinct.sort();
            distinct.dedup();
            assert_eq!(distinct.len(), 4, "{written:?}");
            assert_eq!(store.latest("a").get(), 1 + 4 + 1);
            while store.mailroom().stats().in_flight > 0 {
                thread::yield_now();
            }
        });
    });
}
