//! A subscriber that stops reading under full load, and one that hardly reads, hold no memory: what
//! the process holds stays flat while far more is written than that; then both catch up, and
//! nothing was lost. This file has one test, so that the process is its alone. `SERIATIM_SECONDS`
//! makes it write longer.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use std::time::{Duration, Instant};

use seriatim::driver::redb::RedbDriver;
use seriatim::{Append, EventStore, NewEvent};
use std::sync::Arc;
use support::within;

/// The memory this process has resident of its own, in KiB, where the system tells.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_stops_reading_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let driver = RedbDriver::builder()
        .tail_bytes(4 << 20)
        .cache_bytes(8 << 20)
        .journal_file_bytes(8 << 20)
        .open(directory.path())
        .unwrap();
    let store = EventStore::builder().driver(Arc::new(driver)).open().await.unwrap();
    let mut stopped = store.subscribe();
    let mut slow = store.subscribe();
    let filler = format!(r#"{{"filler":"{}"}}"#, "x".repeat(2_000));
    let append = |n: u64| {
        let events = (0..50).map(|_| NewEvent::raw("Filled", filler.clone()));
        store.append(Append::to(format!("a/{}", n % 10)).events(events))
    };
    let mut written = 0;
    while written < 200 {
        written += u64::from(append(written).await.is_ok()) * 50;
    }
    for n in 1..=100 {
        assert_eq!(within("an event", stopped.next()).await.unwrap().unwrap().position.unwrap(), n);
    }
    let (mut seen, mut before) = (0, None);
    let seconds = std::env::var("SERIATIM_SECONDS").ok().and_then(|s| s.parse().ok());
    let began = Instant::now();
    // 100 MB at least.
    while written < 50_000 || began.elapsed() < Duration::from_secs_f64(seconds.unwrap_or(0.0)) {
        written += append(written / 50).await.unwrap().last.get().min(1) * 50;
        if written % 500 == 0 {
            seen += 1;
            let event = within("an event", slow.next()).await.unwrap().unwrap();
            assert_eq!(event.position.unwrap(), seen);
        }
        // By then the store holds all that it will hold for itself.
        if written >= 20_000 && before.is_none() {
            before = resident_kib();
        }
    }
    match before.zip(resident_kib()) {
        None => println!("skipped: this system does not tell the memory of a process"),
        Some((before, after)) => {
            println!("{before} KiB at first, {after} KiB after {written} events");
            assert!(after < before + 24 * 1_024, "{before} KiB grew to {after} KiB");
        }
    }
    let rest = async {
        for n in 101..=written {
            assert_eq!(stopped.next().await.unwrap().unwrap().position.unwrap(), n);
        }
        for n in seen + 1..=written {
            assert_eq!(slow.next().await.unwrap().unwrap().position.unwrap(), n);
        }
    };
    within("catching up", rest).await;
    store.close().await.unwrap();
}
