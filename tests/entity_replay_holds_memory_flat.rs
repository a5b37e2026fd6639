//! An entity with a million events is replayed page by page: the process never holds more than a
//! few of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]
#![cfg(target_os = "linux")]

mod support;

use std::sync::Arc;

use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{
    Driver, DriverError, EventPage, EventPages, Fetch, Put, PutReceipt, async_trait, paged,
};
use seriatim::{AggregateKey, KeyedEvent, Sequence};
use support::entities::{Account, Command, raw_deposits, store_over};
use support::within;

const EVENTS: u64 = 1_000_000;
const PAGE: u64 = 1_000;
/// What a million of these events would take is ten times as much.
const ALLOWED_KIB: u64 = 32 << 10;

/// Holds one event and hands it out a million times, each time with the next sequence. It takes one
/// put.
struct Endless {
    event: KeyedEvent,
}

#[async_trait]
impl Driver for Endless {
    async fn check_sequence(
        &self,
        _: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        Ok(sequence.get() <= EVENTS)
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        assert!(!fetch.backwards && fetch.limit.is_none());
        let (key, template) = (key.clone(), self.event.clone());
        paged(fetch, move |fetch| {
            let after = fetch.after.unwrap_or(Sequence::NONE).get();
            let last = EVENTS.min(after + PAGE);
            let events = (after + 1..=last).map(|sequence| {
                let mut event = template.clone();
                event.key = key.clone();
                event.sequence = Sequence::new(sequence);
                event
            });
            Ok(EventPage::new(events.collect(), last < EVENTS))
        })
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        assert_eq!(put.events()[0].sequence, EVENTS + 1);
        Ok(PutReceipt::default())
    }

    async fn close(&self) -> Result<(), DriverError> {
        Ok(())
    }
}

/// The most memory this process ever held, in KiB.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_million_events_are_replayed_in_little_memory() {
    let template = store_over(Arc::new(MemoryDriver::new())).await;
    template.append(raw_deposits("template", [3])).await.unwrap();
    let event = template.read("template").next().await.unwrap().unwrap();
    let accounts = store_over(Arc::new(Endless { event })).await.entities::<Account>();
    let before = most_memory();

    let executed = accounts.execute("1", Command::Withdraw(3 * EVENTS)).await.unwrap();
    assert_eq!(executed.sequence, EVENTS + 1);
    let found = within("a load", accounts.state("2")).await.unwrap();
    assert_eq!((found.state.balance, found.sequence.get()), (3 * EVENTS, EVENTS));

    let grown = most_memory() - before;
    println!("{grown} KiB more than before");
    assert!(grown < ALLOWED_KIB, "{EVENTS} events took {grown} KiB");
}
