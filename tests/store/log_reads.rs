//! The log is read by position, forwards and backwards, limited, from a time, and filtered by key
//! and type, on every driver that has one; a driver that has none says which do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use crate::support::logged::{self, happen, on_each, positions};
use crate::support::{assert_says, within};
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::redb::RedbDriver;
use seriatim::driver::{Driver, DriverError, EventPages, Fetch, Put, PutReceipt, async_trait};
use seriatim::{
    AggregateKey, Append, EventStore, NewEvent, ReadError, Sequence, Timestamp, Upcast,
};

/// Position n is an event of `light/…` where n is odd, of `door/…` where it is even; every third
/// one is Closed.
async fn fill(store: &EventStore, events: u64) {
    for n in 1..=events {
        let key = format!("{}/{}", if n % 2 == 1 { "light" } else { "door" }, n % 5);
        let position = happen(store, &key, if n % 3 == 0 { "Closed" } else { "Opened" }).await;
        assert_eq!(position, n, "positions are not dense");
    }
}

#[tokio::test]
async fn forwards_backwards_and_limited() {
    on_each(|store| async move {
        let log = store.log().unwrap();
        assert_eq!(log.last_position().unwrap(), 0);
        assert!(log.read().collect().await.unwrap().is_empty());
        assert!(log.read().backwards().collect().await.unwrap().is_empty());
        fill(&store, 50).await;
        assert_eq!(log.last_position().unwrap(), 50);
        let read = |from: Option<u64>, backwards: bool, limit: Option<usize>| {
            let read = from.map_or(log.read(), |from| log.read().from(from));
            let read = if backwards { read.backwards() } else { read };
            read.limit(limit.unwrap_or(usize::MAX))
        };
        for from in [None, Some(0), Some(1), Some(7), Some(50), Some(51), Some(u64::MAX)] {
            for limit in [None, Some(0), Some(1), Some(9), Some(1_000)] {
                let found = read(from, false, limit).collect().await.unwrap();
                let wanted = from.unwrap_or(1).max(1)..=50;
                let wanted: Vec<u64> = wanted.take(limit.unwrap_or(99)).collect();
                assert_eq!(positions(&found), wanted, "from {from:?}, limit {limit:?}");
                let found = read(from, true, limit).collect().await.unwrap();
                let wanted = (1..=from.unwrap_or(50).min(50)).rev();
                let wanted: Vec<u64> = wanted.take(limit.unwrap_or(99)).collect();
                assert_eq!(positions(&found), wanted, "backwards from {from:?}, limit {limit:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn filtered_by_key_and_type() {
    on_each(|store| async move {
        fill(&store, 60).await;
        let log = store.log().unwrap();
        let odd: Vec<u64> = (1..=60).filter(|n| n % 2 == 1).collect();
        let lights = log.read().category("light").collect().await.unwrap();
        assert_eq!(positions(&lights), odd);
        assert!(log.read().category("ligh").collect().await.unwrap().is_empty());
        let prefixed = log.read().prefix("ligh").collect().await.unwrap();
        assert_eq!(positions(&prefixed), odd);
        let closed = log.read().event_types(["Closed", "Burnt"]).collect().await.unwrap();
        assert_eq!(positions(&closed), (1..=20).map(|n| n * 3).collect::<Vec<u64>>());
        let both = log.read().category("door").event_types(["Closed"]).backwards().limit(2);
        assert_eq!(positions(&both.collect().await.unwrap()), [60, 54]);
        assert!(log.read().event_types(["Burnt"]).collect().await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn from_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let drivers: [Arc<dyn Driver>; 2] =
        [Arc::new(MemoryDriver::new()), Arc::new(RedbDriver::open(directory.path()).unwrap())];
    for driver in drivers {
        let now = Arc::new(AtomicU64::new(0));
        let clock = now.clone();
        let store = EventStore::builder()
            .driver(driver)
            .clock(move || UNIX_EPOCH + Duration::from_micros(clock.load(Ordering::SeqCst)))
            .open()
            .await
            .unwrap();
        // Recorded at 10, 20, 20, 30: the third clock went back and is held.
        for time in [10, 20, 15, 30] {
            now.store(time, Ordering::SeqCst);
            happen(&store, "a", "Ticked").await;
        }
        let log = store.log().unwrap();
        for (time, first) in [(0, 1), (10, 1), (11, 2), (20, 2), (21, 4), (30, 4), (31, 5)] {
            let time = Timestamp::from_micros(time);
            assert_eq!(log.position_at(time).unwrap(), first, "{time:?}");
            let found = log.read().from_time(time).collect().await.unwrap();
            assert_eq!(positions(&found), (first..=4).collect::<Vec<u64>>(), "{time:?}");
        }
        for (time, last) in [(9, 0), (10, 1), (19, 1), (20, 3), (29, 3), (30, 4), (99, 4)] {
            let time = Timestamp::from_micros(time);
            let found = log.read().from_time(time).backwards().collect().await.unwrap();
            assert_eq!(positions(&found), (1..=last).rev().collect::<Vec<u64>>(), "{time:?}");
        }
        store.close().await.unwrap();
    }
}

/// Long enough for many pages of the log, of many segments, in the tail and in redb.
#[tokio::test]
async fn page_by_page_over_tail_and_redb() {
    let directory = tempfile::tempdir().unwrap();
    let url = logged::redb(directory.path());
    let driver = Arc::new(RedbDriver::open(directory.path()).unwrap());
    let store = EventStore::builder().driver(driver.clone()).open().await.unwrap();
    let filler = format!(r#"{{"filler":"{}"}}"#, "x".repeat(500));
    let mut count = 0;
    for round in 0..2 {
        for batch in 0..40 {
            let events = (0..100).map(|_| NewEvent::raw("Filled", filler.clone()));
            let append = Append::to(format!("a/{}", batch % 7)).events(events);
            store.append(append).await.unwrap();
            count += 100;
        }
        let log = store.log().unwrap();
        let forwards = within("the log", log.read().collect()).await.unwrap();
        assert_eq!(positions(&forwards), (1..=count).collect::<Vec<u64>>(), "round {round}");
        let mut backwards = within("the log", log.read().backwards().collect()).await.unwrap();
        backwards.reverse();
        assert_eq!(backwards, forwards, "round {round}");
        if round == 0 {
            // Applies everything first. So the first half is in redb, and the second in the tail.
            driver.reindex().unwrap();
        }
    }
    store.close().await.unwrap();
    drop((store, driver));
    let store = EventStore::open(&url).await.unwrap();
    let log = store.log().unwrap();
    assert_eq!(log.last_position().unwrap(), count);
    let reopened = log.read().from(count / 2).limit(3).collect().await.unwrap();
    assert_eq!(positions(&reopened), [count / 2, count / 2 + 1, count / 2 + 2]);
    store.close().await.unwrap();
    assert!(matches!(log.last_position(), Err(ReadError::Closed)));
}

#[tokio::test]
async fn in_their_latest_form() {
    let store = EventStore::builder()
        .url("memory:")
        .upcaster("a", "Old", 1, |_| Ok(Upcast::to(2, &1).event_type("New")))
        .open()
        .await
        .unwrap();
    happen(&store, "a", "Old").await;
    happen(&store, "b", "Other").await;
    let found = store.log().unwrap().read().event_types(["New"]).collect().await.unwrap();
    assert_eq!(positions(&found), [1]);
    let found = store.log().unwrap().read().event_types(["Old"]).collect().await.unwrap();
    assert!(found.is_empty());
    store.close().await.unwrap();
}

pub(crate) struct NoLogHere;

#[async_trait]
impl Driver for NoLogHere {
    async fn check_sequence(&self, _: &AggregateKey, _: Sequence) -> Result<bool, DriverError> {
        Ok(false)
    }

    fn fetch_events(&self, _: &AggregateKey, _: Fetch) -> EventPages {
        Box::pin(futures::stream::empty())
    }

    async fn put_events(&self, _: Arc<Put>) -> Result<PutReceipt, DriverError> {
        Ok(PutReceipt::default())
    }

    async fn close(&self) -> Result<(), DriverError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_driver_without_a_log_says_which_have_one() {
    let store = EventStore::builder().driver(Arc::new(NoLogHere)).open().await.unwrap();
    assert_says(&store.log().unwrap_err(), &["memory:", "redb:"]);
    let first = within("the first item", store.subscribe().next()).await;
    assert!(matches!(first, Some(Err(ReadError::NoLog(_)))));
    let run = store.consumer("c").run(|_| async { Ok::<_, String>(()) });
    assert_says(&within("the consumer", run).await.unwrap_err(), &["keeps no log"]);
    store.close().await.unwrap();
}
