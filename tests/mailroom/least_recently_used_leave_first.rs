//! When seats run short, those leave that were used least recently: a use keeps an aggregate
//! resident, and no number of uses without a lease keeps a seat from one that waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{append, append_after, poll_once, within};
use seriatim::EventStore;

const MAX_RESIDENT: usize = 64;
fn key(number: usize) -> String {
    format!("a/{number}")
}

/// Only of a resident aggregate the store knows without asking that this is stale.
fn is_resident(store: &EventStore, number: usize) -> bool {
    let refused = store.stats().early_conflicts;
    drop(poll_once(&mut Box::pin(store.append(append_after(&key(number), 0)))));
    store.stats().early_conflicts > refused
}

#[tokio::test]
async fn those_that_are_used_stay() {
    const USED: usize = 4;
    let store =
        EventStore::builder().url("memory:").max_resident(MAX_RESIDENT).open().await.unwrap();
    // Uses are told apart by ticks. The first search for room begins one.
    for number in 0..MAX_RESIDENT {
        within("an append", store.append(append_after(&key(number), 0))).await.unwrap();
    }
    let used = MAX_RESIDENT..MAX_RESIDENT + USED;
    for number in MAX_RESIDENT..10 * MAX_RESIDENT {
        within("an append", store.append(append_after(&key(number), 0))).await.unwrap();
        for used in used.clone().filter(|used| *used < number) {
            assert!(is_resident(&store, used), "{used} is used, and left when {number} came");
        }
    }
    // An aggregate that was not used for so many others has left.
    assert!(!is_resident(&store, used.end));
    assert!(store.resident() <= MAX_RESIDENT);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uses_without_a_lease_keep_no_seat_from_one_that_waits() {
    let store = EventStore::builder().url("memory:").max_resident(1).open().await.unwrap();
    within("the first", store.append(append_after(&key(0), 0))).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let refused: Vec<_> = (0..4)
        .map(|_| {
            let (store, stop) = (store.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    is_resident(&store, 0);
                }
            })
        })
        .collect();
    for number in 1..500 {
        within("a seat", store.append(append_after(&key(number), 0))).await.unwrap();
        // The aggregate that is refused on has the seat again.
        within("the seat", store.append(append(&key(0)))).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for refused in refused {
        refused.join().unwrap();
    }
    store.close().await.unwrap();
}
