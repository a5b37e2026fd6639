//! A question that the driver fails to answer fails the mail that needs the answer, and no other.

use std::sync::Arc;

use seriatim::driver::DriverError;
use seriatim::driver::faults::{FaultyDriver, ReadFault};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{AppendError, EventStore};

use crate::support::{append_after, history, start, within};

/// With one event in the aggregate `a`.
async fn store_whose_next_question_fails(faults: &Arc<FaultyDriver>) -> EventStore {
    let store = EventStore::builder().driver(faults.clone()).arbiters(1).open().await.unwrap();
    store.append(append_after("a", 0)).await.unwrap();
    faults.next_check(ReadFault::Fails(DriverError::unavailable("on demand")));
    store
}

fn failed(answer: &Result<seriatim::Appended, AppendError>) -> bool {
    matches!(answer, Err(AppendError::Driver { source: DriverError::Unavailable { .. }, .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_asks_nothing_is_decided() {
    let faults = FaultyDriver::around(MemoryDriver::new());
    let store = store_whose_next_question_fails(&faults).await;
    let held = faults.next_put_is_held();
    let first = start(store.append(append_after("a", 1)));
    within("the first put", held.sent()).await;
    let ahead = start(store.append(append_after("a", 99)));
    let exact = start(store.append(append_after("a", 2)));
    held.release();
    within("the first append", first).await.unwrap();
    let ahead = within("the append that asks", ahead).await;
    assert!(failed(&ahead), "{ahead:?}");
    assert_eq!(within("the append behind it", exact).await.unwrap().last, 3);
    assert_eq!(history(&store, "a").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_needs_the_same_answer_does_not_ask_again() {
    let faults = FaultyDriver::around(MemoryDriver::new());
    let store = store_whose_next_question_fails(&faults).await;
    let held = faults.next_put_is_held();
    let first = start(store.append(append_after("a", 1)));
    within("the first put", held.sent()).await;
    let asked = faults.counts().check_sequence;
    let ahead: Vec<_> = (0..3).map(|_| start(store.append(append_after("a", 99)))).collect();
    held.release();
    within("the first append", first).await.unwrap();
    for ahead in ahead {
        let ahead = within("an append that asks", ahead).await;
        assert!(failed(&ahead), "{ahead:?}");
    }
    assert_eq!(faults.counts().check_sequence - asked, 1);

    // Mail that comes later asks for itself.
    let later = within("a later append", store.append(append_after("a", 99))).await;
    assert!(matches!(later, Err(AppendError::Conflict { .. })), "{later:?}");
}
