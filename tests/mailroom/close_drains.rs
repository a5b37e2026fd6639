//! Closing stops admission, lets what was admitted finish, and closes the driver, all within a
//! deadline; what it cannot finish is told so. Dropping the last handle does the same in the
//! background.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{
    DEADLINE, append, append_after, event, held_driver, held_driver_over, history, poll_once,
    start, until, within,
};
use actix::Actor;
use seriatim::actors::{LatestSequence, ReadPage, StoreActor};
use seriatim::driver::DriverError;
use seriatim::driver::faults::FaultyDriver;
use seriatim::driver::memory::MemoryDriver;
use seriatim::{AppendError, Builder, CloseError, EventStore, OpenError, ReadError};
use tempfile::TempDir;

/// Longer than any test waits: what ends before did not end by it.
const NEVER: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(100);

fn held(driver: &Arc<FaultyDriver>) -> Builder {
    let builder = EventStore::builder().driver(driver.clone());
    builder.put_attempt_timeout(NEVER).put_deadline(NEVER).close_deadline(NEVER)
}

fn redb(directory: &TempDir) -> Builder {
    EventStore::builder().url(format!("redb:{}", directory.path().display()))
}

async fn assert_closed(store: &EventStore) {
    assert!(matches!(store.append(append("a")).await, Err(AppendError::Closed)));
    assert!(matches!(store.try_append(append("a")).await, Err(AppendError::Closed)));
    assert!(matches!(store.append(append("new")).await, Err(AppendError::Closed)));
    assert!(matches!(store.append(append_after("a", 9)).await, Err(AppendError::Closed)));
    assert!(matches!(store.read("a").next().await, Some(Err(ReadError::Closed))));
    assert!(matches!(store.read("a").collect().await, Err(ReadError::Closed)));
    assert!(matches!(store.latest_sequence("a").await, Err(ReadError::Closed)));
    assert!(matches!(store.exists("a").await, Err(ReadError::Closed)));
    assert!(matches!(store.keys("").collect().await, Err(ReadError::Closed)));
    assert!(!AppendError::Closed.is_retryable() && !ReadError::Closed.is_retryable());
}

#[tokio::test]
async fn closing_stops_admission_and_lets_the_admitted_finish() {
    let memory = MemoryDriver::new();
    let driver = held_driver_over(memory.reopen());
    let store = held(&driver).permits_per_aggregate(3).max_resident(2).open().await.unwrap();
    let admitted: Vec<_> = (0..3).map(|_| start(store.append(append("a")))).collect();
    let other = start(store.append(append("b")));
    let waits_for_a_permit = start(store.append(append("a")));
    let waits_for_a_seat = start(store.append(append("c")));
    until("both aggregates put", || driver.put_sizes().len() == 2).await;

    let mut closing = start(store.close());
    assert!(matches!(store.append(append("a")).await, Err(AppendError::Closed)));
    assert!(matches!(store.try_append(append("b")).await, Err(AppendError::Closed)));
    // It would need some milliseconds to end too early.
    for _ in 0..50 {
        assert!(poll_once(&mut closing).is_none() && !driver.is_closed(), "did not wait");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    driver.release_puts();
    for admitted in admitted {
        within("an admitted append", admitted).await.unwrap();
    }
    within("another's", other).await.unwrap();
    // In the house before the door closed.
    assert_eq!(within("the one without a permit", waits_for_a_permit).await.unwrap().last, 4);
    // Not yet at the door.
    let at_the_door = within("the one without a seat", waits_for_a_seat).await;
    assert!(matches!(at_the_door, Err(AppendError::Closed)), "{at_the_door:?}");
    within("closing", closing).await.unwrap();
    assert_closed(&store).await;

    let reopened = EventStore::builder().driver(Arc::new(memory.reopen())).open().await.unwrap();
    assert_eq!(history(&reopened, "a").await.len(), 4);
    assert_eq!(history(&reopened, "b").await.len(), 1);
    assert!(!reopened.exists("c").await.unwrap());
    reopened.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_answered_while_closing_is_durable() {
    let directory = tempfile::tempdir().unwrap();
    let store = redb(&directory).open().await.unwrap();
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut answered = 0;
                loop {
                    match store.append(append(&format!("w/{writer}"))).await {
                        Ok(appended) => answered = appended.last.get(),
                        Err(AppendError::Closed) => return answered,
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    while store.latest_sequence("w/15").await.unwrap() < 5.into() {
        tokio::task::yield_now().await;
    }
    within("closing", store.close()).await.unwrap();
    // The directory is free as soon as the answer is there.
    let reopened = redb(&directory).open().await.unwrap();
    for (writer, answered) in writers.into_iter().enumerate() {
        let answered = within("a writer", answered).await.unwrap();
        assert_eq!(history(&reopened, &format!("w/{writer}")).await.len() as u64, answered);
    }
    reopened.close().await.unwrap();
}

#[tokio::test]
async fn a_driver_that_hangs_ends_in_unfinished_and_indeterminate() {
    let driver = held_driver();
    let store = held(&driver).close_deadline(SHORT).open().await.unwrap();
    let in_the_put = start(store.append(append("a")));
    until("the put", || driver.put_sizes().len() == 1).await;
    let behind_it = start(store.append(append("a")));
    let second_close = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    let first = within("closing", store.close()).await;
    let second = within("closing again", second_close).await.unwrap();
    let third = within("closing once more", store.close()).await;
    for answer in [first, second, third] {
        match answer {
            Err(CloseError::Unfinished { unfinished: 2, deadline }) => assert_eq!(deadline, SHORT),
            other => panic!("{other:?}"),
        }
    }
    let in_the_put = within("the answer of the put", in_the_put).await;
    assert!(matches!(in_the_put, Err(AppendError::Indeterminate { .. })), "{in_the_put:?}");
    let behind_it = within("the answer behind it", behind_it).await;
    assert!(matches!(behind_it, Err(AppendError::ActorFailed { .. })), "{behind_it:?}");
    assert_closed(&store).await;
}

#[tokio::test]
async fn a_driver_that_does_not_close_is_named_and_keeps_nobody_waiting() {
    let driver = held_driver();
    driver.release_puts();
    driver.close_hangs();
    let store = held(&driver).close_deadline(SHORT).open().await.unwrap();
    store.append(append("a")).await.unwrap();
    for _ in 0..2 {
        let closed = within("closing", store.close()).await;
        assert!(matches!(closed, Err(CloseError::Driver(_))), "{closed:?}");
        assert!(closed.unwrap_err().to_string().contains("100ms"));
    }
    assert!(matches!(store.append(append("a")).await, Err(AppendError::Closed)));
}

#[tokio::test]
async fn closing_goes_on_without_its_future() {
    let driver = held_driver();
    let store = held(&driver).open().await.unwrap();
    let admitted = start(store.append(append("a")));
    drop(start(store.close()));
    assert!(matches!(store.append(append("a")).await, Err(AppendError::Closed)));
    driver.release_puts();
    assert_eq!(within("the admitted append", admitted).await.unwrap().last, 1);
    until("the driver is closed", || driver.is_closed()).await;
    within("its answer", store.close()).await.unwrap();
}

#[tokio::test]
async fn closing_an_idle_store_and_closing_at_once_answer_the_same() {
    let store = EventStore::open("memory:").await.unwrap();
    for index in 0..100 {
        store.append(append(&format!("a/{index}"))).await.unwrap();
    }
    let closers: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.close().await })
        })
        .collect();
    for closer in closers {
        within("closing", closer).await.unwrap().unwrap();
    }
    assert_closed(&store).await;
    until("nobody is resident", || store.resident() == 0).await;
}

