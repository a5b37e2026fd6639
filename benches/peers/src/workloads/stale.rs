//! Callers that append to one aggregate as if it had no event, and are refused each time.

use std::time::Instant;

use super::{Scale, Window};
use crate::figures::{Figures, Latencies, latencies, merged, record};
use crate::support::{Contender, Key, Outcome, key, payloads};

/// Refusals after which a caller lets the others have the thread.
const TURN: u64 = 1_024;

pub(super) async fn measure<C: Contender>(callers: usize, scale: Scale, contender: C) -> Figures {
    let key = key(1);
    let mut seen = 0;
    for event in 0..2 {
        seen = contender.append(&key, seen, payloads(event, 1)).await.seen();
    }
    let window = Window::soon(scale);
    let tasks: Vec<_> = (0..callers)
        .map(|number| tokio::spawn(caller(contender.clone(), key.clone(), number, window)))
        .collect();
    let mut all = Vec::with_capacity(callers);
    for task in tasks {
        all.push(task.await.unwrap());
    }
    contender.close().await;
    let latencies = merged(all);
    let rate = latencies.len() as f64 / window.seconds();
    Figures::default().with("rate", rate).with_latencies(&latencies)
}

async fn caller<C: Contender>(contender: C, key: Key, number: usize, window: Window) -> Latencies {
    let mut latencies = latencies();
    let mut start = Instant::now();
    for attempt in 1_u64.. {
        let outcome = contender.append(&key, 0, payloads(number, 1)).await;
        assert_eq!(outcome, Outcome::Conflict);
        let answered = Instant::now();
        if window.is_over(answered) {
            break;
        }
        if window.has(answered) {
            record(&mut latencies, answered - start);
        }
        start = answered;
        // A store that answers without ever waiting would keep its thread for one task.
        if attempt % TURN == 0 {
            tokio::task::yield_now().await;
            start = Instant::now();
        }
    }
    latencies
}
