//! Tasks that append at the same time, for benches that count in rounds.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::{Contender, Key, Outcome, Seen, payloads};

/// Writers that each have an aggregate of their own and remember how far it has come.
pub(crate) struct Writers<C> {
    contender: C,
    aggregates: Vec<(Key, Seen)>,
}

impl<C: Contender> Writers<C> {
    /// Writers of aggregates that have no event yet.
    pub(crate) fn new(contender: C, writers: usize) -> Self {
        let aggregates = (0..writers).map(|writer| (key(writer), 0)).collect();
        Writers { contender, aggregates }
    }

    /// Every writer appends one event so many times, each as soon as its last append is answered. How
    /// long that takes until the slowest is done.
    pub(crate) fn append(&mut self, runtime: &Runtime, times: u64) -> Duration {
        let start = Instant::now();
        let tasks: Vec<_> = self
            .aggregates
            .drain(..)
            .enumerate()
            .map(|(writer, (key, mut seen))| {
                let contender = self.contender.clone();
                runtime.spawn(async move {
                    for _ in 0..times {
                        let event = payloads(writer + seen as usize, 1);
                        seen = contender.append(&key, seen, event).await.seen();
                    }
                    (key, seen)
                })
            })
            .collect();
        for task in tasks {
            self.aggregates.push(runtime.block_on(task).unwrap());
        }
        start.elapsed()
    }

    /// Closes the store.
    pub(crate) fn close(self, runtime: &Runtime) {
        runtime.block_on(self.contender.close());
    }
}

/// Callers that each try, so many times, to append to an aggregate of which they have seen nothing,
/// and are refused.
pub(crate) fn refused<C: Contender>(
    contender: &C,
    runtime: &Runtime,
    aggregate: &Key,
    callers: usize,
    times: u64,
) -> Duration {
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (contender, key) = (contender.clone(), aggregate.clone());
            runtime.spawn(async move {
                for _ in 0..times {
                    let outcome = contender.append(&key, 0, payloads(caller, 1)).await;
                    assert_eq!(outcome, Outcome::Conflict);
                }
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    start.elapsed()
}

/// The key of the aggregate with this number.
pub(crate) fn key(number: usize) -> Key {
    Key::from(format!("account/{number:06}"))
}