/// Opens the directory as soon as nobody holds it.
async fn open_when_free(directory: &TempDir) -> EventStore {
    let began = std::time::Instant::now();
    loop {
        match redb(directory).open().await {
            Ok(store) => return store,
            Err(OpenError::Driver { source: DriverError::Failed { message, .. }, .. })
                if message.contains("open already") && began.elapsed() < DEADLINE =>
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn dropping_the_last_handle_closes_in_the_background() {
    let directory = tempfile::tempdir().unwrap();
    let store = redb(&directory).open().await.unwrap();
    let clone = store.clone();
    drop(store);
    clone.append(append("a")).await.unwrap();
    // Admitted, and nobody waits for it: closing finishes it all the same.
    drop(start(clone.append(append("a").event(event(1)))));
    let mut read = clone.read("a");
    drop(clone);
    let store = open_when_free(&directory).await;
    assert_eq!(history(&store, "a").await.len(), 3);
    // A stream is no handle: it does not keep the store open, and says so.
    assert!(matches!(within("the stream", read.next()).await, Some(Err(ReadError::Closed))));
    within("closing", store.close()).await.unwrap();
}

#[tokio::test]
async fn an_opening_that_is_dropped_leaves_nothing_open() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        // Polled, so that it begins; it may end at once where the one before still holds the
        // directory.
        let mut opening = Box::pin(redb(&directory).open());
        drop(poll_once(&mut opening));
    }
    let store = open_when_free(&directory).await;
    assert_eq!(store.append(append("a")).await.unwrap().last, 1);
    within("closing", store.close()).await.unwrap();
}

#[actix::test]
async fn a_store_actor_is_a_handle() {
    let directory = tempfile::tempdir().unwrap();
    let store = redb(&directory).open().await.unwrap();
    let address = StoreActor::new(store).start();
    for expected in 1..=3 {
        let appended = within("an answer", address.send(append("a"))).await.unwrap().unwrap();
        assert_eq!(appended.last, expected);
    }
    assert!(redb(&directory).open().await.is_err(), "the actor does not hold the store");
    drop(address);
    let store = open_when_free(&directory).await;
    assert_eq!(history(&store, "a").await.len(), 3);

    // Closed by another handle, the actor says so.
    let address = StoreActor::new(store.clone()).start();
    store.close().await.unwrap();
    let append = address.send(append("a")).await.unwrap();
    assert!(matches!(append, Err(AppendError::Closed)), "{append:?}");
    let page = address.send(ReadPage::of("a")).await.unwrap();
    assert!(matches!(page, Err(ReadError::Closed)), "{page:?}");
    let latest = address.send(LatestSequence::of("a")).await.unwrap();
    assert!(matches!(latest, Err(ReadError::Closed)), "{latest:?}");
}
