//! No answer leaves that rests on an event which is not durable: a conflict with an append in
//! flight is told when that has settled, and decided again if it failed.

use std::sync::Arc;

use crate::support::{append_after, event, poll_once, start};
use seriatim::driver::DriverError;
use seriatim::driver::faults::{FaultyDriver, PutFault};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, AppendError, EventStore};
use uuid::Uuid;

async fn store() -> (EventStore, Arc<FaultyDriver>) {
    let faults = FaultyDriver::around(MemoryDriver::new());
    let store = EventStore::builder().driver(faults.clone()).arbiters(1).open().await.unwrap();
    (store, faults)
}

/// Two appends that expect the same, behind a held put: the first is accepted, and the second
/// refused because of it, in one put.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_told_when_the_put_it_rests_on_is_durable() {
    let (store, faults) = store().await;
    let held = faults.next_put_is_held();
    let first = start(store.append(append_after("a", 0)));
    held.sent().await;
    let accepted = start(store.append(append_after("a", 1)));
    let mut refused = start(store.append(append_after("a", 1)));
    let next = faults.next_put_is_held();
    held.release();
    first.await.unwrap();
    next.sent().await;
    assert!(poll_once(&mut refused).is_none(), "told before the put was durable");
    next.release();
    assert_eq!(accepted.await.unwrap().last, 2);
    match refused.await {
        Err(AppendError::Conflict { actual, .. }) => assert_eq!(actual, 2),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn and_decided_again_if_that_put_failed() {
    let (store, faults) = store().await;
    let held = faults.next_put_is_held();
    let first = start(store.append(append_after("a", 0)));
    held.sent().await;
    let failing = start(store.append(append_after("a", 1)));
    let decided_again = start(store.append(append_after("a", 1)));
    let reused = Uuid::new_v4();
    faults.next_put(PutFault::Fails(DriverError::failed("on demand")));
    held.release();
    first.await.unwrap();
    let failed = failing.await;
    assert!(matches!(failed, Err(AppendError::Driver { .. })), "{failed:?}");
    assert_eq!(decided_again.await.unwrap().last, 2, "what refused it was never written");
    assert_eq!(store.latest_sequence("a").await.unwrap(), 2);
    // The same for a commit id that was only reused in a put which failed.
    let held = faults.next_put_is_held();
    let first = start(store.append(append_after("a", 2)));
    held.sent().await;
    let failing = start(store.append(append_after("a", 3).commit_id(reused)));
    let other = start(store.append(Append::to("a").expect(3).event(event(9)).commit_id(reused)));
    faults.next_put(PutFault::Fails(DriverError::failed("on demand")));
    held.release();
    first.await.unwrap();
    failing.await.unwrap_err();
    assert_eq!(other.await.unwrap().last, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_nothing_of_a_put_in_flight() {
    let (store, faults) = store().await;
    store.append(append_after("a", 0)).await.unwrap();
    let held = faults.next_put_is_held();
    let writing = start(store.append(append_after("a", 1)));
    held.sent().await;
    assert_eq!(store.latest_sequence("a").await.unwrap(), 1);
    assert_eq!(store.read("a").collect().await.unwrap().len(), 1);
    held.release();
    writing.await.unwrap();
    assert_eq!(store.read("a").collect().await.unwrap().len(), 2);
}
