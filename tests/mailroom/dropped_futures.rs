//! A caller may drop the future of an append at any moment. That never leaves half an append;
//! repeating it with its commit id finds out whether it was written; and nothing stays behind:
//! every permit comes back, and closing waits for nobody.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{
    append, assert_busy, chance, event, held_driver_over, history, poll_once, start, within,
};
use seriatim::driver::Driver;
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::redb::RedbDriver;
use seriatim::{Append, Builder, EventStore, Expected};
use uuid::Uuid;

const KEYS: u64 = 6;
const PERMITS: usize = 8;

/// An append of one to four events that can be made again.
#[derive(Clone)]
struct Attempt {
    key: String,
    commit_id: Uuid,
    events: u64,
}

impl Attempt {
    fn random(chance: &mut fastrand::Rng) -> Self {
        Attempt {
            key: format!("a/{}", chance.u64(..KEYS)),
            commit_id: Uuid::from_u128(chance.u128(..)),
            events: chance.u64(1..=4),
        }
    }

    fn append(&self) -> Append {
        Append::to(&self.key).events((0..self.events).map(event)).commit_id(self.commit_id)
    }
}

/// Awaits the append, or drops it at a moment left to chance. Whether it was answered.
async fn append_or_drop(store: &EventStore, attempt: &Attempt, chance: &mut fastrand::Rng) -> bool {
    let mut appending = Box::pin(store.append(attempt.append()));
    match chance.u8(..4) {
        // Polled a few times, without a wake-up and so mostly in the middle of something.
        0 => {
            for _ in 0..chance.u8(..3) {
                if let Some(answer) = poll_once(&mut appending) {
                    return answer.is_ok();
                }
                tokio::task::yield_now().await;
            }
            false
        }
        1 | 2 => {
            let patience = Duration::from_micros(chance.u64(..3_000));
            tokio::time::timeout(patience, appending).await.is_ok_and(|answer| answer.is_ok())
        }
        _ => within("an answer", appending).await.is_ok(),
    }
}

/// Appends from many tasks, most of whose futures are dropped. What was tried, and whether it was
/// answered.
async fn drop_futures(store: &EventStore, mut chance: fastrand::Rng) -> Vec<(Attempt, bool)> {
    let tasks: Vec<_> = (0..24)
        .map(|_| {
            let (store, mut chance) = (store.clone(), chance.fork());
            tokio::spawn(async move {
                let mut attempts = Vec::new();
                for _ in 0..40 {
                    let attempt = Attempt::random(&mut chance);
                    let answered = append_or_drop(&store, &attempt, &mut chance).await;
                    attempts.push((attempt, answered));
                }
                attempts
            })
        })
        .collect();
    let mut attempts = Vec::new();
    for task in tasks {
        attempts.extend(within("a task", task).await.unwrap());
    }
    attempts
}

/// How many events of each append stand in the store; those of one append must follow one another.
async fn stored(store: &EventStore) -> HashMap<Uuid, u64> {
    let mut stored = HashMap::new();
    for key in 0..KEYS {
        let events = history(store, &format!("a/{key}")).await;
        for append in events.chunk_by(|a, b| a.commit_id == b.commit_id) {
            let earlier = stored.insert(append[0].commit_id, append.len() as u64);
            assert_eq!(earlier, None, "an append stands at two places");
        }
    }
    stored
}

/// How many of the appends are in the store; each wholly or not at all, and every answered one.
fn written(attempts: &[(Attempt, bool)], stored: &HashMap<Uuid, u64>) -> usize {
    let mut written = 0;
    for (attempt, answered) in attempts {
        match stored.get(&attempt.commit_id) {
            Some(events) => {
                assert_eq!(*events, attempt.events, "a part of an append");
                written += 1;
            }
            None => assert!(!answered, "answered, and not there"),
        }
    }
    written
}

