//! What an append costs the driver, counted: a stale one to a resident aggregate nothing, a warm
//! one that is accepted one put, a cold one one call more at most.

use std::sync::Arc;

use crate::support::{append_after, event};
use seriatim::driver::faults::{Counts, FaultyDriver};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, AppendError, EventStore, Expected};

async fn counted(memory: &MemoryDriver) -> (EventStore, Arc<FaultyDriver>) {
    let faults = FaultyDriver::around(memory.reopen());
    let store = EventStore::builder().driver(faults.clone()).open().await.unwrap();
    (store, faults)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_append_to_a_resident_aggregate_costs_nothing() {
    let (store, faults) = counted(&MemoryDriver::new()).await;
    for expected in 0..5 {
        store.append(append_after("a", expected)).await.unwrap();
    }
    faults.take_counts();
    for expected in 0..5 {
        match store.append(append_after("a", expected)).await {
            Err(AppendError::Conflict { expected: told, actual, .. }) => {
                assert_eq!(told.exact().unwrap(), expected);
                assert_eq!(actual, 5);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(faults.counts(), Counts::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nor_do_64_stale_writers_at_once() {
    let (store, faults) = counted(&MemoryDriver::new()).await;
    for expected in 0..3 {
        store.append(append_after("a", expected)).await.unwrap();
    }
    faults.take_counts();
    let writers = (0..64).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for round in 0..100 {
                let stale = store.append(append_after("a", (writer + round) % 3)).await;
                assert!(stale.is_err_and(|error| error.is_conflict()));
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(faults.counts(), Counts::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_append_costs_one_put() {
    let (store, faults) = counted(&MemoryDriver::new()).await;
    store.append(append_after("a", 0)).await.unwrap();
    for (round, expected) in
        [Expected::from(1), Expected::Any, Expected::from(3)].iter().enumerate()
    {
        faults.take_counts();
        let append = Append::to("a").expect(*expected).event(event(0));
        assert_eq!(store.append(append).await.unwrap().last, round as u64 + 2);
        assert_eq!((faults.counts().put_events, faults.counts().total()), (1, 1), "{expected:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_append_costs_one_call_more_at_most() {
    let memory = MemoryDriver::new();
    let (store, faults) = counted(&memory).await;
    let none = Append::to("new").expect(Expected::NoEvents).event(event(0));
    store.append(none).await.unwrap();
    assert_eq!((faults.counts().put_events, faults.counts().total()), (1, 1));
    store.append(append_after("new", 1)).await.unwrap();
    store.close().await.unwrap();

    // Another store, which knows nothing of the aggregate.
    let (store, faults) = counted(&memory).await;
    store.append(append_after("new", 2)).await.unwrap();
    let counts = faults.counts();
    assert_eq!((counts.check_sequence, counts.put_events, counts.total()), (1, 1, 2));
    store.close().await.unwrap();

    let (store, faults) = counted(&memory).await;
    store.append(Append::to("new").event(event(0))).await.unwrap();
    let counts = faults.counts();
    assert_eq!((counts.latest_sequence, counts.put_events, counts.total()), (1, 1, 2));
}
