//! Reading history back: 10,000 events of one aggregate, and 10,000 aggregates of 10 events in random
//! order, beside redb by hand.
//!
//! An iteration reads all of them; the throughput counts events. The store is closed and opened again
//! before it is read, so that no contender reads what its writer left in memory. With `--test` the
//! histories are a hundredth as long.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use support::{Contender, Key, RedbGroupCommit, RedbOneByOne, Seriatim, key, payloads, runtime};
use tokio::runtime::Runtime;

const SEED: u64 = 0x5e71_a71a;

/// What is stored, and then read.
#[derive(Clone, Copy)]
struct History {
    aggregates: usize,
    events_each: usize,
}

fn replay(criterion: &mut Criterion) {
    let test = std::env::args().any(|argument| argument == "--test");
    let scale = if test { 100 } else { 1 };
    let one = History { aggregates: 1, events_each: 10_000 / scale };
    let many = History { aggregates: 10_000 / scale, events_each: 10 };
    for (name, history) in [("replay one", one), ("replay many at random", many)] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements((history.aggregates * history.events_each) as u64));
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
        bench(&mut group, history, "seriatim", async |directory| {
            Seriatim::open(&format!("redb:{}", directory.display())).await
        });
        bench(&mut group, history, "redb, a transaction per append", async |directory| {
            RedbOneByOne::open(directory)
        });
        bench(&mut group, history, "redb, group commit", async |directory| {
            RedbGroupCommit::open(directory)
        });
    }
}

fn bench<C: Contender>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    history: History,
    name: &str,
    open: impl AsyncFn(&Path) -> C,
) {
    let runtime = runtime();
    let directory = tempfile::tempdir().unwrap();
    let keys = shuffled(history.aggregates);
    // The function runs once per sample, and not at all when the name is filtered out.
    let mut opened = None;
    group.bench_function(name, |bencher| {
        let contender = opened.get_or_insert_with(|| {
            let contender = runtime.block_on(open(directory.path()));
            fill(&contender, &runtime, history);
            runtime.block_on(contender.close());
            runtime.block_on(open(directory.path()))
        });
        bencher.iter(|| {
            let read = read_all(contender.clone(), keys.clone());
            let events = runtime.block_on(runtime.spawn(read)).unwrap();
            assert_eq!(events, (history.aggregates * history.events_each) as u64);
        });
    });
    if let Some(contender) = opened {
        runtime.block_on(contender.close());
    }
}

/// Reads every aggregate, one after another; how many events that were.
async fn read_all<C: Contender>(contender: C, keys: Arc<[Key]>) -> u64 {
    let mut events = 0;
    for key in keys.iter() {
        events += contender.replay(key).await.events;
    }
    events
}

/// Each aggregate's events in appends of ten, many aggregates at the same time.
fn fill<C: Contender>(contender: &C, runtime: &Runtime, history: History) {
    const WRITERS: usize = 64;
    let tasks: Vec<_> = (0..WRITERS.min(history.aggregates))
        .map(|writer| {
            let contender = contender.clone();
            runtime.spawn(async move {
                for aggregate in (writer..history.aggregates).step_by(WRITERS) {
                    let key = key(aggregate);
                    let mut seen = 0;
                    for from in (0..history.events_each).step_by(10) {
                        let events = payloads(aggregate + from, 10);
                        seen = contender.append(&key, seen, events).await.seen();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
}

fn shuffled(aggregates: usize) -> Arc<[Key]> {
    let mut keys: Vec<Key> = (0..aggregates).map(key).collect();
    fastrand::Rng::with_seed(SEED).shuffle(&mut keys);
    keys.into()
}

criterion_group!(benches, replay);
criterion_main!(benches);
