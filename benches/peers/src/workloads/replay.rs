//! One reader that reads whole histories, over and over.
//!
//! The store is closed and opened again before it is read. The first pass has cold caches (the
//! system's page cache excepted) and is a figure of its own; the rate is the median pass after it.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Scale;
use crate::figures::Figures;
use crate::support::{Contender, Key, key, payloads};

const EVENTS_OF_ONE: usize = 10_000;
const AGGREGATES: usize = 10_000;
const EVENTS_EACH: usize = 10;
const WRITERS: usize = 512;

/// How the events were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One aggregate, appended to one event at a time.
    One,
    /// Each aggregate's events in one append.
    Together,
    /// One event of every aggregate, then the next of every aggregate, and so on.
    Interleaved,
}

pub(super) async fn measure<C: Contender>(
    layout: Layout,
    scale: Scale,
    directory: &Path,
    open: impl AsyncFn(&Path) -> C,
) -> Figures {
    let contender = open(directory).await;
    let (aggregates, events) = match layout {
        Layout::One => {
            let events = EVENTS_OF_ONE / scale.divide_by;
            fill(&contender, 1, events, 1).await;
            (1, events)
        }
        Layout::Together | Layout::Interleaved => {
            let aggregates = AGGREGATES / scale.divide_by;
            let each = if layout == Layout::Together { EVENTS_EACH } else { 1 };
            fill(&contender, aggregates, EVENTS_EACH, each).await;
            (aggregates, aggregates * EVENTS_EACH)
        }
    };
    contender.close().await;

    let contender = open(directory).await;
    let mut keys: Vec<Key> = (0..aggregates).map(key).collect();
    fastrand::Rng::with_seed(crate::SEED).shuffle(&mut keys);
    let reader = {
        let contender = contender.clone();
        async move {
            let first = pass(&contender, &keys, events).await;
            let mut passes = Vec::new();
            let begin = Instant::now();
            while begin.elapsed().as_secs_f64() < scale.seconds || passes.len() < 3 {
                passes.push(pass(&contender, &keys, events).await);
            }
            passes.sort();
            (first, passes[passes.len() / 2])
        }
    };
    let (first, median) = tokio::spawn(reader).await.unwrap();
    contender.close().await;
    let rate = |pass: Duration| events as f64 / pass.as_secs_f64();
    Figures::default().with("rate", rate(median)).with("first_rate", rate(first))
}

/// Reads every aggregate once.
async fn pass<C: Contender>(contender: &C, keys: &[Key], events: usize) -> Duration {
    let begin = Instant::now();
    let mut read = 0;
    for key in keys {
        read += contender.replay(key).await.events;
    }
    assert_eq!(read, events as u64);
    begin.elapsed()
}

/// Each aggregate gets `events` events, `each` of them an append; round by round, so that with a small
/// `each` the aggregates' events lie between one another.
async fn fill<C: Contender>(contender: &C, aggregates: usize, events: usize, each: usize) {
    let tasks: Vec<_> = (0..WRITERS.min(aggregates))
        .map(|writer| {
            let contender = contender.clone();
            tokio::spawn(async move {
                let mut own: Vec<(Key, u64)> =
                    (writer..aggregates).step_by(WRITERS).map(|n| (key(n), 0)).collect();
                for round in 0..events / each {
                    for (number, (key, seen)) in own.iter_mut().enumerate() {
                        let events = payloads(number * events + round, each);
                        *seen = contender.append(key, *seen, events).await.seen();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}
