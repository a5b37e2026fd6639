//! After a conflict with another store, what that one wrote is read, once, and nothing before it. A
//! refusal reads no more than it needs.

use std::sync::Arc;

use seriatim::driver::Driver;
use seriatim::driver::faults::{Counts, FaultyDriver};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, EventStore, NewEvent};
use uuid::Uuid;

const BEFORE: u64 = 50;

fn append() -> Append {
    Append::to("shared").event(NewEvent::raw("Counted", "1")).commit_id(Uuid::new_v4())
}

async fn store_over(driver: Arc<dyn Driver>) -> EventStore {
    EventStore::builder().driver(driver).open().await.unwrap()
}

#[tokio::test]
async fn commit_ids_known_before_a_conflict_are_not_read_again() {
    let memory = MemoryDriver::new();
    let driver = FaultyDriver::around(memory.reopen());
    let here = store_over(driver.clone()).await;
    let there = store_over(Arc::new(memory)).await;
    for _ in 0..BEFORE {
        here.append(append()).await.unwrap();
    }
    let of_there = append();
    there.append(of_there.clone()).await.unwrap();
    there.append(append()).await.unwrap();

    driver.take_counts();
    assert_eq!(here.append(append()).await.unwrap().last, BEFORE + 3);
    let Counts { put_events, fetch_events, events_fetched, .. } = driver.take_counts();
    assert_eq!((put_events, fetch_events, events_fetched), (2, 1, 2));

    // The appends read on the way are known by their commit ids from now on.
    let again = here.append(of_there).await.unwrap();
    assert!(again.repeated);
    assert_eq!(again.first, BEFORE + 1);
}

#[tokio::test]
async fn a_stale_append_to_a_long_history_reads_a_bounded_part() {
    let memory = MemoryDriver::new();
    let there = store_over(Arc::new(memory.reopen())).await;
    for _ in 0..20 {
        let events = (0..500).map(|_| NewEvent::raw("Counted", "1"));
        there.append(Append::to("shared").events(events)).await.unwrap();
    }
    let driver = FaultyDriver::around(memory.reopen());
    let here = store_over(driver.clone()).await;
    let stale = |commit_id: Option<Uuid>| {
        let append = Append::to("shared").event(NewEvent::raw("Counted", "1"));
        let append = append.expect(seriatim::Expected::from(10));
        commit_id.map_or(append.clone(), |id| append.commit_id(id))
    };
    for commit_id in [None, Some(Uuid::new_v4())] {
        driver.take_counts();
        let refused = here.append(stale(commit_id)).await.unwrap_err();
        assert!(refused.is_conflict(), "{refused}");
        let counts = driver.take_counts();
        assert!(counts.fetch_events <= 2 && counts.events_fetched <= 200, "{counts:?}");
    }
    assert_eq!(here.append(append()).await.unwrap().last, 10_001);
}
