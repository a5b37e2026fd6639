//! Stores of the drivers that have a log, for tests that hold for each of them.

use std::path::Path;

use seriatim::{Append, EventStore, KeyedEvent, NewEvent, Position};

/// Runs the test on a fresh store of each driver with a log.
pub async fn on_each<F: Future<Output = ()>>(test: impl Fn(EventStore) -> F) {
    let directory = tempfile::tempdir().unwrap();
    for url in ["memory:".to_owned(), redb(directory.path())] {
        println!("{}", url.split(':').next().unwrap());
        let store = EventStore::open(&url).await.unwrap();
        test(store.clone()).await;
        store.close().await.unwrap();
    }
}

pub fn redb(directory: &Path) -> String {
    format!("redb:{}", directory.display())
}

/// Appends one event of this type, and answers where it stands.
pub async fn happen(store: &EventStore, key: &str, event_type: &str) -> Position {
    let event = NewEvent::raw(event_type, "{}");
    store.append(Append::to(key).event(event)).await.unwrap().position.unwrap()
}

pub fn positions(events: &[KeyedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.position.unwrap().get()).collect()
}
