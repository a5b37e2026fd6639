//! Between the driver's answer that an expected event is not there and its latest sequence, another store
//! may write both it and the very append that asked: then the append is found, and is no conflict.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{Driver, DriverError, EventPages, Fetch, Put, PutReceipt, async_trait};
use seriatim::{AggregateKey, Append, EventStore, Expected, Sequence};
use uuid::Uuid;

use crate::support::{append, event, history, within};

const ID: Uuid = Uuid::from_u128(7);

fn repeatable() -> Append {
    Append::to("a").expect(Expected::from(1)).event(event(1)).commit_id(ID)
}

/// Once asked for the latest sequence, lets another store write first.
struct Raced {
    memory: MemoryDriver,
    other: EventStore,
    has_raced: AtomicBool,
}

#[async_trait]
impl Driver for Raced {
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

    async fn close(&self) -> Result<(), DriverError> {
        self.memory.close().await
    }

    async fn latest_sequence(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        if !self.has_raced.swap(true, Ordering::SeqCst) {
            self.other.append(append("a")).await.unwrap();
            assert!(!self.other.append(repeatable()).await.unwrap().repeated);
        }
        self.memory.latest_sequence(key).await
    }
}

#[tokio::test]
async fn an_append_that_another_call_wrote_meanwhile_is_a_repetition() {
    let memory = MemoryDriver::new();
    let other = EventStore::builder().driver(Arc::new(memory.reopen())).open().await.unwrap();
    let driver =
        Raced { memory: memory.reopen(), other: other.clone(), has_raced: AtomicBool::new(false) };
    let store = EventStore::builder().driver(Arc::new(driver)).open().await.unwrap();
    let appended = within("the append", store.append(repeatable())).await.unwrap();
    assert_eq!((appended.first.get(), appended.repeated), (2, true));
    assert_eq!(history(&store, "a").await.len(), 2);
}
