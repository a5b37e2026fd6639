//! Two stores on one engine, racing on the same aggregates, lose nothing and write nothing twice.

use std::collections::HashSet;

use crate::support::engines::{Engine, block_on};
use futures::future::join_all;
use libtest_mimic::Failed;
use seriatim::{Append, EventStore, Expected, NewEvent};
use uuid::Uuid;

const WRITERS: usize = 8;
const APPENDS: usize = 25;
const KEYS: [&str; 3] = ["race/a", "race/b", "race/c"];

/// Appends of one event or three, by turns, each until it is written; what was answered.
async fn write(store: EventStore, writer: usize) -> Vec<(&'static str, u64, Uuid)> {
    let mut answered = Vec::new();
    for turn in 0..APPENDS {
        let key = KEYS[(writer + turn) % KEYS.len()];
        let commit_id = Uuid::new_v4();
        let count = if turn % 2 == 0 { 1 } else { 3 };
        let mut expected = Expected::NoEvents;
        loop {
            let events = (0..count).map(|_| NewEvent::raw("Raced", "{}"));
            let append = Append::to(key).expect(expected).events(events).commit_id(commit_id);
            match store.append(append).await {
                Ok(appended) => {
                    assert_eq!(appended.last.get() - appended.first.get() + 1, count);
                    answered.push((key, appended.first.get(), commit_id));
                    break;
                }
                Err(error) => {
                    assert!(error.is_conflict(), "{error}");
                    expected = store.latest_sequence(key).await.unwrap().into();
                }
            }
        }
    }
    answered
}

pub fn two_stores_race(engine: Engine) -> Result<(), Failed> {
    block_on(async {
        let url = engine.fresh_url();
        let stores = [EventStore::open(&url).await.unwrap(), EventStore::open(&url).await.unwrap()];
        let writers = stores.iter().flat_map(|store| (0..WRITERS).map(|n| write(store.clone(), n)));
        let answered = join_all(writers).await.concat();
        assert_eq!(answered.len(), 2 * WRITERS * APPENDS);

        let mut commits = HashSet::new();
        for key in KEYS {
            let found = stores[0].read(key).collect().await.unwrap();
            for (index, event) in found.iter().enumerate() {
                assert_eq!(event.sequence.get(), index as u64 + 1, "{key} has a gap");
            }
            for append in found.chunk_by(|a, b| a.commit_id == b.commit_id) {
                let first = append[0].sequence.get();
                assert!(commits.insert((key, first, append[0].commit_id)), "a commit stands twice");
            }
        }
        assert_eq!(commits, answered.into_iter().collect(), "what is there, and what was answered");
        for store in stores {
            store.close().await.unwrap();
        }
    });
    Ok(())
}