/// Repeats everything, on a store opened after the one in which futures were dropped.
async fn repeat_everything(store: &EventStore, attempts: &[(Attempt, bool)]) {
    let before = stored(store).await;
    let answered = attempts.iter().filter(|(_, answered)| *answered).count();
    let written_before = written(attempts, &before);
    println!("{} tried, {answered} answered, {written_before} written", attempts.len());
    assert!(written_before > answered, "no append outlived its future");
    assert!(written_before < attempts.len(), "no future was dropped in time to stop its append");
    for (attempt, _) in attempts {
        let appended = within("repeating", store.append(attempt.append())).await.unwrap();
        assert_eq!(appended.repeated, before.contains_key(&attempt.commit_id));
        assert_eq!(appended.last, appended.first.plus(attempt.events - 1));
    }
    assert_eq!(written(attempts, &stored(store).await), attempts.len());
}

fn small(driver: Arc<dyn Driver>) -> Builder {
    EventStore::builder()
        .driver(driver)
        .permits_per_aggregate(PERMITS)
        .bytes_in_flight(2_000)
        .max_resident(4)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_dropped_is_whole_or_not_there_and_leaves_no_permit_behind() {
    let memory = MemoryDriver::new();
    let driver = held_driver_over(memory.reopen());
    driver.release_puts();
    let store = small(driver.clone()).open().await.unwrap();
    let attempts = drop_futures(&store, chance()).await;

    // Behind a later append of the same aggregate, all that was admitted before is settled.
    for key in 0..KEYS {
        within("settling", store.append(append(&format!("a/{key}")))).await.unwrap();
    }
    for key in 0..KEYS {
        let key = format!("a/{key}");
        within("a seat", store.append(append(&key))).await.unwrap();
        driver.hold_puts();
        let all: Vec<_> = (0..PERMITS).map(|_| start(store.try_append(append(&key)))).collect();
        assert_busy(poll_once(&mut Box::pin(store.try_append(append(&key)))), &key);
        driver.release_puts();
        for append in all {
            within("an append that had its permit", append).await.unwrap();
        }
    }
    within("closing", store.close()).await.unwrap();

    let reopened = EventStore::builder().driver(Arc::new(memory.reopen())).open().await.unwrap();
    repeat_everything(&reopened, &attempts).await;
    reopened.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_redb_too() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Arc::new(RedbDriver::open(directory.path()).unwrap());
    let store = small(open()).open().await.unwrap();
    let attempts = drop_futures(&store, chance()).await;
    within("closing", store.close()).await.unwrap();
    let reopened = small(open()).open().await.unwrap();
    repeat_everything(&reopened, &attempts).await;
    reopened.close().await.unwrap();
}

/// The only writer of its aggregate repeats each append until one of its futures lives long enough
/// to be answered. It never meets a conflict, and each append is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_repeats_until_answered_writes_once() {
    let directory = tempfile::tempdir().unwrap();
    let driver = Arc::new(RedbDriver::open(directory.path()).unwrap());
    let store = small(driver).open().await.unwrap();
    let mut chance = chance();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (store, mut chance) = (store.clone(), chance.fork());
            tokio::spawn(async move {
                let key = format!("own/{writer}");
                let (mut latest, mut found) = (0, 0);
                for _ in 0..25 {
                    let events = chance.u64(1..=3);
                    let commit_id = Uuid::from_u128(chance.u128(..));
                    let append = Append::to(&key)
                        .expect(Expected::from(latest))
                        .events((0..events).map(event))
                        .commit_id(commit_id);
                    let appended = loop {
                        let patience = Duration::from_micros(chance.u64(..6_000));
                        let appending = store.append(append.clone());
                        if let Ok(answer) = tokio::time::timeout(patience, appending).await {
                            break answer.unwrap();
                        }
                    };
                    assert_eq!(
                        (appended.first, appended.last),
                        ((latest + 1).into(), (latest + events).into())
                    );
                    latest += events;
                    found += u64::from(appended.repeated);
                }
                (key, latest, found)
            })
        })
        .collect();
    let mut found = 0;
    for writer in writers {
        let (key, latest, repeated) = within("a writer", writer).await.unwrap();
        assert_eq!(history(&store, &key).await.len() as u64, latest);
        found += repeated;
    }
    assert!(found > 0, "no repetition found its append written");
    within("closing", store.close()).await.unwrap();
}
