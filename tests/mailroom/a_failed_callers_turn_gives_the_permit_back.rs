//! A turn that puts nothing gives the put permit back: the aggregate is served on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use crate::support::{append, append_after, start, within};
use seriatim::{AppendError, EventStore};

#[tokio::test(flavor = "multi_thread")]
async fn when_the_clock_panics() {
    let is_armed = Arc::new(AtomicBool::new(false));
    let armed = is_armed.clone();
    let clock = move || {
        assert!(!armed.swap(false, Ordering::SeqCst), "a clock that panics on demand");
        SystemTime::now()
    };
    let store = EventStore::builder().url("memory:").clock(clock).open().await.unwrap();
    for key in ["new", "new", "another"] {
        is_armed.store(true, Ordering::SeqCst);
        let failed = within("the put without a time", store.append(append(key))).await;
        assert!(matches!(failed, Err(AppendError::ActorFailed { .. })), "{failed:?}");
        within("the next one", store.append(append(key))).await.unwrap();
    }
    assert_eq!(store.latest_sequence("new").await.unwrap(), 2);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_append_is_refused() {
    let store = EventStore::builder().url("memory:").open().await.unwrap();
    within("the first", store.append(append("a"))).await.unwrap();
    // Each finds the aggregate idle, or waits for the one before it.
    for last in 2..50 {
        let too_high = start(store.append(append_after("a", 1_000)));
        let refused = start(store.append(append_after("a", last - 2)));
        let served = start(store.append(append("a")));
        assert!(within("one too high", too_high).await.unwrap_err().is_conflict());
        assert!(within("one too low", refused).await.unwrap_err().is_conflict());
        assert_eq!(within("one that fits", served).await.unwrap().last, last);
    }
    store.close().await.unwrap();
}
