//! A history reads the same whether its segments come from redb or from the cache, whichever of
//! them the cache holds: lone events among others', neighbours, events longer than a page;
//! forwards, backwards, from any sequence, to any limit; and while the log's last segment grows.

use std::sync::Arc;

use seriatim::driver::redb::{Durability, RedbDriver};
use seriatim::{Append, EventStore, KeyedEvent, NewEvent};

const AGGREGATES: usize = 20;

async fn open(directory: &std::path::Path, cache: usize) -> EventStore {
    let builder = RedbDriver::builder().durability(Durability::Written).segment_cache_bytes(cache);
    let driver = builder.open(directory).unwrap();
    EventStore::builder().driver(Arc::new(driver)).open().await.unwrap()
}

/// Appends to every aggregate in turn, mostly one event, sometimes several or a long one; what was
/// appended is added to `written`.
async fn write(store: &EventStore, written: &mut [Vec<String>], rounds: usize) {
    let mut random = fastrand::Rng::with_seed(rounds as u64);
    for _ in 0..rounds {
        for (number, written) in written.iter_mut().enumerate() {
            let events = if random.u8(..10) == 0 { random.usize(2..60) } else { 1 };
            let length = if random.u8(..40) == 0 { 10_000 } else { random.usize(1..300) };
            let mut append = Append::to(format!("a/{number}"));
            for _ in 0..events {
                let data = format!("{{\"n\":{},\"s\":\"{}\"}}", written.len(), "x".repeat(length));
                append = append.event(NewEvent::raw("E", data.clone()));
                written.push(data);
            }
            store.append(append).await.unwrap();
        }
    }
}

fn check(number: usize, events: &[KeyedEvent], written: &[String], sequences: &[usize]) {
    let read: Vec<u64> = events.iter().map(|event| event.sequence.get()).collect();
    assert_eq!(read, sequences.iter().map(|sequence| *sequence as u64).collect::<Vec<_>>());
    for (event, sequence) in events.iter().zip(sequences) {
        assert_eq!(event.key.as_str(), format!("a/{number}"));
        assert_eq!(event.data.as_str(), written[sequence - 1]);
    }
    let positions: Vec<_> = events.iter().map(|event| event.position.unwrap()).collect();
    assert!(positions.is_sorted() || positions.iter().rev().is_sorted());
}

async fn read_all(store: &EventStore, written: &[Vec<String>], random: &mut fastrand::Rng) {
    let mut numbers: Vec<usize> = (0..AGGREGATES).collect();
    random.shuffle(&mut numbers);
    for number in numbers {
        let written = &written[number];
        let from = random.usize(1..=written.len());
        let limit = random.usize(1..=written.len());
        let read = || store.read(format!("a/{number}"));
        let forwards: Vec<usize> = (1..=written.len()).collect();
        let backwards: Vec<usize> = forwards.iter().rev().copied().collect();
        check(number, &read().collect().await.unwrap(), written, &forwards);
        check(number, &read().backwards().collect().await.unwrap(), written, &backwards);
        let sequences: Vec<usize> = (from..=written.len()).take(limit).collect();
        check(
            number,
            &read().from(from as u64).limit(limit).collect().await.unwrap(),
            written,
            &sequences,
        );
        let sequences: Vec<usize> = (1..=from).rev().take(limit).collect();
        let some = read().from(from as u64).limit(limit).backwards().collect().await.unwrap();
        check(number, &some, written, &sequences);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_cache_holds() {
    for cache in [0, 40_000, 64 << 20] {
        let directory = tempfile::tempdir().unwrap();
        let mut written = vec![Vec::new(); AGGREGATES];
        let mut random = fastrand::Rng::with_seed(cache as u64);
        for rounds in [15, 1] {
            // Closing applies all, so that it is redb that is read, and the last segment grows.
            let store = open(directory.path(), cache).await;
            for _ in 0..2 {
                write(&store, &mut written, rounds).await;
                read_all(&store, &written, &mut random).await;
            }
            store.close().await.unwrap();
            let store = open(directory.path(), cache).await;
            for _ in 0..3 {
                read_all(&store, &written, &mut random).await;
            }
            store.close().await.unwrap();
        }
    }
}
