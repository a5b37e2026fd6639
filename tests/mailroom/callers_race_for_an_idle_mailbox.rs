//! Callers that find an aggregate idle at the same moment: one takes the turn, the others wait for
//! it. No two puts of an aggregate are in flight, and one of several equal expectations holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use seriatim::{Append, AppendError, Appended, EventStore};

use crate::support::callback_driver::CallbackDriver;
use crate::support::{append, append_after, history, within};

const CALLERS: usize = 4;
const ROUNDS: usize = 300;

/// A store whose driver answers from a thread of its own, until it is dropped.
struct Answering {
    driver: Arc<CallbackDriver>,
    stop: Arc<AtomicBool>,
}

impl Answering {
    fn start() -> Self {
        let driver = Arc::new(CallbackDriver::default());
        let stop = Arc::new(AtomicBool::new(false));
        let (answering, stopped) = (driver.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if !answering.answer_next() {
                    std::thread::yield_now();
                }
            }
        });
        Answering { driver, stop }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn key(round: usize) -> String {
    format!("a/{round}")
}

/// Lets the callers make one append each, in every round to a new aggregate: all answers, by
/// round.
async fn race(
    store: &EventStore,
    append: fn(&str) -> Append,
) -> Vec<Vec<Result<Appended, AppendError>>> {
    let barrier = Arc::new(tokio::sync::Barrier::new(CALLERS));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (store, barrier) = (store.clone(), barrier.clone());
            tokio::spawn(async move {
                let mut answers = Vec::new();
                for round in 0..ROUNDS {
                    barrier.wait().await;
                    answers.push(store.append(append(&key(round))).await);
                }
                answers
            })
        })
        .collect();
    let mut by_round: Vec<_> = (0..ROUNDS).map(|_| Vec::new()).collect();
    for caller in callers {
        let answers = within("a caller", caller).await.unwrap();
        by_round.iter_mut().zip(answers).for_each(|(round, answer)| round.push(answer));
    }
    by_round
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_has_its_turn() {
    let answering = Answering::start();
    let driver = answering.driver.clone();
    let store = EventStore::builder().driver(driver.clone()).open().await.unwrap();
    for (round, answers) in race(&store, append).await.into_iter().enumerate() {
        let mut last: Vec<_> =
            answers.into_iter().map(|answer| answer.unwrap().last.get()).collect();
        last.sort_unstable();
        assert_eq!(last, [1, 2, 3, 4], "in round {round}");
        assert_eq!(history(&store, &key(round)).await.len(), CALLERS);
    }
    assert_eq!(driver.overlaps(), 0, "two puts of one aggregate at a time");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_those_that_expect_nothing_wins() {
    let answering = Answering::start();
    let driver = answering.driver.clone();
    let store = EventStore::builder().driver(driver.clone()).open().await.unwrap();
    for (round, answers) in race(&store, |key| append_after(key, 0)).await.into_iter().enumerate() {
        let won = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(won, 1, "in round {round}");
        for lost in answers.into_iter().filter_map(Result::err) {
            assert!(matches!(lost, AppendError::Conflict { .. }), "{lost}");
        }
    }
    assert_eq!(driver.overlaps(), 0, "two puts of one aggregate at a time");
    store.close().await.unwrap();
}
