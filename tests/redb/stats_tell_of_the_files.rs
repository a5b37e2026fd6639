//! redb's figures: events, keys, the journal with its tail and its flushes, and the segment cache.

use seriatim::driver::redb::RedbDriver;
use seriatim::{Append, EventStore, NewEvent};

use std::sync::Arc;
use std::time::Duration;

use crate::support::{append, history, until, within};

#[tokio::test(flavor = "multi_thread")]
async fn of_the_journal_and_of_what_is_applied() {
    let directory = tempfile::tempdir().unwrap();
    let driver = RedbDriver::builder().apply_after(Duration::from_millis(200));
    let driver = Arc::new(driver.open(directory.path()).unwrap());
    let store = EventStore::builder().driver(driver).open().await.unwrap();
    for key in ["a", "b", "a"] {
        store.append(append(key)).await.unwrap();
    }
    let stats = store.stats();
    let journal = stats.driver.journal.unwrap();
    assert_eq!(stats.driver.events, Some(3));
    assert_eq!((journal.flush_time.count(), journal.puts_per_flush.sum()), (3, 3));
    assert!(journal.flush_time.sum() <= stats.put_time.sum(), "a put takes its flush at least");
    assert!(journal.files >= 1 && journal.bytes >= 512 << 10, "{journal:?}");
    let on_disk = std::fs::metadata(directory.path().join("events.redb")).unwrap().len();
    assert!(stats.driver.disk_bytes.unwrap() >= on_disk + journal.bytes);

    until("all is applied", || store.stats().driver.journal.unwrap().apply_lag_events == 0).await;
    until("the tail is empty", || store.stats().driver.journal.unwrap().tail_bytes == 0).await;
    let stats = store.stats();
    let journal = stats.driver.journal.unwrap();
    assert_eq!((stats.driver.keys, journal.apply_lag), (Some(2), Duration::ZERO));
    assert!(journal.reserve_bytes > 0);
    within("closing", store.close()).await.unwrap();
    let closed = store.stats().driver;
    assert_eq!((closed.keys, closed.disk_bytes), (None, None), "the files may be another's");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_is_not_yet_applied() {
    let directory = tempfile::tempdir().unwrap();
    let driver = RedbDriver::builder().apply_after(Duration::from_secs(3_600));
    let driver = Arc::new(driver.open(directory.path()).unwrap());
    let store = EventStore::builder().driver(driver).open().await.unwrap();
    store.append(append("a")).await.unwrap();
    let journal = store.stats().driver.journal.unwrap();
    assert_eq!(journal.apply_lag_events, 1);
    assert!(journal.tail_bytes > 0 && journal.apply_lag > Duration::ZERO, "{journal:?}");
    within("closing", store.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_cache() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("redb:{}", directory.path().display());
    let store = EventStore::open(&url).await.unwrap();
    let large = NewEvent::raw("E", format!("\"{}\"", "x".repeat(10_000)));
    for _ in 0..10 {
        store.append(Append::to("a").event(large.clone())).await.unwrap();
    }
    within("closing", store.close()).await.unwrap();

    let store = EventStore::open(&url).await.unwrap();
    let cache = || store.stats().driver.cache.unwrap();
    history(&store, "a").await;
    let first = cache();
    assert!(first.misses > 0 && first.hits == 0, "{first:?}");
    history(&store, "a").await;
    history(&store, "a").await;
    let third = cache();
    assert_eq!(third.misses, 2 * first.misses, "kept when missed for the second time");
    assert_eq!(third.hits, first.misses);
    assert!(third.bytes > 100_000);
}
