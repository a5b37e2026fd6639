//! Appends on remote engines: the store, through its mailboxes, beside the same driver used by hand.
//!
//! ```sh
//! eval "$(scripts/engines start)"
//! cargo bench --features all-drivers --bench engines
//! cargo bench --features all-drivers --bench engines -- --store redb:./here --seconds 5
//! ```
//!
//! By hand is what an application does that has a driver and no mailroom: it knows the sequence it last saw,
//! checks that it is there, puts the next one, and after a conflict reads the latest sequence and tries
//! again. Both sides have the same writers on the same runtime, a driver opened by the same URL, and a
//! bounded time, in turns: store, by hand, store, by hand, each round on aggregates of its own. A rate is the
//! median of the rounds'; latencies, those of all rounds, run from the first try to the answer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

mod support;

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use lexopt::prelude::*;
use seriatim::driver::{self, Driver, Put};
use seriatim::{AggregateKey, Append, EventStore, Expected, KeyedEvent, NewEvent};
use seriatim::{Sequence, Timestamp};
use support::payloads;
use tokio::runtime::Runtime;
use uuid::Uuid;

const EVENT_TYPE: &str = "Deposited";
const VARIABLES: [&str; 4] = [
    "SERIATIM_DYNAMODB_URL",
    "SERIATIM_MONGODB_URL",
    "SERIATIM_CASSANDRA_URL",
    "SERIATIM_AZURE_TABLES_URL",
];

struct Options {
    stores: Vec<String>,
    writers: usize,
    duration: Duration,
    rounds: usize,
}

/// What the writers write to, and what the store must reach against by hand.
#[derive(Clone, Copy)]
enum Workload {
    Hot,
    Many,
}

impl Workload {
    fn name(self) -> &'static str {
        match self {
            Workload::Hot => "one aggregate",
            Workload::Many => "each its own",
        }
    }

    fn goal(self) -> f64 {
        match self {
            Workload::Hot => 1.5,
            Workload::Many => 0.95,
        }
    }

    fn key(self, round: &str, writer: usize) -> AggregateKey {
        let number = match self {
            Workload::Hot => 0,
            Workload::Many => writer,
        };
        AggregateKey::new(&format!("bench/{round}-{number}")).unwrap()
    }
}

/// Who appends.
#[derive(Clone)]
enum Side {
    Store(EventStore),
    ByHand(Arc<dyn Driver>),
}

/// What one side's writers did, in one round or in all.
struct Figures {
    rates: Vec<f64>,
    nanoseconds: Histogram<u64>,
    conflicts: u64,
    /// Puts sent again because the driver could not say, or was overloaded.
    resent: u64,
}

impl Figures {
    fn new() -> Self {
        let nanoseconds = Histogram::new(3).unwrap();
        Figures { rates: Vec::new(), nanoseconds, conflicts: 0, resent: 0 }
    }

    fn add(&mut self, other: &Figures) {
        self.nanoseconds.add(&other.nanoseconds).unwrap();
        self.conflicts += other.conflicts;
        self.resent += other.resent;
    }

    fn rate(&self) -> f64 {
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    }
}

impl Side {
    /// One event more for the aggregate. `latest` is what the writer last saw of it.
    async fn append(
        &self,
        workload: Workload,
        key: &AggregateKey,
        latest: &mut Sequence,
        data: &'static str,
        figures: &mut Figures,
    ) {
        match self {
            Side::Store(store) => {
                let expected = match workload {
                    Workload::Hot => Expected::Any,
                    Workload::Many => Expected::Sequence(*latest),
                };
                let event = NewEvent::raw(EVENT_TYPE, data);
                let appended = store.append(Append::to(key).expect(expected).event(event)).await;
                *latest = appended.unwrap().last;
            }
            Side::ByHand(driver) => {
                let commit_id = Uuid::now_v7();
                while !put_behind(&**driver, key, *latest, commit_id, data, figures).await {
                    figures.conflicts += 1;
                    *latest = driver.latest_sequence(key).await.unwrap();
                }
                *latest = latest.next();
            }
        }
    }

    async fn close(self) {
        match self {
            Side::Store(store) => store.close().await.unwrap(),
            Side::ByHand(driver) => driver.close().await.unwrap(),
        }
    }
}

/// Checks, then puts; `false` is a conflict.
async fn put_behind(
    driver: &dyn Driver,
    key: &AggregateKey,
    latest: Sequence,
    commit_id: Uuid,
    data: &str,
    figures: &mut Figures,
) -> bool {
    if latest > Sequence::NONE {
        assert!(driver.check_sequence(key, latest).await.unwrap(), "{key}: {latest} is gone");
    }
    let put = Put::new(vec![event(key, latest.next(), commit_id, data)]).map(Arc::new).unwrap();
    loop {
        match driver.put_events(put.clone()).await {
            Ok(_) => return true,
            Err(error) if error.is_conflict() => return false,
            Err(error) if error.is_retryable() => figures.resent += 1,
            Err(error) => panic!("{error}"),
        }
    }
}

