//! An aggregate that writers are refused on is found without a lock, and is passivated and fresh
//! like any other.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{append_after, until};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{AppendError, EventStore};

/// So many that its slot is noted, for certain.
const REFUSALS: u64 = 2_000;

async fn open(memory: &MemoryDriver) -> EventStore {
    EventStore::builder()
        .driver(Arc::new(memory.reopen()))
        .idle_timeout(Duration::from_millis(40))
        .open()
        .await
        .unwrap()
}

async fn refused(store: &EventStore, actual: u64) {
    for _ in 0..REFUSALS {
        match store.append(append_after("a", actual - 1)).await {
            Err(AppendError::Conflict { actual: told, .. }) => assert_eq!(told, actual),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_passivated_when_it_is_idle() {
    let store = open(&MemoryDriver::new()).await;
    store.append(append_after("a", 0)).await.unwrap();
    refused(&store, 1).await;
    until("its seat is free", || store.resident() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_what_is_known_now() {
    let store = open(&MemoryDriver::new()).await;
    for latest in 0..10 {
        store.append(append_after("a", latest)).await.unwrap();
        refused(&store, latest + 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_is_it_remembered_from_before_it_was_passivated() {
    let memory = MemoryDriver::new();
    let (store, other) = (open(&memory).await, open(&memory).await);
    store.append(append_after("a", 0)).await.unwrap();
    refused(&store, 1).await;
    until("its seat is free", || store.resident() == 0).await;
    other.append(append_after("a", 1)).await.unwrap();
    store.append(append_after("a", 2)).await.unwrap();
    refused(&store, 3).await;
}
