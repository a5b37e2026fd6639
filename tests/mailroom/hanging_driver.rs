//! A driver that hangs harms only those who wait for it, and they are told within their deadlines.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{self, append_after, event, start, within};
use seriatim::driver::faults::{FaultyDriver, PutFault, ReadFault};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, AppendError, EventStore, ReadError};

async fn impatient() -> (EventStore, Arc<FaultyDriver>) {
    let faults = FaultyDriver::around(MemoryDriver::new());
    let store = EventStore::builder()
        .driver(faults.clone())
        .arbiters(1)
        .put_attempt_timeout(Duration::from_millis(50))
        .put_deadline(Duration::from_millis(300))
        .read_deadline(Duration::from_millis(100))
        .open()
        .await
        .unwrap();
    (store, faults)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_hangs_once_is_sent_again() {
    let (store, faults) = impatient().await;
    faults.next_put(PutFault::Hangs);
    let appended = within("an append", store.append(append_after("a", 0))).await.unwrap();
    assert_eq!((appended.last.get(), faults.counts().put_events), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_hangs_for_good_is_indeterminate_and_others_go_on() {
    let (store, faults) = impatient().await;
    store.append(append_after("a", 0)).await.unwrap();
    faults.every_nth_put(1, PutFault::Hangs);
    let hanging = start(store.append(append_after("a", 1)));
    let behind = start(store.append(append_after("a", 1)));
    support::until("the put was sent", || faults.counts().put_events >= 2).await;
    faults.every_nth_put(0, PutFault::Hangs);
    // Its resend goes through, as would anybody's.
    faults.every_nth_put(1, PutFault::Hangs);
    let told = within("an answer", hanging).await;
    assert!(matches!(told, Err(AppendError::Indeterminate { .. })), "{told:?}");
    faults.every_nth_put(0, PutFault::Hangs);
    // Every caller behind it is served, or told that it waited too long.
    match within("the one behind", behind).await {
        Ok(appended) => assert_eq!(appended.last, 2),
        Err(AppendError::Indeterminate { .. } | AppendError::Timeout { .. }) => {}
        Err(other) => panic!("{other}"),
    }
    let latest = store.latest_sequence("a").await.unwrap().get();
    let next = within("the next append", store.append(append_after("a", latest))).await;
    assert_eq!(next.unwrap().last, latest + 1);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_aggregates_are_not_kept_waiting() {
    let (store, faults) = impatient().await;
    let held = faults.next_put_is_held();
    let hanging = start(store.append(append_after("a", 0)));
    held.sent().await;
    for expected in 0..100 {
        store.append(append_after("b", expected)).await.unwrap();
    }
    held.release();
    assert_eq!(within("the held one", hanging).await.unwrap().last, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_hang_end_at_their_deadline() {
    let (store, faults) = impatient().await;
    for expected in 0..3 {
        store.append(append_after("a", expected)).await.unwrap();
    }
    faults.next_fetch(0, ReadFault::Hangs);
    let read = within("a read", store.read("a").collect()).await;
    assert!(matches!(read, Err(ReadError::Timeout { .. })), "{read:?}");
    assert_eq!(store.read("a").collect().await.unwrap().len(), 3);

    faults.next_check(ReadFault::Hangs);
    let refused = within("a check", store.append(append_after("a", 7))).await;
    assert!(matches!(refused, Err(AppendError::Driver { .. })), "{refused:?}");
    faults.next_latest(ReadFault::Hangs);
    let refused = within("a latest", store.append(Append::to("cold").event(event(0)))).await;
    match refused {
        Err(error @ AppendError::Driver { .. }) => assert!(error.is_retryable(), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.append(Append::to("cold").event(event(0))).await.unwrap().last, 1);
    assert_eq!(store.append(append_after("a", 3)).await.unwrap().last, 4);
}
