//! What one append in ten to a cold key costs the other nine.
//!
//! The store is filled with aggregates of one event each, closed and opened again, so that nothing of
//! them is in memory. Then writers append to aggregates of their own, first all of the time, then with
//! every tenth append going to the next cold aggregate instead, then all of the time again. Only the
//! appends to the writers' own aggregates are compared.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::{Scale, Window};
use crate::figures::{Figures, Latencies, latencies, merged, record};
use crate::support::{Contender, Key, key, payloads};

const WRITERS: usize = 64;
const FILLERS: usize = 512;
/// Each is cold once, and this is more than a tenth of what any store here appends.
const COLD_AGGREGATES_PER_SECOND: f64 = 25_000.0;

pub(super) async fn measure<C: Contender>(
    scale: Scale,
    directory: &Path,
    open: impl AsyncFn(&Path) -> C,
) -> Figures {
    let cold_aggregates = (COLD_AGGREGATES_PER_SECOND * scale.seconds) as usize;
    let contender = open(directory).await;
    fill(&contender, cold_aggregates).await;
    contender.close().await;

    let contender = open(directory).await;
    let next_cold = Arc::new(AtomicUsize::new(0));
    let mut own: Vec<(Key, u64)> =
        (0..WRITERS).map(|number| (Key::from(format!("warm/{number}")), 0)).collect();
    let mut phases = Vec::new();
    for with_cold in [false, true, false] {
        let window = Window::soon(scale);
        let next_cold = with_cold.then(|| next_cold.clone());
        let tasks: Vec<_> = own
            .drain(..)
            .map(|own| tokio::spawn(writer(contender.clone(), own, next_cold.clone(), window)))
            .collect();
        let (mut warm, mut cold) = (Vec::new(), Vec::new());
        for task in tasks {
            let done = task.await.unwrap();
            own.push(done.own);
            warm.push(done.warm);
            cold.push(done.cold);
        }
        phases.push((merged(warm), merged(cold)));
    }
    contender.close().await;
    let used = next_cold.load(Ordering::Relaxed);
    assert!(used <= cold_aggregates, "only {cold_aggregates} of {used} keys were cold");

    let [(before, _), (mixed, cold), (after, _)] = &phases[..] else { unreachable!() };
    let without_us = (before.mean() + after.mean()) / 2.0 / 1_000.0;
    let with_us = mixed.mean() / 1_000.0;
    Figures::default()
        .with("without_us", without_us)
        .with("with_us", with_us)
        .with("cost", with_us / without_us)
        .with("cold_us", cold.mean() / 1_000.0)
        .with("rate", (mixed.len() + cold.len()) as f64 / scale.seconds)
        .with("rate_without", (before.len() + after.len()) as f64 / scale.seconds / 2.0)
        .with_latencies(mixed)
}

struct Done {
    own: (Key, u64),
    warm: Latencies,
    cold: Latencies,
}

async fn writer<C: Contender>(
    contender: C,
    mut own: (Key, u64),
    next_cold: Option<Arc<AtomicUsize>>,
    window: Window,
) -> Done {
    let (mut warm, mut cold) = (latencies(), latencies());
    let mut start = Instant::now();
    for appends in 0.. {
        let latencies = match &next_cold {
            Some(next) if appends % 10 == 9 => {
                let number = next.fetch_add(1, Ordering::Relaxed);
                contender.append(&key(number), 1, payloads(appends, 1)).await.seen();
                &mut cold
            }
            _ => {
                own.1 = contender.append(&own.0, own.1, payloads(appends, 1)).await.seen();
                &mut warm
            }
        };
        let answered = Instant::now();
        if window.is_over(answered) {
            break;
        }
        if window.has(answered) {
            record(latencies, answered - start);
        }
        start = answered;
    }
    Done { own, warm, cold }
}

/// One event in every cold aggregate.
async fn fill<C: Contender>(contender: &C, aggregates: usize) {
    let tasks: Vec<_> = (0..FILLERS)
        .map(|filler| {
            let contender = contender.clone();
            tokio::spawn(async move {
                for number in (filler..aggregates).step_by(FILLERS) {
                    contender.append(&key(number), 0, payloads(number, 1)).await.seen();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}
