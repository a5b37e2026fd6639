//! An append with a commit id of the caller's own can be repeated, from any process, and is written
//! once.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{event, start, until};
use seriatim::driver::faults::FaultyDriver;
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, AppendError, EventStore, Expected, NewEvent};
use uuid::Uuid;

async fn store_over(memory: &MemoryDriver) -> EventStore {
    let driver = Arc::new(memory.reopen());
    let idle = Duration::from_millis(40);
    EventStore::builder().driver(driver).idle_timeout(idle).open().await.unwrap()
}

fn two_events(expected: Expected, id: Uuid) -> Append {
    let events = [event(1), event(2).metadata(&serde_json::json!({"by": "test"}))];
    Append::to("a").expect(expected).events(events).commit_id(id)
}

async fn passivated(store: &EventStore) {
    until("every aggregate is passivated", || store.resident() == 0).await;
}

#[tokio::test]
async fn from_two_stores_before_and_after_passivation() {
    for expected in [Expected::Any, Expected::NoEvents, Expected::from(1)] {
        let memory = MemoryDriver::new();
        let (one, two) = (store_over(&memory).await, store_over(&memory).await);
        if expected == Expected::from(1) {
            one.append(Append::to("a").event(event(0))).await.unwrap();
        }
        let id = Uuid::new_v4();
        let first = one.append(two_events(expected, id)).await.unwrap();
        assert!(!first.repeated);
        assert_eq!(first.commit_id, id);
        for round in 0..3 {
            for store in [&one, &two] {
                let again = store.append(two_events(expected, id)).await.unwrap();
                assert!(again.repeated, "{expected:?}");
                assert_eq!((again.first, again.last), (first.first, first.last));
                assert_eq!((again.position, again.commit_id), (first.position, id));
            }
            match round {
                0 => drop(two.append(Append::to("a").event(event(9))).await.unwrap()),
                _ => {
                    passivated(&one).await;
                    passivated(&two).await;
                }
            }
        }
        let events = one.read("a").collect().await.unwrap();
        assert_eq!(events.iter().filter(|event| event.commit_id == id).count(), 2);
    }
}

