//! Aggregates are passivated while writers keep coming: with a short idle timeout, few seats and
//! slow puts nothing answered is lost, no sequence is given twice, never more aggregates are
//! resident than may be, and none when nobody writes.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{
    append, append_after, assert_busy, chance, held_driver, history, poll_once, start, until,
    within,
};
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{Driver, DriverError, EventPages, Fetch, Put, PutReceipt, async_trait};
use seriatim::{AggregateKey, EventStore, Sequence};

/// Memory whose answers take a moment, so that aggregates are passivated around puts and questions.
struct Slow {
    memory: MemoryDriver,
    /// Aggregates that came back: their latest sequence was asked for.
    asked: AtomicUsize,
}

async fn a_moment() {
    match fastrand::u8(..4) {
        0 => tokio::time::sleep(Duration::from_micros(fastrand::u64(..4_000))).await,
        1 => tokio::task::yield_now().await,
        _ => {}
    }
}

#[async_trait]
impl Driver for Slow {
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        a_moment().await;
        self.memory.check_sequence(key, sequence).await
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        self.memory.fetch_events(key, fetch)
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        a_moment().await;
        let receipt = self.memory.put_events(put).await;
        a_moment().await;
        receipt
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.memory.close().await
    }

    async fn latest_sequence(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        a_moment().await;
        self.memory.latest_sequence(key).await
    }
}

/// Looks again and again how many aggregates are resident, and keeps the most it saw.
fn watch_residents(store: EventStore, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        let mut most = 0;
        while !stop.load(Ordering::Relaxed) {
            most = most.max(store.resident());
            std::hint::spin_loop();
        }
        most
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_given_twice_while_aggregates_come_and_go() {
    const MAX_RESIDENT: usize = 8;
    const WRITERS: usize = 48;
    const APPENDS: usize = 60;
    const OWN_KEYS: usize = 5;
    const SHARED_KEYS: usize = 12;
    let mut chance = chance();
    let driver = Arc::new(Slow { memory: MemoryDriver::new(), asked: AtomicUsize::new(0) });
    let store = EventStore::builder()
        .driver(driver.clone())
        .max_resident(MAX_RESIDENT)
        .idle_timeout(Duration::from_millis(5))
        .open()
        .await
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = watch_residents(store.clone(), stop.clone());

    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, mut chance) = (store.clone(), chance.fork());
            tokio::spawn(async move {
                let mut own = [0; OWN_KEYS];
                let mut shared = Vec::new();
                for _ in 0..APPENDS {
                    if chance.bool() {
                        let key = format!("shared/{}", chance.usize(..SHARED_KEYS));
                        let appended = store.append(append(&key)).await.unwrap();
                        shared.push((key, appended.last, appended.commit_id));
                    } else {
                        // Its only writer: whatever was passivated meanwhile, its expectation is
                        // right.
                        let index = chance.usize(..OWN_KEYS);
                        let key = format!("own/{writer}/{index}");
                        let appended = store.append(append_after(&key, own[index])).await.unwrap();
                        own[index] += 1;
                        assert_eq!(appended.last, own[index]);
                    }
                }
                (own, shared)
            })
        })
        .collect();

    let mut places = HashSet::new();
    let mut answered = 0;
    for (writer, written) in writers.into_iter().enumerate() {
        let (own, shared) = within("a writer", written).await.unwrap();
        for (index, appended) in own.into_iter().enumerate() {
            let stored = history(&store, &format!("own/{writer}/{index}")).await;
            assert_eq!(stored.len() as u64, appended);
        }
        for (key, sequence, commit_id) in shared {
            answered += 1;
            let stored = store.read(key.as_str()).from(sequence).next().await.unwrap().unwrap();
            assert_eq!((stored.sequence, stored.commit_id), (sequence, commit_id));
            assert!(places.insert((key, sequence)), "a sequence was given twice");
        }
    }
    let mut stored = 0;
    for index in 0..SHARED_KEYS {
        stored += history(&store, &format!("shared/{index}")).await.len();
    }
    assert_eq!(stored, answered);

    until("nobody writes, nobody is resident", || store.resident() == 0).await;
    stop.store(true, Ordering::Relaxed);
    let most = watcher.join().unwrap();
    assert!((1..=MAX_RESIDENT).contains(&most), "{most} were resident, {MAX_RESIDENT} may be");
    let came_back = driver.asked.load(Ordering::Relaxed);
    assert!(came_back > WRITERS, "only {came_back} aggregates came back: too little load");
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_aggregate_with_an_append_under_way_stays_while_idle_ones_go() {
    let driver = held_driver();
    let store = EventStore::builder()
        .driver(driver.clone())
        .idle_timeout(Duration::from_millis(20))
        .put_attempt_timeout(Duration::from_secs(600))
        .put_deadline(Duration::from_secs(600))
        .open()
        .await
        .unwrap();
    driver.let_through(1);
    within("the first append", store.append(append("busy"))).await.unwrap();
    let under_way = start(store.append(append("busy")));
    until("its put is on its way", || driver.put_sizes().len() == 2).await;

    for _ in 0..3 {
        let ahead = within("an answer", store.append(append_after("idle", 99))).await;
        assert!(ahead.unwrap_err().is_conflict());
        until("the idle one is passivated", || store.resident() == 1).await;
    }
    // A resident aggregate knows without asking that this is stale; others ask.
    let stale = poll_once(&mut Box::pin(store.append(append_after("busy", 0))));
    assert!(stale.expect("it was passivated").unwrap_err().is_conflict());

    driver.release_puts();
    assert_eq!(within("the answer", under_way).await.unwrap().last, 2);
    until("nobody is resident", || store.resident() == 0).await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn who_waits_for_a_seat_gets_it_and_who_gives_up_does_not_keep_it() {
    let driver = held_driver();
    let store = EventStore::builder().driver(driver.clone()).max_resident(1).open().await.unwrap();
    let seated = start(store.append(append("a")));
    assert_busy(poll_once(&mut Box::pin(store.try_append(append("b")))), "b");
    let waiting: Vec<_> = (0..50).map(|n| start(store.append(append(&format!("w/{n}"))))).collect();
    let (gave_up, waiting): (Vec<_>, Vec<_>) =
        waiting.into_iter().enumerate().partition(|(n, _)| n % 2 == 0);
    drop(gave_up);
    assert_eq!(store.resident(), 1);

    driver.release_puts();
    within("the first", seated).await.unwrap();
    for (_, waiting) in waiting {
        assert_eq!(within("one that waited", waiting).await.unwrap().last, 1);
        assert!(store.resident() <= 1);
    }
    within("a seat for the next", store.append(append("b"))).await.unwrap();
    assert_eq!(driver.put_sizes().len(), 27, "somebody who gave up was put");
    store.close().await.unwrap();
}
