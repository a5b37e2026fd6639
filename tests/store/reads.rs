//! Reading streams the events of one aggregate: from a sequence, backwards, no more than wanted,
//! page by page over long histories; on memory, on redb, and on a driver of callbacks, whose pages
//! cross a channel. A read beside appends never sees a hole, and one that is cut off says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{append, event, history, until, within};
use futures::StreamExt;
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{
    Driver, DriverError, EventPages, Fetch, KeyPages, Options, Put, PutReceipt, async_trait,
    from_callbacks,
};
use seriatim::{AggregateKey, Append, EventStore, Expected, ReadError, Sequence};
use tempfile::TempDir;

const LONG: u64 = 10_000;

/// Four closures over memory: no page is to be had at once, so every read goes through the channel.
fn callbacks() -> Arc<dyn Driver> {
    let memory = Arc::new(MemoryDriver::new());
    let (checked, fetched, put_into, closed) =
        (memory.clone(), memory.clone(), memory.clone(), memory);
    from_callbacks(Options {
        check_sequence: move |key, sequence| {
            let memory = checked.clone();
            async move { memory.check_sequence(&key, sequence).await }
        },
        fetch_events: move |key, fetch| {
            let mut pages = fetched.fetch_events(&key, fetch);
            async move { pages.next().await.unwrap_or(Ok(Vec::new())) }
        },
        put_events: move |put| {
            let memory = put_into.clone();
            async move { memory.put_events(put).await }
        },
        close: move || {
            let memory = closed.clone();
            async move { memory.close().await }
        },
    })
}