/// An event as an application without a store makes one: from its JSON form.
fn event(key: &AggregateKey, sequence: Sequence, commit_id: Uuid, data: &str) -> KeyedEvent {
    let recorded_at = Timestamp::now();
    let json = format!(
        r#"{{"key":"{key}","sequence":{sequence},"type":"{EVENT_TYPE}","data":{data},"commit_id":"{commit_id}","recorded_at":"{recorded_at}"}}"#
    );
    serde_json::from_str(&json).unwrap()
}

/// All writers append until the time is up. An append that is under way then is waited for, and its time
/// counts.
fn round(runtime: &Runtime, side: &Side, workload: Workload, options: &Options) -> Figures {
    let name = Uuid::new_v4().simple().to_string();
    let began = Instant::now();
    let end = began + options.duration;
    let writers: Vec<_> = (0..options.writers)
        .map(|writer| {
            let (side, key) = (side.clone(), workload.key(&name, writer));
            runtime.spawn(async move {
                let (mut latest, mut figures) = (Sequence::NONE, Figures::new());
                for turn in writer.. {
                    let start = Instant::now();
                    if start >= end {
                        break;
                    }
                    let [data] = payloads(turn, 1) else { panic!("one was asked for") };
                    side.append(workload, &key, &mut latest, data, &mut figures).await;
                    figures.nanoseconds.record(start.elapsed().as_nanos() as u64).unwrap();
                }
                figures
            })
        })
        .collect();
    let mut all = Figures::new();
    for writer in writers {
        all.add(&runtime.block_on(writer).unwrap());
    }
    all.rates.push(all.nanoseconds.len() as f64 / began.elapsed().as_secs_f64());
    all
}

/// Both sides in turns; the store's figures come first.
fn measure(
    runtime: &Runtime,
    sides: &[Side; 2],
    workload: Workload,
    options: &Options,
) -> [Figures; 2] {
    let mut figures = [Figures::new(), Figures::new()];
    for _ in 0..options.rounds {
        for (side, figures) in sides.iter().zip(&mut figures) {
            let one = round(runtime, side, workload, options);
            figures.rates.extend(&one.rates);
            figures.add(&one);
        }
    }
    figures
}

fn bench(runtime: &Runtime, url: &str, options: &Options) -> Result<(), Box<dyn Error>> {
    // A name that `memory:` and `redb:` have too; what follows may hold keys.
    let engine = url.split(':').next().unwrap_or(url);
    // Two openers would not share what is in memory, nor may they share one directory.
    let by_hand_url = match engine {
        "redb" => format!("{url}-by-hand"),
        _ => url.to_owned(),
    };
    let sides = [
        Side::Store(runtime.block_on(EventStore::open(url))?),
        Side::ByHand(runtime.block_on(driver::open(&by_hand_url))?),
    ];
    for workload in [Workload::Hot, Workload::Many] {
        let [store, by_hand] = measure(runtime, &sides, workload, options);
        for (name, figures) in [("store", &store), ("by hand", &by_hand)] {
            print_row(engine, workload, name, figures);
        }
        let (ratio, goal) = (store.rate() / by_hand.rate(), workload.goal());
        let verdict = if ratio >= goal { "" } else { ", MISSED" };
        println!("{:46}{ratio:>11.2} x   (at least {goal} x{verdict})", "");
    }
    for side in sides {
        runtime.block_on(side.close());
    }
    Ok(())
}

fn print_row(engine: &str, workload: Workload, name: &str, figures: &Figures) {
    let millis = |q| figures.nanoseconds.value_at_quantile(q) as f64 / 1e6;
    println!(
        "{engine:<16}{:<16}{name:<14}{:>11.0}{:>11.2}{:>11.2}{:>11}{:>8}",
        workload.name(),
        figures.rate(),
        millis(0.5),
        millis(0.99),
        figures.conflicts,
        figures.resent,
    );
}

fn options() -> Result<Options, lexopt::Error> {
    let mut options =
        Options { stores: Vec::new(), writers: 32, duration: Duration::from_secs(3), rounds: 3 };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("store") => options.stores.push(arguments.value()?.string()?),
            Long("writers") => options.writers = arguments.value()?.parse()?,
            Long("rounds") => options.rounds = arguments.value()?.parse::<usize>()?.max(1),
            Long("seconds") => {
                options.duration = Duration::from_secs_f64(arguments.value()?.parse()?);
            }
            // What cargo says, and what it passes on to see only whether it runs.
            Long("bench") => {}
            Long("test") => (options.duration, options.rounds) = (Duration::from_millis(100), 1),
            other => return Err(other.unexpected()),
        }
    }
    if options.stores.is_empty() {
        options.stores.extend(VARIABLES.iter().filter_map(|name| std::env::var(name).ok()));
    }
    Ok(options)
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    if options.stores.is_empty() {
        println!("Nothing to measure: none of {} is set.", VARIABLES.join(", "));
        return Ok(());
    }
    let Options { writers, duration, rounds, .. } = &options;
    println!("{writers} writers, 200-byte events, {rounds} x {duration:?} each, in turns\n");
    println!(
        "{:<16}{:<16}{:<14}{:>11}{:>11}{:>11}{:>11}{:>8}",
        "engine", "aggregates", "", "appends/s", "p50 ms", "p99 ms", "conflicts", "resent"
    );
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    for url in &options.stores {
        bench(&runtime, url, &options)?;
    }
    Ok(())
}
