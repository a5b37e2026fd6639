//! Memory stays bounded by `max_resident`, however many aggregates there are: one million distinct
//! keys are appended to with 10,000 of them resident at most, and the process never holds 400 MiB.
//! This file has one test, so that the process is its alone.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use seriatim::driver::{Driver, DriverError, EventPages, Fetch, Put, PutReceipt, async_trait};
use seriatim::{AggregateKey, Append, EventStore, Expected, NewEvent, Sequence};

const AGGREGATES: u64 = 1_000_000;
const MAX_RESIDENT: usize = 10_000;
const WRITERS: u64 = 64;
const MOST_KIB: u64 = 400 * 1_024;

/// Takes every put and keeps only how many there were: what the process holds is the store's.
#[derive(Default)]
struct Nothing {
    puts: AtomicU64,
}

#[async_trait]
impl Driver for Nothing {
    async fn check_sequence(&self, _: &AggregateKey, _: Sequence) -> Result<bool, DriverError> {
        Ok(false)
    }

    fn fetch_events(&self, _: &AggregateKey, _: Fetch) -> EventPages {
        Box::pin(futures::stream::empty())
    }

    async fn put_events(&self, _: Arc<Put>) -> Result<PutReceipt, DriverError> {
        self.puts.fetch_add(1, Ordering::Relaxed);
        Ok(PutReceipt::default())
    }

    async fn close(&self) -> Result<(), DriverError> {
        Ok(())
    }
}

/// The most memory this process ever had resident, in KiB, where the system tells.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_aggregates_fit_where_ten_thousand_may_be_resident() {
    let driver = Arc::new(Nothing::default());
    let store = EventStore::builder()
        .driver(driver.clone())
        .max_resident(MAX_RESIDENT)
        .open()
        .await
        .unwrap();
    let began = Instant::now();
    let most_resident = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, most_resident) = (store.clone(), most_resident.clone());
            tokio::spawn(async move {
                for number in (writer..AGGREGATES).step_by(WRITERS as usize) {
                    let event = NewEvent::raw("Opened", r#"{"owner":"Ada","amount":50}"#);
                    let append = Append::to(format!("account/{number:020}"))
                        .expect(Expected::NoEvents)
                        .event(event);
                    assert_eq!(store.append(append).await.unwrap().last, 1);
                    most_resident.fetch_max(store.resident(), Ordering::Relaxed);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(driver.puts.load(Ordering::Relaxed), AGGREGATES);
    let most_resident = most_resident.load(Ordering::Relaxed);
    assert!(most_resident <= MAX_RESIDENT, "{most_resident} aggregates were resident");
    println!("{AGGREGATES} aggregates in {:?}, {most_resident} resident at most", began.elapsed());
    store.close().await.unwrap();

    match peak_kib() {
        Some(peak) => {
            println!("at most {} MiB resident", peak / 1_024);
            assert!(peak < MOST_KIB, "the process held {} MiB", peak / 1_024);
        }
        None => println!("skipped: this system has no /proc/self/status to read the peak from"),
    }
}
