//! An append that the driver refuses for itself does not take along those it travelled with.

use std::sync::Arc;

use crate::support::start;
use seriatim::driver::faults::FaultyDriver;
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{
    Driver, DriverError, EventPages, Fetch, Limit, LimitExceeded, Put, PutReceipt, async_trait,
};
use seriatim::{AggregateKey, Append, AppendError, EventStore, NewEvent, Sequence};

/// Says nothing of it in its limits, but takes no put with an event of the type `Bad`.
struct Choosy(MemoryDriver);

#[async_trait]
impl Driver for Choosy {
    async fn check_sequence(&self, key: &AggregateKey, n: Sequence) -> Result<bool, DriverError> {
        self.0.check_sequence(key, n).await
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        self.0.fetch_events(key, fetch)
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        if put.events().iter().any(|event| event.event_type() == "Bad") {
            return Err(LimitExceeded::new(Limit::BytesPerPut, 10, 11).into());
        }
        self.0.put_events(put).await
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.0.close().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_is_written() {
    let faults = FaultyDriver::around(Choosy(MemoryDriver::new()));
    let store = EventStore::builder().driver(faults.clone()).arbiters(1).open().await.unwrap();
    let held = faults.next_put_is_held();
    let append = |name: &str| Append::to("a").event(NewEvent::raw(name, "{}"));
    let first = start(store.append(append("Good")));
    held.sent().await;
    let names = ["Good", "Bad", "Good", "Bad", "Good"];
    let waiting: Vec<_> =
        names.iter().map(|name| (name, start(store.append(append(name))))).collect();
    held.release();
    first.await.unwrap();
    for (name, waiting) in waiting {
        match (*name, waiting.await) {
            ("Good", Ok(_)) => {}
            ("Bad", Err(AppendError::TooLarge { exceeded, .. })) => {
                assert_eq!(exceeded.limit, Limit::BytesPerPut);
            }
            (name, other) => panic!("{name}: {other:?}"),
        }
    }
    let events = store.read("a").collect().await.unwrap();
    assert_eq!(events.len(), 4);
    assert!(events.iter().all(|event| event.event_type() == "Good"));
    // They travel together again afterwards.
    assert_eq!(store.append(append("Good")).await.unwrap().last, 5);
}
