//! No aggregate takes in more appends than it has permits, and the store no more bytes than it has
//! room for, whichever way they come: by method, by the address of a [`StoreActor`], by clones of
//! that address, by a `Recipient`. A permit travels with the append until its answer, and is free
//! when the answer is there.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{
    self, append, append_after, assert_busy, held_driver, history, poll_once, start, until, within,
};
use actix::{Actor, Recipient};
use seriatim::actors::{LatestSequence, StoreActor};
use seriatim::driver::faults::FaultyDriver;
use seriatim::{Append, AppendError, Builder, EventStore, Expected, NewEvent};
use uuid::Uuid;

const PERMITS: usize = 4;

/// A store whose puts are held for as long as the test likes.
fn held(driver: &Arc<FaultyDriver>) -> Builder {
    EventStore::builder()
        .driver(driver.clone())
        .permits_per_aggregate(PERMITS)
        .put_attempt_timeout(Duration::from_secs(600))
        .put_deadline(Duration::from_secs(600))
}

/// Makes the aggregate known, so that its next append is put without a question before.
async fn warm(driver: &FaultyDriver, store: &EventStore, key: &str) {
    driver.let_through(1);
    within("the first append", store.append(append(key))).await.unwrap();
}

#[tokio::test]
async fn append_waits_for_a_permit_and_try_append_is_busy() {
    let driver = held_driver();
    let store = held(&driver).open().await.unwrap();
    warm(&driver, &store, "a").await;
    warm(&driver, &store, "b").await;

    let mut admitted: Vec<_> = (0..PERMITS).map(|_| start(store.append(append("a")))).collect();
    let mut waiting = start(store.append(append("a")));
    assert_busy(poll_once(&mut Box::pin(store.try_append(append("a")))), "a");
    let other = start(store.try_append(append("b")));
    until("both aggregates put", || driver.put_sizes().len() == 4).await;

    driver.let_through(2);
    assert_eq!(within("the first answer", admitted.remove(0)).await.unwrap().last, 2);
    within("the other aggregate's answer", other).await.unwrap();
    until("what was admitted is put", || driver.put_sizes().len() == 5).await;
    // The one that waited has the permit of the first, and may be in the put already.
    assert!(driver.put_sizes()[4] <= PERMITS, "the put holds an append that had no permit");

    assert!(poll_once(&mut waiting).is_none(), "answered, although it was not put");
    assert_busy(poll_once(&mut Box::pin(store.try_append(append("a")))), "a");
    driver.release_puts();
    for admitted in admitted {
        within("an admitted append", admitted).await.unwrap();
    }
    assert_eq!(within("the append that waited", waiting).await.unwrap().last, 6);
    store.close().await.unwrap();
}

#[actix::test]
async fn addresses_clones_and_recipients_take_the_same_permits() {
    const SENDERS: usize = 40;
    let driver = held_driver();
    let store = held(&driver).open().await.unwrap();
    warm(&driver, &store, "a").await;
    let address = StoreActor::new(store.clone()).start();

    let requests: Vec<_> = (0..SENDERS)
        .map(|sender| {
            // A clone of an address has room of its own in the actor's mailbox; that must not help
            // it.
            let clone = address.clone();
            let recipient: Recipient<Append> = address.clone().recipient();
            actix::spawn(async move {
                match sender % 2 {
                    0 => clone.send(append("a")).await,
                    _ => recipient.send(append("a")).await,
                }
            })
        })
        .collect();
    // The spawned senders run first, and the actor takes its messages in order: when this one is
    // answered, all of theirs have taken their permits or wait for one.
    actix::spawn(async move { address.send(LatestSequence::of("a")).await.unwrap() })
        .await
        .unwrap()
        .unwrap();
    assert_busy(poll_once(&mut Box::pin(store.try_append(append("a")))), "a");
    drop(start(store.try_append(append("b"))));

    driver.release_puts();
    let mut lasts = Vec::new();
    for request in requests {
        lasts.push(within("an answer", request).await.unwrap().unwrap().unwrap().last.get());
    }
    lasts.sort_unstable();
    assert_eq!(lasts, (2..2 + SENDERS as u64).collect::<Vec<_>>());
    let most = driver.put_sizes().into_iter().max().unwrap();
    assert!(most <= PERMITS, "a put holds {most} appends, so {most} were admitted");
    store.close().await.unwrap();
}

