//! While a snapshot is being saved, later ones wait: only the latest, and none overtakes. However
//! long the store of snapshots hangs, an aggregate holds no more than two.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{
    Driver, DriverError, EventPages, Fetch, Put, PutDone, PutReceipt, SnapshotStore, async_trait,
};
use seriatim::{AggregateKey, Sequence, Snapshots};
use tokio::sync::Semaphore;

use crate::support::entities::{Account, Command, snapshot_at, store_with_snapshots};
use crate::support::within;

/// Saves a snapshot when the test lets it.
struct HeldSnapshots {
    memory: MemoryDriver,
    begun: AtomicUsize,
    may_save: Semaphore,
}

#[async_trait]
impl Driver for HeldSnapshots {
    async fn check_sequence(&self, key: &AggregateKey, at: Sequence) -> Result<bool, DriverError> {
        self.memory.check_sequence(key, at).await
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        self.memory.fetch_events(key, fetch)
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        self.memory.put_events(put).await
    }

    fn put_events_then(&self, put: Arc<Put>, done: PutDone) -> Result<(), PutDone> {
        self.memory.put_events_then(put, done)
    }

    fn snapshots(&self) -> Option<&dyn SnapshotStore> {
        Some(self)
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.memory.close().await
    }
}

#[async_trait]
impl SnapshotStore for HeldSnapshots {
    async fn load_snapshot(&self, key: &AggregateKey) -> Result<Option<Bytes>, DriverError> {
        self.memory.load_snapshot(key).await
    }

    async fn save_snapshot(&self, key: &AggregateKey, bytes: Bytes) -> Result<(), DriverError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.may_save.acquire().await.unwrap().forget();
        self.memory.save_snapshot(key, bytes).await
    }
}

#[tokio::test]
async fn only_the_latest_waits_and_none_overtakes() {
    let memory = MemoryDriver::new();
    let driver = Arc::new(HeldSnapshots {
        memory: memory.reopen(),
        begun: AtomicUsize::new(0),
        may_save: Semaphore::new(0),
    });
    let store = store_with_snapshots::<Account>(driver.clone(), Snapshots::every(1)).await;
    let accounts = store.entities::<Account>();
    let begun = || driver.begun.load(Ordering::SeqCst);
    for _ in 0..2 {
        accounts.execute("1", Command::Deposit(1)).await.unwrap();
    }
    within("a snapshot is being saved", async {
        while begun() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 2..20 {
        accounts.execute("1", Command::Deposit(1)).await.unwrap();
    }
    assert_eq!(begun(), 1);

    driver.may_save.add_permits(100);
    // A snapshot is taken in the next turn, of what is durable then.
    let snapshot = snapshot_at(&memory, "account/1", 19).await;
    within("the snapshots are saved", async {
        while driver.may_save.available_permits() > 98 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(begun(), 2, "what was replaced meanwhile is not saved");
    assert_eq!(snapshot_at(&memory, "account/1", 19).await, snapshot);
    store.close().await.unwrap();
}
