//! Where there is a log, recorded-at never decreases along positions, whatever the clock does: an
//! event is recorded when the clock says, or else when the one before it was. That holds across
//! aggregates and across openings.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use crate::support::{self, append, chance, event, history};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, Builder, EventStore, KeyedEvent, Timestamp};

/// A clock that stands still until it is set, to some microseconds after the Unix epoch.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicI64>);

impl Clock {
    fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::SeqCst);
    }

    fn now(&self) -> SystemTime {
        let micros = self.0.load(Ordering::SeqCst);
        SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap())
    }

    async fn open(&self, builder: Builder) -> EventStore {
        let clock = self.clone();
        builder.clock(move || clock.now()).open().await.unwrap()
    }
}

async fn log(store: &EventStore) -> Vec<KeyedEvent> {
    let mut log = Vec::new();
    for key in store.keys("").collect().await.unwrap() {
        log.extend(history(store, key.as_str()).await);
    }
    log.sort_by_key(|event| event.position);
    assert!(log.iter().map(|event| event.position.unwrap().get()).eq(1..=log.len() as u64));
    log
}

/// Appends to several aggregates under a clock that jumps to and fro, over several openings. Each
/// opening begins with a clock that is far behind.
async fn jumps_to_and_fro(open: impl Fn() -> Builder) {
    let mut chance = chance();
    let clock = Clock::default();
    let mut expected = Vec::new();
    let (mut latest, mut went_back) = (0, 0);
    for _opening in 0..3 {
        let store = clock.open(open()).await;
        for append in 0..60 {
            let time = if append == 0 { 1 } else { chance.i64(1..1_000_000_000) };
            went_back += usize::from(time < latest);
            latest = latest.max(time);
            clock.set(time);
            let key = format!("a/{}", chance.u8(..5));
            let events = chance.u64(1..=3);
            let appended = store.append(Append::to(key).events((0..events).map(event))).await;
            assert_eq!(appended.unwrap().position.unwrap(), expected.len() as u64 + 1);
            expected.extend((0..events).map(|_| Timestamp::from_micros(latest)));
        }
        let recorded: Vec<_> = log(&store).await.iter().map(|event| event.recorded_at).collect();
        assert!(recorded.is_sorted(), "recorded-at decreases along positions");
        assert_eq!(recorded, expected, "neither the clock's time nor that of the event before");
        store.close().await.unwrap();
    }
    assert!(went_back > 50, "the clock went back only {went_back} times");
}

#[tokio::test]
async fn on_memory() {
    let memory = MemoryDriver::new();
    jumps_to_and_fro(|| EventStore::builder().driver(Arc::new(memory.reopen()))).await;
}

#[tokio::test]
async fn on_redb() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("redb:{}", directory.path().display());
    jumps_to_and_fro(|| EventStore::builder().url(&url)).await;
}

/// Writers at once, each put at a time of its own: their order in the log is the driver's, not the
/// clock's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_many_writers() {
    let directory = tempfile::tempdir().unwrap();
    for url in ["memory:".to_owned(), format!("redb:{}", directory.path().display())] {
        let ticks = Arc::new(AtomicI64::new(1 << 40));
        let store = EventStore::builder()
            .url(url)
            .clock(move || {
                let micros = ticks.fetch_sub(1_000, Ordering::SeqCst) + fastrand::i64(0..5_000);
                SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap())
            })
            .open()
            .await
            .unwrap();
        let writers: Vec<_> = (0..16)
            .map(|writer| {
                let store = store.clone();
                tokio::spawn(async move {
                    for _ in 0..40 {
                        store.append(append(&format!("a/{}", writer % 5))).await.unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            support::within("a writer", writer).await.unwrap();
        }
        let log = log(&store).await;
        assert_eq!(log.len(), 16 * 40);
        assert!(log.is_sorted_by_key(|event| event.recorded_at), "recorded-at decreases");
        store.close().await.unwrap();
    }
}
