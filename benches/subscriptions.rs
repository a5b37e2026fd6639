//! What subscriptions cost and give: how late an event is seen, how fast a subscriber catches up, and what the
//! checkpoints of sixteen consumers, one per batch, take from sixty-four writers.
//!
//! ```text
//! cargo bench --bench subscriptions
//! ```
//!
//! Rates swing with the machine; the last part is measured in turns and told as a ratio. With `--test` everything
//! runs for a moment only, to see that it works.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use seriatim::{Append, EventStore, KeyedEvent, NewEvent};
use tokio::task::JoinSet;

const WRITERS: usize = 64;
const CONSUMERS: usize = 16;

/// How much is done: all of it, or a moment's worth.
struct Scale {
    latency_for: Duration,
    catch_up: u64,
    writing_for: Duration,
    rounds: usize,
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let scale = match is_test {
        true => Scale {
            latency_for: Duration::from_millis(100),
            catch_up: 5_000,
            writing_for: Duration::from_millis(100),
            rounds: 1,
        },
        false => Scale {
            latency_for: Duration::from_secs(5),
            catch_up: 1_000_000,
            writing_for: Duration::from_secs(1),
            rounds: 11,
        },
    };
    let directory = tempfile::tempdir().unwrap();
    latency(&directory.path().join("latency"), scale.latency_for).await;
    catch_up(&directory.path().join("catch_up"), scale.catch_up).await;
    consumers(directory.path(), &scale).await;
}

async fn open(directory: &Path) -> EventStore {
    EventStore::open(format!("redb:{}", directory.display())).await.unwrap()
}

fn event() -> NewEvent {
    NewEvent::raw(
        "Counted",
        r#"{"text":"of about the length that an event has in most applications"}"#,
    )
}

/// From an answered append to the subscriber, at 1,000 appends a second.
async fn latency(directory: &Path, last: Duration) {
    let store = open(directory).await;
    let began = Instant::now();
    // When each position was answered, in nanoseconds since `began`.
    let answered: Arc<Vec<AtomicU64>> =
        Arc::new((0..=last.as_millis() as usize + 1).map(|_| AtomicU64::new(0)).collect());
    let mut subscription = store.subscribe().from_start();
    let seen = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(event) = subscription.next().await {
            seen.push((event.unwrap().position.unwrap().get() as usize, began.elapsed()));
        }
        seen
    });
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let mut appends = 0_u64;
    while began.elapsed() < last && appends < last.as_millis() as u64 {
        tick.tick().await;
        let key = format!("latency/{}", appends % 16);
        let appended = store.append(Append::to(key.as_str()).event(event())).await.unwrap();
        let position = appended.position.unwrap().get() as usize;
        answered[position].store(began.elapsed().as_nanos() as u64, Ordering::SeqCst);
        appends += 1;
    }
    store.close().await.unwrap();
    let mut late: Histogram<u64> = Histogram::new(3).unwrap();
    for (position, at) in seen.await.unwrap() {
        let told = answered[position].load(Ordering::SeqCst);
        // Seen before its writer was told: that is not late at all.
        late.saturating_record((at.as_nanos() as u64).saturating_sub(told) / 1_000);
    }
    println!(
        "live latency at 1,000 appends/s: median {} µs, p99 {} µs, of {}",
        late.value_at_quantile(0.5),
        late.value_at_quantile(0.99),
        late.len()
    );
}

/// One subscriber over a history that is there already, cold and then warm.
async fn catch_up(directory: &Path, events: u64) {
    let store = open(directory).await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS as u64 {
        let store = store.clone();
        writers.spawn(async move {
            for _ in 0..(events / WRITERS as u64 / 100).max(1) {
                let key = format!("history/{writer}");
                let hundred = (0..100).map(|_| event());
                store.append(Append::to(key.as_str()).events(hundred)).await.unwrap();
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let last = store.log().unwrap().last_position().unwrap();
    for pass in ["first", "second"] {
        let began = Instant::now();
        let mut subscription = store.subscribe().from_start();
        let mut seen = 0_u64;
        while seen < last.get() {
            assert!(subscription.next().await.unwrap().is_ok());
            seen += 1;
        }
        let rate = seen as f64 / began.elapsed().as_secs_f64();
        println!("catch-up over {seen} events, {pass} pass: {:.0} k events/s", rate / 1_000.0);
    }
    store.close().await.unwrap();
}

/// What consumers are there beside the writers.
#[derive(Clone, Copy, Debug)]
enum Beside {
    Nobody,
    /// They handle every event and never write a checkpoint.
    WithoutCheckpoints,
    /// They handle every event and write a checkpoint after each batch of so many.
    Checkpoints(usize),
}

async fn consumers(directory: &Path, scale: &Scale) {
    // The default batch, and a small one.
    let all = [
        Beside::Nobody,
        Beside::WithoutCheckpoints,
        Beside::Checkpoints(256),
        Beside::Checkpoints(64),
    ];
    let mut rates = all.map(|_| Vec::new());
    for round in 0..scale.rounds {
        for (rates, beside) in rates.iter_mut().zip(all) {
            let store = open(&directory.join(format!("{round}-{beside:?}"))).await;
            rates.push(write_beside(store, beside, scale.writing_for).await);
        }
    }
    let medians = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    let [nobody, without, ..] = medians;
    for (beside, rate) in all.into_iter().zip(medians) {
        println!(
            "{WRITERS} writers, {CONSUMERS} consumers {beside:?}: {:.0} k appends/s, {:.2} × those beside nobody, \
             {:.2} × those without checkpoints",
            rate / 1_000.0,
            rate / nobody,
            rate / without
        );
    }
}

/// Appends a second of the writers.
async fn write_beside(store: EventStore, beside: Beside, last: Duration) -> f64 {
    let mut running = JoinSet::new();
    let mut handles = Vec::new();
    for number in 0..CONSUMERS {
        let consumer = store.consumer(format!("consumer {number}"));
        let consumer = match beside {
            Beside::Nobody => break,
            Beside::WithoutCheckpoints => consumer
                .checkpoint_every(usize::MAX)
                .checkpoint_interval(Duration::from_secs(3_600)),
            Beside::Checkpoints(batch) => consumer.batch(batch).checkpoint_every(batch),
        };
        let run = consumer.run(|event: KeyedEvent| async move {
            std::hint::black_box(event);
            Ok::<(), std::convert::Infallible>(())
        });
        handles.push(run.handle());
        running.spawn(run);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, stop) = (store.clone(), stop.clone());
        writers.spawn(async move {
            let (key, mut appends) = (format!("writer/{writer}"), 0_u64);
            while !stop.load(Ordering::Relaxed) {
                store.append(Append::to(key.as_str()).event(event())).await.unwrap();
                appends += 1;
            }
            appends
        });
    }
    tokio::time::sleep(last).await;
    stop.store(true, Ordering::Relaxed);
    let mut appends = 0;
    while let Some(ended) = writers.join_next().await {
        appends += ended.unwrap();
    }
    for handle in handles {
        handle.stop();
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap().unwrap();
    }
    store.close().await.unwrap();
    appends as f64 / last.as_secs_f64()
}