/// A store on each driver, with a name to tell them apart, and what must outlive them.
async fn stores() -> (Vec<(&'static str, EventStore)>, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let redb = format!("redb:{}", directory.path().display());
    let stores = vec![
        ("memory", EventStore::open("memory:").await.unwrap()),
        ("redb", EventStore::open(redb).await.unwrap()),
        ("callbacks", EventStore::builder().driver(callbacks()).open().await.unwrap()),
    ];
    (stores, directory)
}

async fn append_many(store: &EventStore, key: &str, events: u64) {
    for first in (0..events).step_by(1_000) {
        let last = events.min(first + 1_000);
        store.append(Append::to(key).events((first + 1..=last).map(event))).await.unwrap();
    }
}

async fn sequences(read: seriatim::Read) -> Vec<u64> {
    let events = within("a read", read.collect()).await.unwrap();
    events.iter().map(|event| event.sequence.get()).collect()
}

#[tokio::test]
async fn from_a_sequence_backwards_and_limited() {
    let (stores, _directory) = stores().await;
    for (name, store) in stores {
        append_many(&store, "a", 5).await;
        append_many(&store, "b", 3).await;
        let all = || store.read("a");
        let cases: [(seriatim::Read, &[u64]); 20] = [
            (all(), &[1, 2, 3, 4, 5]),
            (all().from(0), &[1, 2, 3, 4, 5]),
            (all().from(1), &[1, 2, 3, 4, 5]),
            (all().from(4), &[4, 5]),
            (all().from(5), &[5]),
            (all().from(6), &[]),
            (all().from(u64::MAX), &[]),
            (all().limit(2), &[1, 2]),
            (all().limit(0), &[]),
            (all().limit(usize::MAX), &[1, 2, 3, 4, 5]),
            (all().from(2).limit(3), &[2, 3, 4]),
            (all().backwards(), &[5, 4, 3, 2, 1]),
            (all().backwards().from(3), &[3, 2, 1]),
            (all().backwards().from(1), &[1]),
            (all().backwards().from(0), &[]),
            (all().backwards().from(99), &[5, 4, 3, 2, 1]),
            (all().backwards().limit(1), &[5]),
            (all().from(4).limit(2).backwards(), &[4, 3]),
            (store.read("none"), &[]),
            (store.read("none").backwards().from(3).limit(9), &[]),
        ];
        for (index, (read, expected)) in cases.into_iter().enumerate() {
            assert_eq!(sequences(read).await, expected, "{name}: case {index}");
        }
        assert_eq!(store.latest_sequence("a").await.unwrap(), 5);
        assert_eq!(store.latest_sequence("none").await.unwrap(), Sequence::NONE);
        assert!(store.exists("a").await.unwrap() && !store.exists("none").await.unwrap());
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn ten_thousand_events_across_pages() {
    let (stores, _directory) = stores().await;
    for (name, store) in stores {
        append_many(&store, "a", LONG).await;
        append_many(&store, "a/b", 7).await;
        let forwards: Vec<u64> = (1..=LONG).collect();
        let backwards: Vec<u64> = (1..=LONG).rev().collect();
        assert_eq!(sequences(store.read("a")).await, forwards, "{name}");
        assert_eq!(sequences(store.read("a").backwards()).await, backwards, "{name}");
        let middle = store.read("a").from(4_321).limit(3_333);
        assert_eq!(sequences(middle).await, (4_321..4_321 + 3_333).collect::<Vec<_>>(), "{name}");
        let to_the_first = store.read("a").backwards().from(2_500).limit(2_499);
        assert_eq!(sequences(to_the_first).await, (2..=2_500).rev().collect::<Vec<_>>(), "{name}");
        for event in history(&store, "a").await {
            let number = format!(r#"{{"number":{}}}"#, event.sequence);
            assert_eq!((event.key.as_str(), event.data.as_str()), ("a", &*number), "{name}");
        }
        assert_eq!(store.latest_sequence("a").await.unwrap(), LONG, "{name}");

        // As a stream among others, and one event at a time with the rest collected.
        let mut read = store.read("a");
        assert_eq!(read.next().await.unwrap().unwrap().sequence, 1);
        assert_eq!(StreamExt::next(&mut read).await.unwrap().unwrap().sequence, 2);
        assert_eq!(sequences(read).await, (3..=LONG).collect::<Vec<_>>(), "{name}");
        let mut ended = store.read("a").limit(1);
        assert!(ended.next().await.is_some());
        assert!(ended.next().await.is_none() && ended.next().await.is_none());
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_beside_appends_sees_no_hole() {
    let (stores, _directory) = stores().await;
    for (name, store) in stores {
        append_many(&store, "a", 2_000).await;
        let done = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn({
            let (store, done) = (store.clone(), done.clone());
            async move {
                let mut latest = 2_000;
                while latest < 6_000 && !done.load(Ordering::Relaxed) {
                    let append = Append::to("a").expect(Expected::from(latest));
                    let events = (latest + 1..=latest + 10).map(event);
                    latest = store.append(append.events(events)).await.unwrap().last.get();
                }
                done.store(true, Ordering::Relaxed);
            }
        });
        let mut seen = 2_000;
        while !done.load(Ordering::Relaxed) {
            let before = store.latest_sequence("a").await.unwrap().get();
            let forwards = sequences(store.read("a")).await;
            let backwards = sequences(store.read("a").backwards()).await;
            assert!(forwards.iter().copied().eq(1..=forwards.len() as u64), "{name}: a hole");
            let latest = backwards.len() as u64;
            assert!(backwards.iter().copied().eq((1..=latest).rev()), "{name}: a hole");
            let read = forwards.len() as u64;
            assert!(before >= seen && read >= before, "{name}: what was there is gone");
            assert!(latest >= read && latest.is_multiple_of(10), "{name}: a part of an append");
            seen = latest;
        }
        within("the writer", writer).await.unwrap();
        store.close().await.unwrap();
    }
}

/// Pages without end, one event each, from a driver that can be told to fail.
#[derive(Default)]
struct Endless {
    pages: Arc<AtomicUsize>,
    streams: Arc<()>,
    fails: Option<Fails>,
}

#[derive(Clone, Copy)]
enum Fails {
    Panics,
    Hangs,
    Errors,
}

const GOOD_PAGES: u64 = 10;

impl Endless {
    fn failing(fails: Fails) -> Arc<Self> {
        Arc::new(Endless { fails: Some(fails), ..Endless::default() })
    }

    fn pages<T: Send + 'static>(
        &self,
        page: impl Fn(u64) -> T + Send + 'static,
    ) -> std::pin::Pin<Box<dyn futures::Stream<Item = Result<Vec<T>, DriverError>> + Send>> {
        let (pages, alive, fails) = (self.pages.clone(), self.streams.clone(), self.fails);
        Box::pin(futures::stream::iter(1..).then(move |number| {
            pages.fetch_add(1, Ordering::SeqCst);
            let (_alive, page) = (alive.clone(), page(number));
            async move {
                match fails.filter(|_| number > GOOD_PAGES) {
                    None => Ok(vec![page]),
                    Some(Fails::Panics) => panic!("a driver's mistake"),
                    Some(Fails::Errors) => Err(DriverError::unavailable("the disk is on fire")),
                    Some(Fails::Hangs) => futures::future::pending().await,
                }
            }
        }))
    }
}

#[async_trait]
impl Driver for Endless {
    async fn check_sequence(&self, _: &AggregateKey, _: Sequence) -> Result<bool, DriverError> {
        panic!("a driver's mistake");
    }

    fn fetch_events(&self, key: &AggregateKey, _: Fetch) -> EventPages {
        let template = stored_event(key);
        self.pages(move |number| {
            let mut event = template.clone();
            event.sequence = Sequence::new(number);
            event
        })
    }

    async fn put_events(&self, _: Arc<Put>) -> Result<PutReceipt, DriverError> {
        Ok(PutReceipt::default())
    }

    async fn close(&self) -> Result<(), DriverError> {
        Ok(())
    }

    fn keys(&self, _: &str, _: Option<&AggregateKey>) -> KeyPages {
        self.pages(|number| AggregateKey::new(&format!("{number:010}")).unwrap())
    }
}

fn stored_event(key: &AggregateKey) -> seriatim::KeyedEvent {
    let json = format!(
        r#"{{"key":{:?},"sequence":1,"type":"E","data":1,
            "commit_id":"00000000-0000-0000-0000-000000000001",
            "recorded_at":"1970-01-01T00:00:00Z"}}"#,
        key.as_str()
    );
    serde_json::from_str(&json).unwrap()
}

#[tokio::test]
async fn a_dropped_stream_ends_its_reading() {
    let driver = Arc::new(Endless::default());
    let store = EventStore::builder().driver(driver.clone()).open().await.unwrap();
    let mut read = store.read("a");
    let mut keys = store.keys("");
    for number in 1..=100 {
        let event = within("an event", read.next()).await.unwrap().unwrap();
        assert_eq!(event.sequence, number);
        within("a key", keys.next()).await.unwrap().unwrap();
    }
    // No more is read than a few pages ahead of the reader.
    let pages = driver.pages.load(Ordering::SeqCst);
    assert!(pages <= 2 * (100 + 4), "{pages} pages for two times 100");
    assert!(Arc::strong_count(&driver.streams) > 1);
    drop((read, keys));
    until("both have ended", || Arc::strong_count(&driver.streams) == 1).await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_read_that_fails_half_way_ends_with_its_error() {
    let deadline = Duration::from_millis(50);
    for fails in [Fails::Panics, Fails::Hangs, Fails::Errors] {
        let store = EventStore::builder()
            .driver(Endless::failing(fails))
            .read_deadline(deadline)
            .open()
            .await
            .unwrap();
        let (mut read, mut keys) = (store.read("a"), store.keys(""));
        for _ in 0..GOOD_PAGES {
            within("an event", read.next()).await.unwrap().unwrap();
            within("a key", keys.next()).await.unwrap().unwrap();
        }
        let errors = [
            within("the end", read.next()).await.unwrap().unwrap_err(),
            within("the end", keys.next()).await.unwrap().unwrap_err(),
            within("the end", store.read("a").collect()).await.unwrap_err(),
        ];
        for error in errors {
            match (fails, &error) {
                (Fails::Panics, ReadError::Driver(DriverError::Failed { message, .. })) => {
                    assert!(message.contains("panicked"), "{message}");
                }
                (Fails::Hangs, ReadError::Timeout { deadline: named }) => {
                    assert_eq!(*named, deadline);
                }
                (Fails::Errors, ReadError::Driver(DriverError::Unavailable { .. })) => {
                    assert!(error.is_retryable());
                }
                (_, other) => panic!("{other:?}"),
            }
        }
        assert!(read.next().await.is_none() && keys.next().await.is_none());
        let latest = within("an answer", store.latest_sequence("a")).await.unwrap_err();
        assert!(matches!(latest, ReadError::Driver(DriverError::Failed { .. })), "{latest:?}");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_store_that_closes_cuts_reads_off_with_an_error() {
    let (mut stores, _directory) = stores().await;
    for (_, store) in &stores {
        append_many(store, "a", LONG).await;
    }
    let endless = Arc::new(Endless::default());
    stores.push(("endless", EventStore::builder().driver(endless).open().await.unwrap()));
    for (name, store) in stores {
        let mut read = store.read("a");
        assert!(within("an event", read.next()).await.unwrap().is_ok());
        within("closing", store.close()).await.unwrap();
        let error = within("the end", read.collect()).await.unwrap_err();
        assert!(matches!(error, ReadError::Closed), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn keys_by_prefix() {
    let (stores, _directory) = stores().await;
    for (name, store) in stores {
        for key in ["b/2", "a", "b/1", "b", "b0", "ü/1"] {
            store.append(append(key)).await.unwrap();
        }
        let listed = |prefix: &'static str| {
            let keys = store.keys(prefix).collect();
            async {
                keys.await.map(|keys| keys.iter().map(ToString::to_string).collect::<Vec<_>>())
            }
        };
        if name == "callbacks" {
            let error = listed("").await.unwrap_err();
            assert!(matches!(error, ReadError::Driver(DriverError::Unsupported { .. })));
            continue;
        }
        assert_eq!(listed("").await.unwrap(), ["a", "b", "b/1", "b/2", "b0", "ü/1"], "{name}");
        assert_eq!(listed("b").await.unwrap(), ["b", "b/1", "b/2", "b0"], "{name}");
        assert_eq!(listed("b/").await.unwrap(), ["b/1", "b/2"], "{name}");
        assert_eq!(listed("c").await.unwrap(), [""; 0], "{name}");
        for (after, rest) in [("b", vec!["b/1", "b/2", "b0"]), ("b/10", vec!["b/2", "b0"])] {
            let after = AggregateKey::new(after).unwrap();
            let keys = store.keys("b").after(&after).collect().await.unwrap();
            assert_eq!(keys.iter().map(AggregateKey::as_str).collect::<Vec<_>>(), rest, "{name}");
        }
        store.close().await.unwrap();
    }
}