#[tokio::test]
async fn with_other_content_it_is_refused() {
    let memory = MemoryDriver::new();
    let store = store_over(&memory).await;
    for expected in [Expected::Any, Expected::NoEvents] {
        let key = format!("a/{expected}");
        let id = Uuid::new_v4();
        let append =
            |events: Vec<NewEvent>| Append::to(&key).expect(expected).events(events).commit_id(id);
        store.append(append(vec![event(1), event(2)])).await.unwrap();
        for other in [
            vec![event(1), event(3)],
            vec![event(1)],
            vec![event(1), event(2), event(3)],
            vec![event(1), event(2).version(2)],
            vec![event(1), event(2).raw_metadata("{}")],
            vec![event(1), event(2).id(Uuid::new_v4())],
            vec![event(1), NewEvent::raw("Other", r#"{"number":2}"#)],
        ] {
            match store.append(append(other.clone())).await {
                Err(AppendError::CommitIdReused { commit_id, .. }) => assert_eq!(commit_id, id),
                answer => panic!("{other:?}: {answer:?}"),
            }
        }
        assert!(store.append(append(vec![event(1), event(2)])).await.unwrap().repeated);
        assert_eq!(store.latest_sequence(&key).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn on_two_aggregates_it_is_two_appends() {
    let memory = MemoryDriver::new();
    let store = store_over(&memory).await;
    let id = Uuid::new_v4();
    for key in ["a", "b"] {
        let append = Append::to(key).event(event(1)).commit_id(id);
        assert!(!store.append(append.clone()).await.unwrap().repeated);
        assert!(store.append(append).await.unwrap().repeated);
    }
}

#[tokio::test]
async fn while_it_waits_or_is_in_flight_it_shares_the_first_answer() {
    let faults = FaultyDriver::around(MemoryDriver::new());
    let store = EventStore::builder().driver(faults.clone()).arbiters(1).open().await.unwrap();
    let held = faults.next_put_is_held();
    let (id, other) = (Uuid::new_v4(), Uuid::new_v4());
    // The first goes into the held put, the others wait behind it.
    let first = start(store.append(two_events(Expected::NoEvents, id)));
    held.sent().await;
    let in_flight = start(store.append(two_events(Expected::NoEvents, id)));
    let reused = start(store.append(Append::to("a").event(event(5)).commit_id(id)));
    let waiting = Append::to("a").expect(2).event(event(3)).commit_id(other);
    let waiting = [start(store.append(waiting.clone())), start(store.append(waiting))];
    held.release();
    let first = first.await.unwrap();
    assert!(!first.repeated);
    let again = in_flight.await.unwrap();
    assert!(again.repeated);
    assert_eq!((again.first, again.last), (first.first, first.last));
    assert!(matches!(reused.await, Err(AppendError::CommitIdReused { .. })));
    let mut repeated = Vec::new();
    for answer in waiting {
        let answer = answer.await.unwrap();
        assert_eq!((answer.first.get(), answer.last.get()), (3, 3));
        repeated.push(answer.repeated);
    }
    assert_eq!(repeated, [false, true]);
    assert_eq!(store.latest_sequence("a").await.unwrap(), 3);
}

#[tokio::test]
async fn an_exact_one_is_found_however_long_ago_and_any_within_the_window() {
    let memory = MemoryDriver::new();
    let driver = Arc::new(memory.reopen());
    let store = EventStore::builder().driver(driver).commit_id_window(10).open().await.unwrap();
    let (exact, any) = (Uuid::new_v4(), Uuid::new_v4());
    store.append(two_events(Expected::NoEvents, exact)).await.unwrap();
    for number in 0..50 {
        store.append(Append::to("a").event(event(number))).await.unwrap();
    }
    store.append(two_events(Expected::Any, any)).await.unwrap();
    // Its last event is the tenth from the end.
    for number in 0..9 {
        store.append(Append::to("a").event(event(number))).await.unwrap();
    }
    let again = store.append(two_events(Expected::Any, any)).await.unwrap();
    assert_eq!((again.first.get(), again.last.get(), again.repeated), (53, 54, true));
    let again = store.append(two_events(Expected::NoEvents, exact)).await.unwrap();
    assert_eq!((again.first.get(), again.last.get(), again.repeated), (1, 2, true));

    store.append(Append::to("a").event(event(9))).await.unwrap();
    let beyond = store.append(two_events(Expected::Any, any)).await.unwrap();
    assert!(!beyond.repeated, "beyond the window nothing is looked for");
}

/// The window is read when it is first needed, in the middle of an append.
#[tokio::test]
async fn a_window_that_begins_inside_an_append_finds_all_of_it() {
    let memory = MemoryDriver::new();
    let id = Uuid::new_v4();
    let append = || {
        let events = (0..5).map(event);
        Append::to("a").events(events).commit_id(id)
    };
    let writer = store_over(&memory).await;
    writer.append(Append::to("a").event(event(0))).await.unwrap();
    writer.append(append()).await.unwrap();
    let driver = Arc::new(memory.reopen());
    let store = EventStore::builder().driver(driver).commit_id_window(2).open().await.unwrap();
    let again = store.append(append()).await.unwrap();
    assert_eq!((again.first.get(), again.last.get(), again.repeated), (2, 6, true));
}

/// The same id with other content, of which the window or the expectation shows a part only.
#[tokio::test]
async fn an_append_that_looks_like_a_part_of_the_stored_one_is_refused() {
    let memory = MemoryDriver::new();
    let id = Uuid::new_v4();
    let of = |events: std::ops::Range<u64>| Append::to("a").events(events.map(event)).commit_id(id);
    let writer = store_over(&memory).await;
    writer.append(Append::to("a").event(event(9))).await.unwrap();
    // Sequences 2 to 6.
    writer.append(of(0..5)).await.unwrap();
    // A part at its end, one as long as the window, and one that is longer.
    let any = [of(3..5), of(4..5), of(0..6), of(0..9)];
    // At sequences 3, 5 and 6.
    let inside = [(2, of(1..5)), (4, of(3..5)), (5, of(4..5))];
    let exact = inside.map(|(after, append)| append.expect(Expected::from(after)));
    for append in any.into_iter().chain(exact) {
        for window in [1, 2, 1_024] {
            let driver = Arc::new(memory.reopen());
            let builder = EventStore::builder().driver(driver).commit_id_window(window);
            let store = builder.open().await.unwrap();
            let answer = store.append(append.clone()).await;
            let is_refused = matches!(answer, Err(AppendError::CommitIdReused { .. }));
            assert!(is_refused, "window {window}, {append:?}: {answer:?}");
        }
    }
}

/// Many callers repeat each other's appends through two stores.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_each_id_is_written_once() {
    let memory = MemoryDriver::new();
    let stores = [store_over(&memory).await, store_over(&memory).await];
    let ids: Vec<Uuid> = (0..200).map(|_| Uuid::new_v4()).collect();
    let mut tasks = Vec::new();
    for writer in 0..16 {
        let (store, mut ids) = (stores[writer % 2].clone(), ids.clone());
        tasks.push(tokio::spawn(async move {
            fastrand::shuffle(&mut ids);
            let mut fresh = 0;
            for id in ids {
                let event = NewEvent::raw("Once", format!("\"{id}\""));
                let answer = store.append(Append::to("a").event(event).commit_id(id)).await;
                fresh += usize::from(!answer.unwrap().repeated);
            }
            fresh
        }));
    }
    let mut fresh = 0;
    for task in tasks {
        fresh += task.await.unwrap();
    }
    let events = stores[0].read("a").collect().await.unwrap();
    assert_eq!(events.len(), ids.len());
    assert_eq!(fresh, ids.len());
}