#[tokio::test]
async fn bytes_in_flight_bound_the_whole_store() {
    let sized = |key: &str, bytes: usize| {
        let data = format!("\"{}\"", "x".repeat(bytes - key.len() - "T".len() - 2));
        Append::to(key).event(NewEvent::raw("T", data))
    };
    let driver = held_driver();
    let store = held(&driver).bytes_in_flight(1_000).open().await.unwrap();

    let first = start(store.append(sized("a", 500)));
    let second = start(store.append(sized("b", 500)));
    assert_busy(poll_once(&mut Box::pin(store.try_append(sized("c", 10)))), "c");
    let third = start(store.append(sized("c", 10)));
    let larger_than_all_room = start(store.append(sized("d", 5_000)));
    until("the admitted are put", || driver.put_sizes().len() == 2).await;

    driver.let_through(2);
    within("the first", first).await.unwrap();
    within("the second", second).await.unwrap();
    driver.release_puts();
    // The large one stands behind it, and waits until it is alone.
    within("the third", third).await.unwrap();
    within("the one larger than all room", larger_than_all_room).await.unwrap();

    driver.hold_puts();
    let all_room = start(store.try_append(sized("e", 1_000)));
    assert_busy(poll_once(&mut Box::pin(store.try_append(sized("f", 10)))), "f");
    driver.release_puts();
    within("an append of all room", all_room).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permit_is_free_when_the_answer_is_there() {
    let store = EventStore::builder()
        .url("memory:")
        .permits_per_aggregate(1)
        .bytes_in_flight(100)
        .open()
        .await
        .unwrap();
    for latest in 0..5_000 {
        let appended = store.try_append(append_after("a", latest)).await;
        assert_eq!(appended.unwrap().last, latest + 1);
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn every_kind_of_answer_gives_its_permit_back() {
    let driver = held_driver();
    driver.release_puts();
    let store = held(&driver).permits_per_aggregate(1).open().await.unwrap();
    let id = Uuid::new_v4();
    for round in 0..10 {
        let first = store.try_append(append("a").expect(Expected::NoEvents).commit_id(id)).await;
        assert_eq!(first.unwrap().repeated, round > 0);
        let stale = store.try_append(append("a").expect(Expected::NoEvents)).await;
        assert!(stale.unwrap_err().is_conflict());
        let ahead = store.try_append(append_after("a", 99)).await;
        assert!(ahead.unwrap_err().is_conflict());
        let other_content = append("a").event(support::event(7)).commit_id(id);
        let reused = store.try_append(other_content).await;
        assert!(matches!(reused, Err(AppendError::CommitIdReused { .. })), "{reused:?}");
        let empty = store.try_append(Append::to("a")).await;
        assert!(matches!(empty, Err(AppendError::Empty { .. })), "{empty:?}");
    }
    assert_eq!(history(&store, "a").await.len(), 1);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_dropped_future_that_waits_gives_its_place_back() {
    let driver = held_driver();
    let store = held(&driver).permits_per_aggregate(1).open().await.unwrap();
    let admitted = start(store.append(append("a")));
    let second = start(store.append(append("a")));
    let third = start(store.append(append("a")));
    let fourth = start(store.append(append("a")));
    drop(third);
    drop(second);
    driver.release_puts();
    within("the admitted append", admitted).await.unwrap();
    assert_eq!(within("the fourth append", fourth).await.unwrap().last, 2);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_dropped_future_that_waits_for_a_seat_gives_its_place_back() {
    let driver = held_driver();
    let store = held(&driver).max_resident(1).open().await.unwrap();
    let admitted = start(store.append(append("a")));
    let first = start(store.append(append("b")));
    let second = start(store.append(append("b")));
    let third = start(store.append(append("c")));
    drop(first);
    drop(second);
    driver.release_puts();
    within("the admitted append", admitted).await.unwrap();
    assert_eq!(within("the append behind them", third).await.unwrap().last, 1);
    assert_eq!(store.latest_sequence("b").await.unwrap(), 0, "a dropped append was written");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_dropped_future_that_waits_for_bytes_gives_its_permit_back() {
    let driver = held_driver();
    let store = held(&driver).permits_per_aggregate(1).bytes_in_flight(30).open().await.unwrap();
    let all_room = start(store.append(append("a")));
    let waits_for_bytes = start(store.append(append("b")));
    drop(waits_for_bytes);
    driver.release_puts();
    within("the append that took all room", all_room).await.unwrap();
    let again = within("the aggregate's only permit", store.try_append(append("b"))).await;
    assert_eq!(again.unwrap().last, 1);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_dropped_future_that_was_admitted_keeps_its_permit_until_it_is_settled() {
    let driver = held_driver();
    let store = held(&driver).permits_per_aggregate(1).open().await.unwrap();
    drop(start(store.append(append("a"))));
    assert_busy(poll_once(&mut Box::pin(store.try_append(append("a")))), "a");
    until("it is put all the same", || driver.put_sizes().len() == 1).await;
    assert_busy(poll_once(&mut Box::pin(store.try_append(append("a")))), "a");
    driver.release_puts();
    let next = within("a permit", store.append(append("a"))).await.unwrap();
    assert_eq!(next.last, 2, "the dropped append was put, and must be there");
    store.close().await.unwrap();
}
