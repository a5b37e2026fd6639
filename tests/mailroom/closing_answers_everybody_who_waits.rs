//! Closing answers everybody: who waits for a seat, for a permit, for bytes or for a put, also when
//! the driver never answers; and a put whose driver drops the callback is not waited for.

use std::sync::Arc;
use std::time::Duration;

use seriatim::driver::faults::FaultyDriver;
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{
    Driver, DriverError, EventPages, Fetch, Put, PutDone, PutReceipt, async_trait,
};
use seriatim::{AggregateKey, AppendError, Builder, EventStore, Sequence};

use crate::support::{append, start, within};

/// A store whose driver holds every put for ever, and which closes soon.
async fn held(options: impl FnOnce(Builder) -> Builder) -> EventStore {
    let driver = FaultyDriver::around(MemoryDriver::new());
    driver.hold_puts();
    let builder = EventStore::builder().driver(driver).close_deadline(Duration::from_millis(50));
    let long = Duration::from_secs(600);
    options(builder.put_deadline(long).put_attempt_timeout(long)).open().await.unwrap()
}

#[tokio::test]
async fn who_waits_for_a_seat_is_told_that_the_store_is_closed() {
    let store = held(|builder| builder.max_resident(1)).await;
    let first = start(store.append(append("a")));
    let waits = start(store.append(append("b")));
    let _unfinished = within("closing", store.close()).await;
    assert!(matches!(within("the seat", waits).await, Err(AppendError::Closed)));
    let first = within("the put", first).await;
    assert!(matches!(first, Err(AppendError::Indeterminate { .. })), "{first:?}");
}

#[tokio::test]
async fn who_waits_for_a_permit_is_told_that_the_store_is_closed() {
    let store = held(|builder| builder.permits_per_aggregate(1)).await;
    let first = start(store.append(append("a")));
    let waits = start(store.append(append("a")));
    let _unfinished = within("closing", store.close()).await;
    // The permit may come back first, with the end of the first append.
    let waits = within("the permit", waits).await;
    assert!(
        matches!(waits, Err(AppendError::Closed | AppendError::ActorFailed { .. })),
        "{waits:?}"
    );
    assert!(within("the put", first).await.is_err());
}

#[tokio::test]
async fn who_waits_for_bytes_is_told_that_the_store_is_closed() {
    let store = held(|builder| builder.bytes_in_flight(1)).await;
    let first = start(store.append(append("a")));
    let head = start(store.append(append("b")));
    let behind = start(store.append(append("c")));
    let _unfinished = within("closing", store.close()).await;
    for waits in [head, behind] {
        let waits = within("the bytes", waits).await;
        assert!(
            matches!(waits, Err(AppendError::Closed | AppendError::ActorFailed { .. })),
            "{waits:?}"
        );
    }
    assert!(within("the put", first).await.is_err());
}

/// Drops the first callback that it is given, and the put with it.
struct Forgetful {
    memory: MemoryDriver,
    has_forgotten: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Driver for Forgetful {
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        self.memory.check_sequence(key, sequence).await
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        self.memory.fetch_events(key, fetch)
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        self.memory.put_events(put).await
    }

    fn put_events_then(&self, put: Arc<Put>, done: PutDone) -> Result<(), PutDone> {
        if self.has_forgotten.swap(true, std::sync::atomic::Ordering::SeqCst) {
            return self.memory.put_events_then(put, done);
        }
        drop(done);
        Ok(())
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.memory.close().await
    }
}

#[tokio::test]
async fn a_dropped_callback_is_an_unknown_put_which_is_sent_again() {
    let driver = Forgetful { memory: MemoryDriver::new(), has_forgotten: false.into() };
    // Long enough that neither the deadline nor the watch for overdue puts helps.
    let long = Duration::from_secs(600);
    let builder = EventStore::builder().driver(Arc::new(driver));
    let store = builder.put_deadline(long).put_attempt_timeout(long).open().await.unwrap();
    let appended = within("the append", store.append(append("a"))).await.unwrap();
    assert_eq!((appended.first.get(), appended.repeated), (1, false));
    store.close().await.unwrap();
}
