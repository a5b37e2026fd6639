//! `bench`: how quickly a store appends and reads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use seriatim::{Append, EventStore, NewEvent, RawJson};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::app::App;
use crate::args::Bench;
use crate::exit::{Error, Exit, Result};
use crate::progress::{Progress, Unit};
use crate::style;
use crate::target::{Target, Wanted};

/// Latencies up to a minute are told apart.
const LONGEST_MICROS: u64 = 60_000_000;

#[derive(Serialize)]
struct Measured {
    store: String,
    writers: u32,
    aggregates: u32,
    event_bytes: u32,
    appends: u64,
    appends_per_second: f64,
    append_p50_ms: f64,
    append_p99_ms: f64,
    append_max_ms: f64,
    read_events: u64,
    reads_per_second: f64,
}

pub(crate) async fn run(app: &mut App, args: Bench) -> Result<()> {
    // The directory is removed when this is dropped, behind the close of the store.
    let temporary;
    let url = match &args.store {
        Some(url) => {
            allow(&Target::parse(url)?, &args)?;
            url.clone()
        }
        None => {
            let named = tempfile::Builder::new().prefix("seriatim-bench-").tempdir_in(".");
            temporary = named.map_err(|e| Error::io("a directory for the measurement", &e))?;
            format!("redb:{}", temporary.path().display())
        }
    };
    let wanted = Wanted::Creatable { create: true };
    let measured = app
        .with_store(&url, wanted, async |app, store| measure(app, store, &args, &url).await)
        .await?;
    if app.out.is_json() {
        return app.out.json_line(&measured);
    }
    let ms = |value: f64| format!("{value:.2} ms");
    let rate = |value: f64| format!("{} a second", style::count(value as u64));
    let facts = [
        ("store", measured.store.clone()),
        ("writers", measured.writers.to_string()),
        ("aggregates", measured.aggregates.to_string()),
        ("data", style::bytes(measured.event_bytes.into())),
        ("appends", style::count(measured.appends)),
        ("rate", rate(measured.appends_per_second)),
        ("median", ms(measured.append_p50_ms)),
        ("99 %", ms(measured.append_p99_ms)),
        ("longest", ms(measured.append_max_ms)),
        ("read back", rate(measured.reads_per_second)),
    ];
    app.out.facts(&facts)
}

/// A measurement leaves events behind, so it may not run where somebody keeps others.
fn allow(target: &Target, args: &Bench) -> Result<()> {
    match target {
        Target::Memory => Ok(()),
        Target::Redb { path, .. } => {
            let is_free = match std::fs::read_dir(path) {
                Ok(mut names) => names.next().is_none(),
                Err(error) => error.kind() == std::io::ErrorKind::NotFound,
            };
            match is_free {
                true => Ok(()),
                false => Err(Error::new(
                    Exit::Usage,
                    format!("{} is there already; bench wants a new directory", path.display()),
                )),
            }
        }
        Target::Engine { .. } if args.leave_events => Ok(()),
        Target::Engine { .. } => Err(Error::usage(format!(
            "the events of a measurement stay in {} for good",
            target.name()
        ))
        .hint("use a table of its own, and say --leave-events")),
    }
}

async fn measure(app: &mut App, store: &EventStore, args: &Bench, url: &str) -> Result<Measured> {
    let aggregates = args.aggregates.unwrap_or(args.writers);
    let run = Uuid::new_v4().simple().to_string();
    let keys: Arc<[String]> =
        (0..aggregates).map(|number| format!("bench-{run}/{number}")).collect();
    let data = format!("{{\"pad\":\"{}\"}}", "x".repeat(args.bytes.saturating_sub(10) as usize));
    let data = RawJson::parse(data).map_err(|e| Error::new(Exit::Failed, e.to_string()))?;
    let length = Duration::from_secs(args.seconds.into());
    let progress =
        Progress::new(app.shows_progress(), "appending", Some(args.seconds.into()), Unit::Seconds);

    let began = Instant::now();
    let mut writers = JoinSet::new();
    for number in 0..args.writers {
        let (store, keys, data) = (store.clone(), keys.clone(), data.clone());
        let interrupt = app.interrupt.clone();
        writers.spawn(async move {
            let mut latencies = histogram()?;
            let mut next = number as usize;
            while began.elapsed() < length && !interrupt.is_requested() {
                let Some(key) = keys.get(next % keys.len().max(1)) else { break };
                next += 1;
                let event = NewEvent::from_json("Measured", data.clone());
                let sent = Instant::now();
                store.append(Append::to(key).event(event)).await?;
                latencies.saturating_record(sent.elapsed().as_micros() as u64);
            }
            Ok::<_, Error>(latencies)
        });
    }
    let mut latencies = histogram()?;
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    loop {
        tokio::select! {
            ended = writers.join_next() => match ended {
                None => break,
                Some(ended) => {
                    let ended = ended.map_err(|e| Error::new(Exit::Failed, e.to_string()))?;
                    latencies.add(ended?).map_err(|e| Error::new(Exit::Failed, e.to_string()))?;
                }
            },
            _ = tick.tick() => progress.set(began.elapsed().as_secs()),
        }
    }
    let appending = began.elapsed().as_secs_f64();
    app.interrupt.check()?;
    drop(progress);

    let (read_events, reading) = read_back(app, store, &keys, latencies.len()).await?;
    let ms = |micros: u64| micros as f64 / 1_000.0;
    Ok(Measured {
        store: Target::parse(url)?.name(),
        writers: args.writers,
        aggregates,
        event_bytes: args.bytes,
        appends: latencies.len(),
        appends_per_second: latencies.len() as f64 / appending,
        append_p50_ms: ms(latencies.value_at_quantile(0.5)),
        append_p99_ms: ms(latencies.value_at_quantile(0.99)),
        append_max_ms: ms(latencies.max()),
        read_events,
        reads_per_second: read_events as f64 / reading.max(f64::EPSILON),
    })
}

async fn read_back(
    app: &mut App,
    store: &EventStore,
    keys: &[String],
    appended: u64,
) -> Result<(u64, f64)> {
    let progress = Progress::new(app.shows_progress(), "reading", Some(appended), Unit::Events);
    let began = Instant::now();
    let mut read = 0;
    for key in keys {
        let mut events = store.read(key);
        let mut of_key = 0;
        while let Some(event) = app.interrupt.or(events.next()).await? {
            event?;
            of_key += 1;
        }
        app.interrupt.check()?;
        progress.add(of_key);
        read += of_key;
    }
    if read != appended {
        let message = format!("{appended} events were appended, but {read} are there");
        return Err(Error::new(Exit::Damaged, message));
    }
    Ok((read, began.elapsed().as_secs_f64()))
}

fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST_MICROS, 3)
        .map_err(|e| Error::new(Exit::Failed, e.to_string()))
}
