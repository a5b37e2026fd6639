//! An actor that panics, in its handler or around a put, loses nothing that was answered: each
//! caller gets an answer that is true, and the next append is served by a fresh actor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::support::{append_after, event, start, within};
use seriatim::driver::faults::{FaultyDriver, PutFault, ReadFault};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, AppendError, EventStore, Expected, NewEvent};

/// A store whose actors panic when they stamp a put, once for each time it is armed.
async fn with_armed_clock(faults: &Arc<FaultyDriver>) -> (EventStore, Arc<AtomicBool>) {
    let armed = Arc::new(AtomicBool::new(false));
    let trigger = armed.clone();
    let store = EventStore::builder()
        .driver(faults.clone())
        .arbiters(1)
        .clock(move || {
            assert!(!trigger.swap(false, Ordering::SeqCst), "an actor that panics on demand");
            SystemTime::now()
        })
        .open()
        .await
        .unwrap();
    (store, armed)
}

/// Mail that reaches an actor while it is dying shares its fate, and is sent again.
async fn until_served(store: &EventStore, key: &str, latest: u64) -> u64 {
    within("a fresh actor", async {
        loop {
            match store.append(append_after(key, latest)).await {
                Err(AppendError::ActorFailed { .. }) => tokio::task::yield_now().await,
                answer => return answer.unwrap().last.get(),
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_handler_with_mail_waiting() {
    let faults = FaultyDriver::around(MemoryDriver::new());
    let (store, armed) = with_armed_clock(&faults).await;
    store.append(append_after("a", 0)).await.unwrap();
    store.append(append_after("other", 0)).await.unwrap();

    // Behind a held put three more wait; the actor panics when it forms theirs.
    let held = faults.next_put_is_held();
    let first = start(store.append(append_after("a", 1)));
    held.sent().await;
    let waiting: Vec<_> =
        (0..3).map(|_| start(store.append(Append::to("a").event(event(0))))).collect();
    armed.store(true, Ordering::SeqCst);
    held.release();
    assert_eq!(first.await.unwrap().last, 2, "the put outlives the actor");
    let mut failed = 0;
    let mut appended = 0;
    for waiting in waiting {
        match waiting.await {
            Err(AppendError::ActorFailed { .. }) => failed += 1,
            // One that came after the panic found a fresh actor.
            Ok(_) => appended += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(failed > 0);
    assert!(!armed.load(Ordering::SeqCst), "nobody panicked");

    // A failed append was not written, and everything goes on.
    assert_eq!(store.latest_sequence("a").await.unwrap(), 2 + appended);
    assert_eq!(until_served(&store, "a", 2 + appended).await, 3 + appended);
    assert_eq!(until_served(&store, "other", 1).await, 2);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_panics_in_a_put() {
    let faults = FaultyDriver::around(MemoryDriver::new());
    let store = EventStore::builder()
        .driver(faults.clone())
        .put_deadline(Duration::from_secs(3))
        .open()
        .await
        .unwrap();
    store.append(append_after("a", 0)).await.unwrap();
    // Once: the same put is sent again.
    faults.next_put(PutFault::Panics);
    assert_eq!(store.append(append_after("a", 1)).await.unwrap().last, 2);
    // Until the deadline: nobody knows.
    faults.every_nth_put(1, PutFault::Panics);
    let lost = store.append(append_after("a", 2)).await;
    assert!(matches!(lost, Err(AppendError::Indeterminate { .. })), "{lost:?}");
    faults.every_nth_put(0, PutFault::Panics);
    assert_eq!(store.append(append_after("a", 2)).await.unwrap().last, 3);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_panics_in_a_read() {
    let faults = FaultyDriver::around(MemoryDriver::new());
    let store = EventStore::builder().driver(faults.clone()).open().await.unwrap();
    faults.next_latest(ReadFault::Panics);
    let failed = store.append(Append::to("a").event(event(0))).await;
    assert!(matches!(failed, Err(AppendError::Driver { .. })), "{failed:?}");
    faults.next_check(ReadFault::Panics);
    let failed = store.append(append_after("a", 3)).await;
    assert!(matches!(failed, Err(AppendError::Driver { .. })), "{failed:?}");
    assert_eq!(store.append(Append::to("a").event(event(0))).await.unwrap().last, 1);
    faults.next_fetch(0, ReadFault::Panics);
    assert!(store.read("a").collect().await.is_err());
    assert_eq!(store.read("a").collect().await.unwrap().len(), 1);
    store.close().await.unwrap();
}

/// Writers go on while actors panic again and again; what each was told is true.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn again_and_again_under_load() {
    let faults = FaultyDriver::around(MemoryDriver::new());
    let (store, armed) = with_armed_clock(&faults).await;
    let mut tasks = Vec::new();
    for writer in 0..16 {
        let (store, armed) = (store.clone(), armed.clone());
        tasks.push(tokio::spawn(async move {
            let mut told = Vec::new();
            for round in 0..200 {
                if round % 50 == writer % 50 {
                    armed.store(true, Ordering::SeqCst);
                }
                let payload = format!("\"{writer}/{round}\"");
                let append = Append::to("a")
                    .expect(Expected::Any)
                    .event(NewEvent::raw("Counted", payload.clone()));
                match store.append(append).await {
                    Ok(appended) => told.push((appended.first.get(), payload)),
                    Err(AppendError::ActorFailed { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            told
        }));
    }
    let mut told = Vec::new();
    for task in tasks {
        told.extend(task.await.unwrap());
    }
    told.sort();
    let stored = store.read("a").collect().await.unwrap();
    let stored: Vec<_> = stored.iter().map(|e| (e.sequence.get(), e.data.to_string())).collect();
    assert_eq!(told, stored);
    println!("{} of {} were written", stored.len(), 16 * 200);
    assert!(stored.len() < 16 * 200, "no actor panicked");
    armed.store(false, Ordering::SeqCst);
    store.close().await.unwrap();
}
