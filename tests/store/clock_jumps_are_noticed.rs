//! A clock that jumps for a moment does not stamp events far ahead: where a log keeps recorded-at
//! from decreasing, every later event would be stamped there too. A clock that stands by its jump
//! is believed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use crate::support::within;
use seriatim::{Append, EventStore, NewEvent, Timestamp};

const YEAR: i64 = 365 * 24 * 60 * 60;
const AN_HOUR: i64 = 3_600_000_000;

/// A store whose clock is as far from the system's as the counter says, in seconds.
async fn store(bound: Duration) -> (EventStore, Arc<AtomicI64>) {
    let offset = Arc::new(AtomicI64::new(0));
    let ahead = offset.clone();
    let clock = move || {
        let seconds = ahead.load(Ordering::SeqCst);
        let by = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { SystemTime::now() - by } else { SystemTime::now() + by }
    };
    let builder = EventStore::builder().url("memory:").clock(clock).max_clock_jump(bound);
    (builder.open().await.unwrap(), offset)
}

/// The time that an event of this moment is stamped with, behind the system's, in microseconds.
async fn stamped_ahead(store: &EventStore) -> i64 {
    let appended = store.append(Append::to("a").event(NewEvent::raw("E", "1"))).await.unwrap();
    let event = store.read("a").from(appended.last).collect().await.unwrap().remove(0);
    event.recorded_at.as_micros() - Timestamp::now().as_micros()
}

#[tokio::test]
async fn one_event_under_a_clock_far_off_is_stamped_as_its_neighbours() {
    for years in [20, -20] {
        let (store, offset) = store(Duration::from_secs(3600)).await;
        assert!(stamped_ahead(&store).await.abs() < AN_HOUR);
        offset.store(years * YEAR, Ordering::SeqCst);
        assert!(stamped_ahead(&store).await.abs() < AN_HOUR, "{years} years off");
        offset.store(0, Ordering::SeqCst);
        assert!(stamped_ahead(&store).await.abs() < AN_HOUR);
    }
}

#[tokio::test]
async fn a_clock_that_stands_by_its_jump_is_believed() {
    let (store, offset) = store(Duration::from_millis(50)).await;
    stamped_ahead(&store).await;
    offset.store(YEAR, Ordering::SeqCst);
    assert!(stamped_ahead(&store).await < AN_HOUR);
    let believed = async { while stamped_ahead(&store).await < AN_HOUR {} };
    within("the clock to be believed", believed).await;
}
