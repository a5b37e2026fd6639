//! Lists very many aggregate keys by `EventStore::keys`, and measures time and memory. It first
//! makes that many aggregates of one event each, unless told that they are there. Every key must
//! come exactly once. It exits with 1 if one is missing or comes twice, or if the listing took more
//! memory than is allowed.
//!
//! ```text
//! cargo run --release --features all-drivers --example many_keys -- \
//!   --store URL [--keys N] [--listed-only] [--most-mib N]
//! ```

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lexopt::prelude::*;
use seriatim::driver::{Driver, DriverError, Put};
use seriatim::{EventStore, KeyedEvent};
use uuid::Uuid;

const PREFIX: &str = "many/";
/// Puts under way while the aggregates are made.
const WRITERS: u64 = 128;

struct Options {
    store: String,
    keys: u64,
    makes: bool,
    /// How much larger the process may become while it lists.
    most_mib: u64,
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut options =
        Options { store: "memory:".into(), keys: 1_000_000, makes: true, most_mib: 64 };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("store") => options.store = arguments.value()?.string()?,
            Long("keys") => options.keys = arguments.value()?.parse()?,
            Long("listed-only") => options.makes = false,
            Long("most-mib") => options.most_mib = arguments.value()?.parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

/// What the process holds of memory, where the system tells.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// One event each of the aggregates with these numbers.
fn put_of(numbers: std::ops::Range<u64>) -> Result<Put, Box<dyn Error + Send + Sync>> {
    let event = |number: u64| {
        serde_json::from_value(serde_json::json!({
            "key": format!("{PREFIX}{number:09}"), "sequence": 1, "type": "Made", "data": {},
            "commit_id": Uuid::from_u128(u128::from(number) + 1),
            "recorded_at": "2026-01-02T03:04:05.000000Z",
        }))
    };
    let events: Vec<KeyedEvent> = numbers.map(event).collect::<Result<_, _>>()?;
    Ok(Put::new(events)?)
}

/// Makes the aggregates through the driver alone, as many in one put as it takes. Those that are
/// there already are left alone.
async fn make(driver: Arc<dyn Driver>, keys: u64) -> Result<(), Box<dyn Error>> {
    let (next, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let limits = driver.limits();
    let together = limits.aggregates_per_put.min(limits.events_per_put).clamp(1, 100) as u64;
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (driver, next) = (driver.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let first = next.fetch_add(together, Ordering::Relaxed);
                    if first >= keys {
                        return Ok::<(), Box<dyn Error + Send + Sync>>(());
                    }
                    let put = Arc::new(put_of(first..keys.min(first + together))?);
                    // The same put again, where its fate is not known.
                    loop {
                        match driver.put_events(put.clone()).await {
                            Err(error) if error.is_conflict() => break,
                            Err(DriverError::Unknown { .. } | DriverError::Unavailable { .. }) => {}
                            Err(error) => return Err(error.into()),
                            Ok(_) => break,
                        }
                    }
                }
            })
        })
        .collect();
    let mut said = Instant::now();
    while next.load(Ordering::Relaxed) < keys && !writers.iter().any(|writer| writer.is_finished())
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if said.elapsed() > Duration::from_secs(30) {
            said = Instant::now();
            let done = next.load(Ordering::Relaxed).min(keys);
            println!("made {done} of {keys} after {:.0} s", began.elapsed().as_secs_f64());
        }
    }
    for writer in writers {
        writer.await?.map_err(|error| error.to_string())?;
    }
    println!("made {keys} aggregates in {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

struct Listing {
    seconds: f64,
    missing: u64,
    doubled: u64,
    grown_kib: Option<u64>,
}

/// Lists all keys. A bit for each tells which have come.
async fn list(store: &EventStore, keys: u64) -> Result<Listing, Box<dyn Error>> {
    let mut seen = vec![false; usize::try_from(keys)?];
    // Every page of the vector is there before the memory is looked at.
    seen.fill(std::hint::black_box(false));
    let mut listing = Listing { seconds: 0.0, missing: 0, doubled: 0, grown_kib: None };
    let (before, mut most) = (resident_kib(), None);
    let (began, mut count) = (Instant::now(), 0_u64);
    let mut listed = store.keys("");
    while let Some(key) = listed.next().await {
        let key = key?;
        let number = key.as_str().strip_prefix(PREFIX).and_then(|number| number.parse().ok());
        if let Some(place) = number.and_then(|number: usize| seen.get_mut(number)) {
            listing.doubled += u64::from(*place);
            *place = true;
        }
        count += 1;
        if count % 10_000 == 0 {
            most = most.max(resident_kib());
        }
    }
    listing.seconds = began.elapsed().as_secs_f64();
    listing.missing = seen.iter().map(|there| u64::from(!there)).sum();
    listing.grown_kib = most.zip(before).map(|(most, before)| most.saturating_sub(before));
    Ok(listing)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = options()?;
    let driver = seriatim::driver::open(&options.store).await?;
    if options.makes {
        make(driver.clone(), options.keys).await?;
    }
    // Engines on a busy machine take their time for a page.
    let patient = EventStore::builder().read_deadline(Duration::from_secs(120));
    let store = patient.driver(driver).open().await?;
    let listing = list(&store, options.keys).await?;
    store.close().await?;
    report(&options, &listing)
}

fn report(options: &Options, listing: &Listing) -> Result<ExitCode, Box<dyn Error>> {
    let Listing { seconds, missing, doubled, grown_kib } = listing;
    let grown = grown_kib.map_or("unknown".to_owned(), |kib| format!("{:.1}", kib as f64 / 1024.0));
    println!(
        "listed {} keys in {seconds:.1} s; missing {missing}, doubled {doubled}; the process grew \
         by {grown} MiB",
        options.keys
    );
    let is_small = grown_kib.is_none_or(|kib| kib <= options.most_mib << 10);
    Ok(if *missing == 0 && *doubled == 0 && is_small {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
