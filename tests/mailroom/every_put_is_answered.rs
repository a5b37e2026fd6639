//! Every caller is answered, whatever the driver does with a put: also when it drops the put, or
//! keeps it for ever and the store closes meanwhile.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{
    Driver, DriverError, EventPages, Fetch, Put, PutDone, PutReceipt, async_trait,
};
use seriatim::{AggregateKey, AppendError, EventStore, Sequence};

use crate::support::{append, append_after, start, until, within};

/// Takes puts by callback and never answers them.
struct KeepsPuts {
    memory: MemoryDriver,
    kept: Mutex<Vec<PutDone>>,
    drops_puts: bool,
}

impl KeepsPuts {
    fn new(drops_puts: bool) -> Arc<Self> {
        let memory = MemoryDriver::new();
        Arc::new(KeepsPuts { memory, kept: Mutex::default(), drops_puts })
    }
}

#[async_trait]
impl Driver for KeepsPuts {
    async fn check_sequence(&self, k: &AggregateKey, s: Sequence) -> Result<bool, DriverError> {
        self.memory.check_sequence(k, s).await
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        self.memory.fetch_events(key, fetch)
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        self.memory.put_events(put).await
    }

    fn put_events_then(&self, _: Arc<Put>, done: PutDone) -> Result<(), PutDone> {
        if !self.drops_puts {
            self.kept.lock().unwrap().push(done);
        }
        Ok(())
    }

    async fn close(&self) -> Result<(), DriverError> {
        // Long enough for an actor to send another put meanwhile, if it may.
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(())
    }

    fn is_exclusive(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_the_driver_drops_is_sent_again_at_once() {
    let store = EventStore::builder()
        .driver(KeepsPuts::new(true))
        .put_attempt_timeout(Duration::from_secs(3_600))
        .put_deadline(Duration::from_secs(3_600))
        .open()
        .await
        .unwrap();
    let appended = within("the append", store.append(append("a"))).await.unwrap();
    assert_eq!(appended.last, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_close_deadline_nothing_is_put_and_everybody_is_answered() {
    let driver = KeepsPuts::new(false);
    let store = EventStore::builder()
        .driver(driver.clone())
        .arbiters(1)
        .close_deadline(Duration::from_millis(200))
        .open()
        .await
        .unwrap();
    let first = start(store.append(append_after("a", 0)));
    until("the first put is sent", || driver.kept.lock().unwrap().len() == 1).await;
    let second = start(store.append(append("a")));
    store.close().await.unwrap_err();
    let first = within("the first", first).await.unwrap_err();
    assert!(matches!(first, AppendError::Indeterminate { .. }), "{first}");
    let second = within("the second", second).await.unwrap_err();
    let surely_not_written =
        matches!(second, AppendError::Closed | AppendError::ActorFailed { .. });
    assert!(surely_not_written, "{second}");
    assert_eq!(driver.kept.lock().unwrap().len(), 1, "a put was sent after the end");
}
