//! What a resident aggregate costs while nobody uses it: its actor, its mailbox and its slot.
//!
//! Prints the bytes that the process holds more for each of 100,000 resident aggregates than it held
//! before, and fails if that is over 1.5 KiB. The driver keeps nothing, so all of it is the store's. With
//! `--test` it only sees that it runs.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::process::ExitCode;
use std::sync::Arc;

use futures::executor::block_on;
use seriatim::driver::{Driver, DriverError, EventPages, Fetch, Put, PutReceipt, async_trait};
use seriatim::{AggregateKey, Append, EventStore, Expected, NewEvent, Sequence};

const AGGREGATES: u64 = 100_000;
const AT_MOST: u64 = 1_536;

/// What was resident before: pages the allocator gave back must not be counted as the store's.
const WARM_UP: u64 = 1_000;

struct Nothing;

#[async_trait]
impl Driver for Nothing {
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

/// The memory this process has resident, in bytes, where the system tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1_024)
}

async fn make_resident(store: &EventStore, numbers: std::ops::Range<u64>) {
    for number in numbers {
        // A key as long as one with a UUID in it.
        let append = Append::to(format!("account/{number:036}"))
            .expect(Expected::NoEvents)
            .event(NewEvent::raw("Opened", r#"{"owner":"Ada"}"#));
        store.append(append).await.unwrap();
    }
}

fn main() -> ExitCode {
    let aggregates = if std::env::args().any(|arg| arg == "--test") { WARM_UP } else { AGGREGATES };
    let most = usize::try_from(2 * (WARM_UP + aggregates)).unwrap();
    let builder = EventStore::builder().driver(Arc::new(Nothing)).max_resident(most);
    let store = block_on(builder.open()).unwrap();

    block_on(make_resident(&store, 0..WARM_UP));
    let before = resident_bytes();
    block_on(make_resident(&store, WARM_UP..WARM_UP + aggregates));
    let after = resident_bytes();
    assert_eq!(store.resident() as u64, WARM_UP + aggregates);

    let within = match (before, after) {
        (Some(before), Some(after)) => {
            let each = after.saturating_sub(before) / aggregates;
            println!(
                "{each} bytes per resident idle aggregate ({aggregates} of them; at most {AT_MOST})"
            );
            each <= AT_MOST
        }
        _ => {
            println!("not measured: this system has no /proc/self/status");
            true
        }
    };
    block_on(store.close()).unwrap();
    if within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
