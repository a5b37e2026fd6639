//! The past of an entity: its state right after any of its events, and as it was at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::entities::{Account, Command, replay, snapshot_at};
use crate::support::history;
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Entities, EntityOptions, EventStore, Sequence, Snapshots};

const EVENTS: u64 = 50;

fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// An account of fifty events, one at every tenth second.
async fn fifty_events(
    memory: &MemoryDriver,
    snapshots: Snapshots,
) -> (EventStore, Entities<Account>) {
    let now = Arc::new(AtomicU64::new(0));
    let clock = now.clone();
    let store = EventStore::builder()
        .driver(Arc::new(memory.reopen()))
        .entity::<Account>(EntityOptions::new().snapshots(snapshots))
        .clock(move || time(clock.load(Ordering::SeqCst)))
        .open()
        .await
        .unwrap();
    let accounts = store.entities::<Account>();
    for nth in 1..=EVENTS {
        now.store(nth * 10, Ordering::SeqCst);
        let command = if nth % 5 == 0 { Command::Withdraw(4) } else { Command::Deposit(nth) };
        accounts.execute("1", command).await.unwrap();
    }
    accounts.execute("1", Command::Look).await.unwrap();
    (store, accounts)
}

async fn every_past_is_right(store: &EventStore, accounts: &Entities<Account>) {
    let states = replay(&history(store, "account/1").await);
    for (sequence, state) in states.iter().enumerate() {
        let sequence = sequence as u64;
        let found = accounts.at("1", sequence).await.unwrap();
        assert_eq!((&found.state, found.sequence.get()), (state, sequence));
        for second in [sequence * 10, sequence * 10 + 9] {
            let found = accounts.at_time("1", time(second)).await.unwrap();
            assert_eq!((&found.state, found.sequence.get()), (state, sequence), "at {second} s");
        }
    }
    let beyond = accounts.at("1", EVENTS + 100).await.unwrap();
    assert_eq!(beyond, accounts.state("1").await.unwrap());
    assert_eq!(beyond.sequence, EVENTS);
}

#[tokio::test]
async fn every_past_state_can_be_seen() {
    let memory = MemoryDriver::new();
    let (store, accounts) = fifty_events(&memory, Snapshots::Never).await;
    every_past_is_right(&store, &accounts).await;
}

#[tokio::test]
async fn a_snapshot_that_is_later_than_the_past_asked_for_does_not_show_through() {
    let memory = MemoryDriver::new();
    let (store, accounts) = fifty_events(&memory, Snapshots::every(20)).await;
    snapshot_at(&memory, "account/1", 40).await;
    every_past_is_right(&store, &accounts).await;
}

#[tokio::test]
async fn an_entity_without_events_has_no_past() {
    let memory = MemoryDriver::new();
    let (_store, accounts) = fifty_events(&memory, Snapshots::Never).await;
    for found in [
        accounts.state("2").await.unwrap(),
        accounts.at("2", 7).await.unwrap(),
        accounts.at_time("2", time(1_000)).await.unwrap(),
        accounts.at_time("1", time(9)).await.unwrap(),
    ] {
        assert_eq!((found.state, found.sequence), (Account::default(), Sequence::NONE));
    }
}
