//! A great many events over a great many aggregates, in random order: how fast, how much disk, how much
//! memory.
//!
//! Each writer owns a share of the aggregates and appends one event at a time to one of them drawn at
//! random. A contender that is not done after a while is stopped there; its rate is then that of a
//! smaller store, which flatters it. The peak of memory is the whole process's and has the workload's
//! own few MiB in it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::Scale;
use crate::figures::{Figures, Latencies, latencies, merged, record};
use crate::machine::{disk_bytes, peak_memory_bytes};
use crate::support::{Contender, Key, key, payloads};

const EVENTS: usize = 1_000_000;
const AGGREGATES: usize = 100_000;
const WRITERS: usize = 512;
const AT_MOST: Duration = Duration::from_secs(60);

pub(super) async fn measure<C: Contender>(
    scale: Scale,
    directory: &Path,
    open: impl AsyncFn(&Path) -> C,
) -> Figures {
    let contender = open(directory).await;
    payloads(0, 1);
    let left = Arc::new(AtomicI64::new((EVENTS / scale.divide_by) as i64));
    let aggregates = AGGREGATES / scale.divide_by;
    let begin = Instant::now();
    let tasks: Vec<_> = (0..WRITERS)
        .map(|number| {
            let own = (number..aggregates).step_by(WRITERS).map(|n| (key(n), 0)).collect();
            tokio::spawn(writer(contender.clone(), own, number, left.clone(), begin + AT_MOST))
        })
        .collect();
    let mut all = Vec::with_capacity(WRITERS);
    for task in tasks {
        all.push(task.await.unwrap());
    }
    let took = begin.elapsed();
    let closing = Instant::now();
    contender.close().await;
    let closing = closing.elapsed();

    let latencies = merged(all);
    let events = latencies.len() as f64;
    let figures = Figures::default()
        .with("rate", events / took.as_secs_f64())
        .with("rate_with_close", events / (took + closing).as_secs_f64())
        .with("close_seconds", closing.as_secs_f64())
        .with("events", events)
        .with("bytes_per_event", disk_bytes(directory) as f64 / events)
        .with_latencies(&latencies);
    match peak_memory_bytes() {
        Some(bytes) => figures.with("peak_mib", bytes as f64 / f64::from(1 << 20)),
        None => figures,
    }
}

async fn writer<C: Contender>(
    contender: C,
    mut own: Vec<(Key, u64)>,
    number: usize,
    left: Arc<AtomicI64>,
    deadline: Instant,
) -> Latencies {
    let mut latencies = latencies();
    let mut random = fastrand::Rng::with_seed(crate::SEED ^ number as u64);
    if own.is_empty() {
        return latencies;
    }
    let mut start = Instant::now();
    while left.fetch_sub(1, Ordering::Relaxed) > 0 && start < deadline {
        let chosen = random.usize(..own.len());
        let (key, seen) = &mut own[chosen];
        *seen = contender.append(key, *seen, payloads(random.usize(..), 1)).await.seen();
        let answered = Instant::now();
        record(&mut latencies, answered - start);
        start = answered;
    }
    latencies
}
