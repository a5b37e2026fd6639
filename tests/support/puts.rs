//! Puts by hand, for tests that talk to a driver without a store.

use std::sync::Arc;

use seriatim::driver::redb::{RedbBuilder, RedbDriver};
use seriatim::driver::{Driver, DriverError, Fetch, Put};
use seriatim::{AggregateKey, KeyedEvent, Position, Sequence};
use uuid::Uuid;

pub fn key(text: &str) -> AggregateKey {
    text.parse().unwrap()
}

/// An event whose data says what it is.
pub fn event(key: &AggregateKey, sequence: u64, commit_id: Uuid, filler: usize) -> KeyedEvent {
    let json = serde_json::json!({
        "key": key.as_str(),
        "sequence": sequence,
        "type": "Happened",
        "data": {"n": sequence, "filler": "x".repeat(filler)},
        "commit_id": commit_id,
        "recorded_at": "2026-01-02T03:04:05.000000Z",
    });
    serde_json::from_str(&json.to_string()).unwrap()
}

/// A put of `count` events of one aggregate from `first` on.
pub fn put(key: &AggregateKey, first: u64, count: u64, filler: usize) -> Arc<Put> {
    let commit_id = Uuid::new_v4();
    let events = (first..first + count).map(|n| event(key, n, commit_id, filler)).collect();
    Arc::new(Put::new(events).unwrap())
}

/// A driver with journal files so small that they are switched all the time.
pub fn small() -> RedbBuilder {
    RedbDriver::builder()
        .journal_file_bytes(RedbBuilder::MIN_JOURNAL_FILE_BYTES)
        .tail_bytes(16 << 10)
        .cache_bytes(1 << 20)
        .apply_after(std::time::Duration::from_millis(2))
}

/// A driver that leaves everything in the journal.
pub fn unapplied() -> RedbBuilder {
    small().tail_bytes(1 << 30).apply_after(std::time::Duration::from_secs(3_600))
}

/// All of an aggregate's events, in order.
pub fn all(driver: &dyn Driver, key: &AggregateKey) -> Result<Vec<KeyedEvent>, DriverError> {
    let mut events: Vec<KeyedEvent> = Vec::new();
    let mut fetch = Fetch::ALL;
    loop {
        let page = driver.fetch_page_now(key, fetch).unwrap()?;
        events.extend(page.events);
        match events.last() {
            Some(last) if page.more => fetch = Fetch::ALL.after(last.sequence),
            _ => return Ok(events),
        }
    }
}

/// The whole log, in order.
pub fn log(driver: &RedbDriver) -> Result<Vec<KeyedEvent>, DriverError> {
    let mut events: Vec<KeyedEvent> = Vec::new();
    loop {
        let next = events.len() as u64 + 1;
        let page = driver.log_page(Position::new(next), 100)?;
        if page.is_empty() {
            return Ok(events);
        }
        events.extend(page);
    }
}

/// Checks that the events are the sequences 1, 2, 3 …
pub fn assert_dense(events: &[KeyedEvent]) {
    for (event, expected) in events.iter().zip(1..) {
        assert_eq!(event.sequence, Sequence::new(expected), "{}", event.key);
    }
}
