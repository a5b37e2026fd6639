//! Stale appends by 1 and 64 callers to one aggregate, all of them refused, beside redb by hand.
//!
//! An iteration is one refusal for every caller; the throughput counts refusals.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::path::Path;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use support::{
    Contender, Key, RedbGroupCommit, RedbOneByOne, Seriatim, payloads, refused, runtime,
};

fn conflict(criterion: &mut Criterion) {
    for callers in [1, 64] {
        let mut group = criterion.benchmark_group(format!("conflict for {callers}"));
        group.throughput(Throughput::Elements(callers as u64));
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
        bench(&mut group, callers, "seriatim", async |directory| {
            Seriatim::open(&format!("redb:{}", directory.display())).await
        });
        bench(&mut group, callers, "redb, a transaction per append", async |directory| {
            RedbOneByOne::open(directory)
        });
        bench(&mut group, callers, "redb, group commit", async |directory| {
            RedbGroupCommit::open(directory)
        });
    }
}

fn bench<C: Contender>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    callers: usize,
    name: &str,
    open: impl AsyncFn(&Path) -> C,
) {
    let runtime = runtime();
    let directory = tempfile::tempdir().unwrap();
    let aggregate = Key::from("account/1");
    // The function runs once per sample, and not at all when the name is filtered out.
    let mut opened = None;
    group.bench_function(name, |bencher| {
        let contender = opened.get_or_insert_with(|| {
            let contender = runtime.block_on(open(directory.path()));
            runtime.block_on(contender.append(&aggregate, 0, payloads(0, 2))).seen();
            contender
        });
        bencher.iter_custom(|times| refused(contender, &runtime, &aggregate, callers, times));
    });
    if let Some(contender) = opened {
        runtime.block_on(contender.close());
    }
}

criterion_group!(benches, conflict);
criterion_main!(benches);
