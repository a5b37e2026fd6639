//! What a backup costs the appends of 64 writers: windows with and without one, in turns, on redb in
//! a temporary directory. Prints each window's appends per second, and the median of the ratios.
//!
//! `cargo run --release --example backup_cost -- [ROUNDS] [SECONDS]`

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use seriatim::{Append, EventStore, NewEvent};

const WRITERS: u64 = 64;
/// Before the first window, so that a backup has something to read for longer than a window.
const EVENTS_AT_FIRST: u64 = 600_000;
const EVENTS_TOGETHER: u64 = 500;

fn event(n: u64) -> NewEvent {
    NewEvent::raw("Deposited", format!(r#"{{"amount":{n},"note":"{:>180}"}}"#, n))
}

/// Of sorted numbers; of an even count the mean of the middle two.
fn median(sorted: &[f64]) -> f64 {
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    (at(low) + at(high)) / 2.0
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let rounds: u64 = arguments.next().map_or(Ok(6), |n| n.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(4), |n| n.parse())?;
    let folder = tempfile::tempdir()?;
    let store = EventStore::open(&format!("redb:{}", folder.path().join("data").display())).await?;
    for n in 0..EVENTS_AT_FIRST / EVENTS_TOGETHER {
        let append = Append::to(format!("filler/{}", n % 1_000));
        store.append(append.events((0..EVENTS_TOGETHER).map(event))).await?;
    }
    let (appends, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, appends, stop) = (store.clone(), appends.clone(), stop.clone());
            tokio::spawn(async move {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    store.append(Append::to(format!("account/{writer}")).event(event(n))).await?;
                    appends.fetch_add(1, Ordering::Relaxed);
                    n += 1;
                }
                Ok::<_, seriatim::AppendError>(())
            })
        })
        .collect();
    let window = async || {
        let (began, before) = (Instant::now(), appends.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        (appends.load(Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64()
    };
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let without = window().await;
        // A fresh target, so that there is work for the whole window; dropping it ends it.
        let backup = store.backup(folder.path().join(format!("backup-{round}")));
        let running = tokio::spawn(backup.into_future());
        let with = window().await;
        let state = if running.is_finished() { "ended" } else { "ran all the time" };
        running.abort();
        println!("without {without:>8.0}/s  with {with:>8.0}/s  the backup {state}");
        ratios.push(with / without);
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await??;
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.3}", median(&ratios));
    store.close().await?;
    Ok(())
}
