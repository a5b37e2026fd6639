//! Writers with aggregates of their own, each appending as soon as its last append is answered.

use std::time::Instant;

use super::{Scale, Window};
use crate::figures::{Figures, Latencies, latencies, merged, record};
use crate::support::{Contender, Key, key, payloads};

pub(super) async fn measure<C: Contender>(
    writers: usize,
    events: usize,
    scale: Scale,
    contender: C,
) -> Figures {
    // The payloads are made at their first use.
    payloads(0, events);
    let window = Window::soon(scale);
    let tasks: Vec<_> = (0..writers)
        .map(|number| tokio::spawn(writer(contender.clone(), key(number), number, events, window)))
        .collect();
    let mut all = Vec::with_capacity(writers);
    for task in tasks {
        all.push(task.await.unwrap());
    }
    contender.close().await;
    let latencies = merged(all);
    let rate = (latencies.len() as usize * events) as f64 / window.seconds();
    Figures::default().with("rate", rate).with_latencies(&latencies)
}

async fn writer<C: Contender>(
    contender: C,
    key: Key,
    number: usize,
    events: usize,
    window: Window,
) -> Latencies {
    let mut latencies = latencies();
    let (mut seen, mut appends) = (0, number);
    let mut start = Instant::now();
    loop {
        seen = contender.append(&key, seen, payloads(appends * events, events)).await.seen();
        appends += 1;
        let answered = Instant::now();
        if window.is_over(answered) {
            return latencies;
        }
        if window.has(answered) {
            record(&mut latencies, answered - start);
        }
        start = answered;
    }
}
