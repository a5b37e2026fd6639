//! However many messages are sent to a store actor, it takes a bounded number of them at once, and
//! about as many bytes as the store has in flight. The others are refused by its mailbox.

use actix::prelude::*;
use seriatim::actors::{LatestSequence, StoreActor};
use seriatim::{Append, EventStore, NewEvent};

use crate::support::{append, held_driver, history, within};

const MAILBOX: usize = 16;

/// Sends appends as fast as it can, and returns how many were taken.
async fn flood(address: &Addr<StoreActor>, append: impl Fn() -> Append) -> usize {
    let mut taken = 0;
    for n in 0..5_000 {
        taken += usize::from(address.try_send(append()).is_ok());
        if n % 8 == 0 {
            tokio::task::yield_now().await;
        }
    }
    taken
}

async fn all_taken_are_written(store: &EventStore, address: Addr<StoreActor>, taken: usize) {
    // In order: what was taken before is answered, or waits, before this is.
    within("the last append", address.send(append("a"))).await.unwrap().unwrap();
    assert_eq!(history(store, "a").await.len(), taken + 1);
    within("closing", store.close()).await.unwrap();
}

#[actix::test]
async fn as_many_as_it_is_told() {
    let driver = held_driver();
    let store = EventStore::builder().driver(driver.clone()).open().await.unwrap();
    let address = StoreActor::new(store.clone()).max_in_flight(50).start();
    let taken = flood(&address, || append("a")).await;
    assert!((50..=50 + MAILBOX + 1).contains(&taken), "{taken} taken");
    driver.release_puts();
    all_taken_are_written(&store, address, taken).await;
}

#[actix::test]
async fn as_many_bytes_as_the_store_has_in_flight() {
    let driver = held_driver();
    let builder = EventStore::builder().driver(driver.clone()).bytes_in_flight(1 << 20);
    let store = builder.open().await.unwrap();
    let address = StoreActor::new(store.clone()).start();
    let filler = format!(r#"{{"f":"{}"}}"#, "x".repeat(10_000));
    let large = || Append::to("a").event(NewEvent::raw("E", filler.clone()));
    let taken = flood(&address, large).await;
    let most = (1 << 20) / 10_000 + 1 + MAILBOX + 1;
    assert!((100..=most).contains(&taken), "{taken} taken");
    driver.release_puts();
    all_taken_are_written(&store, address, taken).await;
}

#[actix::test]
async fn and_further_ones_when_those_are_answered() {
    let store = EventStore::open("memory:").await.unwrap();
    let address = StoreActor::new(store.clone()).max_in_flight(1).start();
    let sent: Vec<_> = (0..200).map(|_| actix::spawn(address.send(append("a")))).collect();
    for sent in sent {
        within("an append", sent).await.unwrap().unwrap().unwrap();
    }
    let latest = within("the latest", address.send(LatestSequence::of("a"))).await.unwrap();
    assert_eq!(latest.unwrap(), 200);
    store.close().await.unwrap();
}
