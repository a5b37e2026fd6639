//! Appends of one event by 1, 64 and 512 writers with aggregates of their own, beside redb by hand.
//!
//! An iteration is one append by every writer; the throughput counts appends. Every append is durable
//! before its answer, for every contender.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::path::Path;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use support::{Contender, RedbGroupCommit, RedbOneByOne, Seriatim, Writers, runtime};

fn append(criterion: &mut Criterion) {
    for writers in [1, 64, 512] {
        let mut group = criterion.benchmark_group(format!("append by {writers}"));
        group.throughput(Throughput::Elements(writers as u64));
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
        bench(&mut group, writers, "seriatim", async |directory| {
            Seriatim::open(&format!("redb:{}", directory.display())).await
        });
        bench(&mut group, writers, "redb, a transaction per append", async |directory| {
            RedbOneByOne::open(directory)
        });
        bench(&mut group, writers, "redb, group commit", async |directory| {
            RedbGroupCommit::open(directory)
        });
    }
}

fn bench<C: Contender>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    writers: usize,
    name: &str,
    open: impl AsyncFn(&Path) -> C,
) {
    let runtime = runtime();
    let directory = tempfile::tempdir().unwrap();
    // The function runs once per sample, and not at all when the name is filtered out.
    let mut opened = None;
    group.bench_function(name, |bencher| {
        let writers = opened
            .get_or_insert_with(|| Writers::new(runtime.block_on(open(directory.path())), writers));
        bencher.iter_custom(|times| writers.append(&runtime, times));
    });
    if let Some(writers) = opened {
        writers.close(&runtime);
    }
}

criterion_group!(benches, append);
criterion_main!(benches);
