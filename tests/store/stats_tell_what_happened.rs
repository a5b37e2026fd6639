//! `EventStore::stats` counts each append once, by how it was answered, and tells the store's state
//! and that of its consumers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use seriatim::driver::DriverError;
use seriatim::driver::faults::{FaultyDriver, PutFault};
use seriatim::driver::memory::MemoryDriver;
use seriatim::stats::StoreStats;
use seriatim::subscription::OnFailure;
use seriatim::{Append, AppendError, EventStore, Expected, KeyedEvent};
use uuid::Uuid;

use crate::support::entities::{Account, Command};
use crate::support::{append, append_after, event, until, within};

async fn faulty(shared: bool) -> (std::sync::Arc<FaultyDriver>, EventStore) {
    let faults = FaultyDriver::around(MemoryDriver::new());
    faults.is_shared(shared);
    let builder = EventStore::builder().driver(faults.clone());
    (faults, builder.put_deadline(Duration::from_millis(300)).open().await.unwrap())
}

/// All answers to appends.
fn answered(stats: &StoreStats) -> u64 {
    stats.appends
        + stats.repeated_appends
        + stats.early_conflicts
        + stats.conflicts
        + stats.unknown_appends
        + stats.failed_appends
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_by_their_answers() {
    let (faults, store) = faulty(false).await;
    assert_eq!(store.stats().puts, 0);
    let three = Append::to("a").events([event(1), event(2), event(3)]);
    store
        .append(three.clone().expect(Expected::NoEvents).commit_id(Uuid::from_u128(7)))
        .await
        .unwrap();
    store.append(three.expect(Expected::NoEvents).commit_id(Uuid::from_u128(7))).await.unwrap();
    store.append(append_after("a", 1)).await.unwrap_err();
    store.append(append_after("a", 9)).await.unwrap_err();
    faults.next_put(PutFault::Fails(DriverError::failed("for good")));
    store.append(append("b")).await.unwrap_err();
    let stats = store.stats();
    let counted = [
        stats.appends,
        stats.events,
        stats.repeated_appends,
        stats.early_conflicts,
        stats.conflicts,
        stats.failed_appends,
        stats.unknown_appends,
    ];
    assert_eq!(counted, [1, 3, 1, 1, 1, 1, 0]);
    assert_eq!((stats.commands, stats.puts, stats.resent_puts), (0, 1, 0));
    assert_eq!((stats.residents, stats.in_flight, stats.bytes_in_flight), (2, 0, 0));
    assert_eq!((stats.driver.events, stats.driver.keys), (Some(3), Some(1)));
    assert_eq!((stats.put_time.count(), stats.queue_time.count()), (1, 1));
    assert!(stats.put_time.sum() > Duration::ZERO);
    within("closing", store.close()).await.unwrap();
    assert_eq!(store.stats().appends, 1, "counters stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn puts_by_their_fate() {
    let (faults, store) = faulty(true).await;
    faults.next_put(PutFault::Overtaken(event(1)));
    within("the append", store.append(append("a"))).await.unwrap();
    assert_eq!(store.stats().driver_conflicts, 1);
    faults.next_put(PutFault::WrittenThenTimeout);
    within("the append", store.append(append("b"))).await.unwrap();
    let stats = store.stats();
    assert_eq!((stats.resent_puts, stats.unknown_puts, stats.appends), (1, 0, 2));
    faults.next_put_sendings(std::iter::repeat_n(PutFault::TimeoutOnly, 100));
    let answer = within("the append", store.append(append("c"))).await;
    assert!(matches!(answer, Err(AppendError::Indeterminate { .. })), "{answer:?}");
    let stats = store.stats();
    assert_eq!((stats.unknown_puts, stats.unknown_appends), (1, 1));
    assert!(stats.resent_puts > 2, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_with_and_without_events() {
    let store = EventStore::open("memory:").await.unwrap();
    let accounts = store.entities::<Account>();
    accounts.execute("ada", Command::Deposit(5)).await.unwrap();
    accounts.execute("ada", Command::Look).await.unwrap();
    accounts.execute("ada", Command::Withdraw(50)).await.unwrap_err();
    let stats = store.stats();
    assert_eq!((stats.commands, stats.commands_without_events, stats.appends), (3, 2, 1));
    assert_eq!(answered(&stats), 1);
}

/// Many threads count at once, and more than have a stripe of their own.
#[tokio::test(flavor = "multi_thread")]
async fn no_append_is_lost_or_counted_twice() {
    const WRITERS: u64 = 80;
    const APPENDS: u64 = 50;
    let store = EventStore::open("memory:").await.unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.clone();
            std::thread::spawn(move || {
                futures::executor::block_on(async {
                    for n in 0..APPENDS {
                        let key = format!("a/{}", writer % 8);
                        drop(store.append(append_after(&key, n)).await);
                    }
                });
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let stats = store.stats();
    assert_eq!(answered(&stats), WRITERS * APPENDS);
    assert_eq!(Some(stats.appends), stats.driver.events);
    assert!(stats.early_conflicts > 0, "{stats:?}");
    assert_eq!(stats.appends_per_put.sum(), stats.appends);
    assert_eq!(stats.appends_per_put.count(), stats.puts);
    assert_eq!(stats.queue_time.count(), stats.appends);
}

#[tokio::test(flavor = "multi_thread")]
async fn passivations() {
    let builder = EventStore::builder().url("memory:").idle_timeout(Duration::from_millis(40));
    let store = builder.open().await.unwrap();
    store.append(append("a")).await.unwrap();
    until("it is passivated", || store.stats().passivations == 1).await;
    until("it has left", || store.stats().residents == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn running_consumers() {
    static FAILS: AtomicBool = AtomicBool::new(true);
    let store = EventStore::open("memory:").await.unwrap();
    store.append(append("a")).await.unwrap();
    let pause = Duration::from_millis(1);
    let consumer = store.consumer("list").retry(2, pause, pause).on_failure(OnFailure::Park);
    let run = consumer.run(|_: KeyedEvent| async {
        match FAILS.load(Ordering::SeqCst) {
            true => Err("not yet"),
            false => Ok(()),
        }
    });
    let handle = run.handle();
    let running = tokio::spawn(run);
    let list = || store.stats().consumers.first().cloned();
    until("it is parked", || list().is_some_and(|list| list.parked == 1)).await;
    until("it has come to the end", || list().is_some_and(|list| list.lag == 0)).await;
    let parked = list().unwrap();
    assert_eq!((parked.name.as_str(), parked.retries), ("list", 1));
    FAILS.store(false, Ordering::SeqCst);
    within("the retry", handle.retry_parked()).await.unwrap();
    assert_eq!(list().unwrap().parked, 0);

    handle.pause();
    store.append(append("b")).await.unwrap();
    until("it lags", || list().is_some_and(|list| list.lag == 1)).await;
    handle.stop();
    within("its end", running).await.unwrap().unwrap();
    assert_eq!(store.stats().consumers, []);
}
