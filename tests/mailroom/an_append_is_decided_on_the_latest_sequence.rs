//! `append_with`: the closure sees the latest sequence in the turn, so nobody conflicts. It decides
//! again when another process was faster; it may refuse; its panic is its caller's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seriatim::driver::faults::{FaultyDriver, PutFault};
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{DriverError, async_trait};
use seriatim::middleware::{Middleware, NextAppend};
use seriatim::{Append, AppendError, Appended, EventStore, NewEvent, Sequence};

use crate::support::entities::{Account, Command, raw_deposits};
use crate::support::{append, history, start, until, within};

/// An event that tells the sequence that it should have.
fn next(latest: Sequence) -> Result<Vec<NewEvent>, String> {
    Ok(vec![NewEvent::raw("Counted", (latest.get() + 1).to_string())])
}

async fn assert_counted(store: &EventStore, key: &str, events: usize) {
    let history = history(store, key).await;
    assert_eq!(history.len(), events);
    for event in history {
        assert_eq!(event.data.to_string(), event.sequence.to_string());
    }
}

async fn callers_race(store: EventStore) {
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    store.append_with("a", next).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        within("a caller", caller).await.unwrap();
    }
    assert_counted(&store, "a", 16 * 50).await;
    assert_eq!(store.stats().conflicts, 0);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_that_race_do_not_conflict_in_memory() {
    callers_race(EventStore::open("memory:").await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_that_race_do_not_conflict_on_redb() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("redb:{}", directory.path().display());
    callers_race(EventStore::open(&url).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_decides_again_when_another_process_was_faster() {
    let memory = MemoryDriver::new();
    let driver = FaultyDriver::around(memory.reopen());
    driver.is_shared(true);
    let store = EventStore::builder().driver(driver.clone()).open().await.unwrap();
    within("the first", store.append_with("a", next)).await.unwrap();
    let other = Arc::new(memory.reopen());
    let other = EventStore::builder().driver(other).open().await.unwrap();
    within("another's", other.append_with("a", next)).await.unwrap();
    let seen = Arc::new(AtomicU64::new(0));
    let sees = seen.clone();
    let decide = move |latest: Sequence| {
        sees.fetch_add(1, Ordering::SeqCst);
        next(latest)
    };
    assert_eq!(within("the next", store.append_with("a", decide)).await.unwrap().last, 3);
    assert_eq!(seen.load(Ordering::SeqCst), 2, "on sequence 1, and on 2");
    // A refusal is right only on what is stored now.
    within("another's", other.append_with("a", next)).await.unwrap();
    let refuses = |latest: Sequence| Err(latest.to_string());
    match within("a refusal", store.append_with("a", refuses)).await {
        Err(AppendError::Refused { reason, .. }) => assert_eq!(reason, "4"),
        other => panic!("{other:?}"),
    }
    assert_counted(&store, "a", 4).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_waits_for_the_put_it_rests_on() {
    let driver = FaultyDriver::around(MemoryDriver::new());
    let store = EventStore::builder().driver(driver.clone()).open().await.unwrap();
    within("the first", store.append_with("a", next)).await.unwrap();
    let held = driver.next_put_is_held();
    let first = start(store.append(append("a")));
    held.sent().await;
    // Both go into the next put, or the refusal after it; that put fails.
    driver.next_put(PutFault::Fails(DriverError::failed("on demand")));
    let fails = start(store.append_with("a", next));
    let only_two = |latest: Sequence| match latest.get() {
        0..=2 => next(latest),
        more => Err(format!("{more}")),
    };
    let behind = start(store.append_with("a", only_two));
    held.release();
    within("the first", first).await.unwrap();
    assert!(matches!(within("the failed", fails).await, Err(AppendError::Driver { .. })));
    assert_eq!(within("the one behind it", behind).await.unwrap().last, 3);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_closures_harm_nobody_else() {
    let store = EventStore::open("memory:").await.unwrap();
    for round in 0..3 {
        let panics = |_: Sequence| -> Result<Vec<NewEvent>, String> { panic!("on demand") };
        let answer = within("a panic", store.append_with("a", panics)).await;
        assert!(matches!(answer, Err(AppendError::Panicked { .. })), "{answer:?}");
        let empty = within("no event", store.append_with("a", |_| Ok(Vec::new()))).await;
        assert!(matches!(empty, Err(AppendError::Empty { .. })), "{empty:?}");
        let invalid = |_: Sequence| Ok(vec![NewEvent::raw("E", "no JSON")]);
        let answer = within("no JSON", store.append_with("a", invalid)).await;
        assert!(matches!(answer, Err(AppendError::InvalidEvent { index: 0, .. })), "{answer:?}");
        let many = |_: Sequence| Ok((0..100_000).map(|_| NewEvent::raw("E", "1")).collect());
        let answer = within("too many", store.append_with("a", many)).await;
        assert!(matches!(answer, Err(AppendError::TooLarge { .. })), "{answer:?}");
        assert_eq!(
            within("a good one", store.append_with("a", next)).await.unwrap().last,
            round + 1
        );
    }
    let bad_key = store.append_with("", next).await;
    assert!(matches!(bad_key, Err(AppendError::InvalidKey(_))), "{bad_key:?}");
    store.close().await.unwrap();
    let closed = store.append_with("a", next).await;
    assert!(matches!(closed, Err(AppendError::Closed)), "{closed:?}");
}

/// Panics when it is dropped, unless its thread is panicking.
struct Touchy(Arc<AtomicU64>);

impl Drop for Touchy {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        assert!(std::thread::panicking(), "a closure that panics on its drop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closure_that_nobody_waits_for_is_dropped_on_the_stores_threads() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("redb:{}", directory.path().display());
    let store = EventStore::open(&url).await.unwrap();
    let dropped = Arc::new(AtomicU64::new(0));
    let touchy = Touchy(dropped.clone());
    let abandoned = start(store.append_with("a", move |latest| {
        let _kept = &touchy;
        next(latest)
    }));
    let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(abandoned)));
    drop(answered);
    until("it is dropped", || dropped.load(Ordering::SeqCst) == 1).await;
    // The driver's writer lives.
    let behind = within("one behind it", store.append_with("a", next)).await.unwrap();
    assert_eq!(behind.last, 2);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn its_events_are_folded_into_an_entitys_state() {
    let store = EventStore::open("memory:").await.unwrap();
    let accounts = store.entities::<Account>();
    within("a command", accounts.execute("1", Command::Deposit(5))).await.unwrap();
    let deposited = |_: Sequence| Ok(vec![NewEvent::raw("Deposited", r#"{"amount":2}"#)]);
    within("the append", store.append_with("account/1", deposited)).await.unwrap();
    within("a raw one", store.append(raw_deposits("account/1", [3]))).await.unwrap();
    let refused = within("too much", accounts.execute("1", Command::Withdraw(11))).await;
    assert!(refused.is_err());
    within("all of it", accounts.execute("1", Command::Withdraw(10))).await.unwrap();
    store.close().await.unwrap();
}

/// Counts appends.
struct Watches(Arc<AtomicU64>);

#[async_trait]
impl Middleware for Watches {
    async fn append(&self, append: Append, next: NextAppend<'_>) -> Result<Appended, AppendError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        next.run(append).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn middleware_sees_what_is_decided() {
    let seen = Arc::new(AtomicU64::new(0));
    let builder = EventStore::builder().url("memory:").middleware(Watches(seen.clone()));
    let store = builder.open().await.unwrap();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..25 {
                    store.append_with("a", next).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        within("a caller", caller).await.unwrap();
    }
    assert_counted(&store, "a", 100).await;
    assert!(seen.load(Ordering::SeqCst) >= 100);
    store.close().await.unwrap();
}
