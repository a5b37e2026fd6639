//! Writers append while subscribers of different speeds read, join late, and are dropped and rejoin
//! from where they were: each sees every position exactly once, in order. `SERIATIM_SECONDS` says
//! for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::logged::{happen, on_each};
use crate::support::{DEADLINE, chance, event, poll_once, until, within};
use seriatim::{Append, EventStore, Position, ReadError};

const WRITERS: u64 = 8;
const SUBSCRIBERS: u64 = 8;

fn seconds() -> f64 {
    std::env::var("SERIATIM_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_position_once_in_order() {
    let mut chance = chance();
    let seeds: Vec<u64> = (0..SUBSCRIBERS).map(|_| chance.u64(..)).collect();
    on_each(|store| {
        let seeds = seeds.clone();
        async move {
            let stop = Arc::new(AtomicBool::new(false));
            let writers: Vec<_> =
                (0..WRITERS).map(|n| tokio::spawn(write(store.clone(), n, stop.clone()))).collect();
            let subscribers: Vec<_> = (0..SUBSCRIBERS)
                .map(|n| {
                    let random = fastrand::Rng::with_seed(seeds[n as usize]);
                    tokio::spawn(watch(store.clone(), n, random, stop.clone()))
                })
                .collect();
            tokio::time::sleep(Duration::from_secs_f64(seconds())).await;
            stop.store(true, Ordering::SeqCst);
            let mut written = 0;
            for writer in writers {
                written += writer.await.unwrap();
            }
            assert_eq!(store.log().unwrap().last_position().unwrap(), written);
            for subscriber in subscribers {
                let (seen, rejoined) = within("a subscriber", subscriber).await.unwrap();
                assert_eq!(seen, written);
                println!("{seen} events seen, rejoined {rejoined} times");
            }
        }
    })
    .await;
}

async fn write(store: EventStore, writer: u64, stop: Arc<AtomicBool>) -> u64 {
    let mut written = 0;
    while !stop.load(Ordering::SeqCst) {
        let count = 1 + written % 3;
        let key = format!("account/{}", (writer + written) % 50);
        let append = Append::to(key).events((0..count).map(event));
        store.append(append).await.unwrap();
        written += count;
    }
    written
}

/// Sees everything until the writers are done and nothing is left; how much, and how often it
/// rejoined.
async fn watch(
    store: EventStore,
    number: u64,
    mut random: fastrand::Rng,
    stop: Arc<AtomicBool>,
) -> (u64, u64) {
    // They join at different positions.
    let join_at = number * 100;
    let has_come = || store.log().unwrap().last_position().unwrap().get() >= join_at;
    until("the log is long enough to join", || stop.load(Ordering::SeqCst) || has_come()).await;
    let mut seen = 0;
    let mut rejoined = 0;
    let mut subscription = store.subscribe();
    let began = Instant::now();
    loop {
        let log = store.log().unwrap();
        assert!(
            began.elapsed() < DEADLINE + Duration::from_secs_f64(seconds()),
            "subscriber {number} has seen {seen} events of {:?}, and {} more can be read",
            log.last_position(),
            log.read().from(seen + 1).collect().await.map_or(0, |events| events.len()),
        );
        let next = tokio::time::timeout(Duration::from_millis(200), subscription.next()).await;
        let Ok(event) = next else {
            if stop.load(Ordering::SeqCst) && store.log().unwrap().last_position().unwrap() == seen
            {
                return (seen, rejoined);
            }
            continue;
        };
        let position = event.unwrap().unwrap().position.unwrap();
        assert_eq!(position, seen + 1, "subscriber {number}: missed or repeated");
        seen += 1;
        assert_eq!(subscription.position(), seen);
        // From one that never waits to one that does every few events.
        if number > 0 && random.u64(..2_000) < number {
            tokio::time::sleep(Duration::from_millis(random.u64(..10))).await;
        }
        if random.u64(..3_000) == 0 {
            subscription = store.subscribe().from(subscription.position().plus(1));
            rejoined += 1;
        }
    }
}

#[tokio::test]
async fn from_a_position_the_end_and_one_aggregate() {
    on_each(|store| async move {
        for n in 1..=10 {
            happen(&store, if n % 2 == 0 { "even/1" } else { "odd/1" }, "Counted").await;
        }
        let mut tail = store.subscribe().from_end();
        let mut late = store.subscribe().from(12);
        let mut evens = store.subscribe().aggregate("even/1", 4);
        let mut odds = store.subscribe().category("odd").from(4);
        happen(&store, "odd/1", "Counted").await;
        happen(&store, "even/1", "Counted").await;
        let next = async |subscription: &mut seriatim::Subscription| {
            let event = within("an event", subscription.next()).await.unwrap().unwrap();
            event.position.unwrap().get()
        };
        assert_eq!([next(&mut tail).await, next(&mut tail).await], [11, 12]);
        assert_eq!(next(&mut late).await, 12);
        let found = [next(&mut evens).await, next(&mut evens).await, next(&mut evens).await];
        assert_eq!(found, [8, 10, 12]);
        let found = [next(&mut odds).await, next(&mut odds).await];
        assert_eq!(found, [5, 7]);
        // What comes later reaches those who wait.
        for subscription in [&mut tail, &mut evens] {
            assert!(poll_once(&mut Box::pin(subscription.next())).is_none());
        }
        happen(&store, "even/1", "Counted").await;
        assert_eq!([next(&mut tail).await, next(&mut evens).await], [13, 13]);
    })
    .await;
}

#[tokio::test]
async fn it_ends_when_the_store_closes_and_does_not_keep_it_open() {
    on_each(|store| async move {
        happen(&store, "a", "Happened").await;
        let mut waiting = store.subscribe();
        assert!(within("an event", waiting.next()).await.is_some());
        let waiting = tokio::spawn(async move { waiting.next().await });
        let mut unread = store.subscribe();
        store.close().await.unwrap();
        assert!(within("the end", waiting).await.unwrap().is_none());
        assert!(within("the end", unread.next()).await.is_none());
        assert!(within("the end", unread.next()).await.is_none());
    })
    .await;
    let mut left = {
        let store = EventStore::open("memory:").await.unwrap();
        store.subscribe()
    };
    assert!(within("the end", left.next()).await.is_none());
}

#[tokio::test]
async fn a_key_that_is_none_is_told() {
    on_each(|store| async move {
        let mut subscription = store.subscribe().aggregate("", 1);
        let first = within("the error", subscription.next()).await;
        assert!(matches!(first, Some(Err(ReadError::InvalidKey(_)))));
        assert!(within("the end", subscription.next()).await.is_none());
        assert_eq!(subscription.position(), Position::new(0));
    })
    .await;
}
