//! A concurrent consumer handles several aggregates' events at once, and each aggregate's in order.
//! Its checkpoint never passes an unfinished event, so no crash loses one. What fails concerns its
//! aggregate alone. Stopping and closing finish what is being handled.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seriatim::driver::memory::MemoryDriver;
use seriatim::subscription::{ConsumerError, ErrorAction, OnFailure, Run, TypedEvent};
use seriatim::{Append, ConsumerHandle, EventStore, KeyedEvent, NewEvent};
use tokio::sync::Semaphore;

use crate::support::logged::{happen, on_each};
use crate::support::{DEADLINE, chance, until, within};

type Handling = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
type Running = tokio::task::JoinHandle<Result<(), ConsumerError>>;

/// What was handled, as key and sequence, in order; what is being handled; and keys whose events
/// wait for a permit, or fail.
#[derive(Clone, Default)]
struct World {
    handled: Arc<Mutex<Vec<(String, u64)>>>,
    begun: Arc<Mutex<Vec<(String, u64)>>>,
    at_work: Arc<Mutex<BTreeSet<String>>>,
    held: Arc<Mutex<BTreeMap<String, Arc<Semaphore>>>>,
    failing: Arc<Mutex<HashSet<String>>>,
    /// A panic would be a failed attempt, and be retried.
    faults: Arc<Mutex<Vec<String>>>,
}

/// Tells that nothing of this aggregate is being handled, however it ended.
struct AtWork(World, String);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.lock().unwrap().remove(&self.1);
    }
}

impl World {
    fn hold(&self, key: &str) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.held.lock().unwrap().insert(key.to_owned(), gate.clone());
        gate
    }

    fn fail(&self, key: &str, fails: bool) {
        let mut failing = self.failing.lock().unwrap();
        if fails {
            failing.insert(key.to_owned())
        } else {
            failing.remove(key)
        };
    }

    fn handler(&self) -> impl FnMut(KeyedEvent) -> Handling + Send + 'static {
        let world = self.clone();
        move |event| {
            let world = world.clone();
            Box::pin(async move {
                let key = event.key.as_str().to_owned();
                let is_alone = world.at_work.lock().unwrap().insert(key.clone());
                if !is_alone {
                    world.faults.lock().unwrap().push(format!("two events of {key} at once"));
                }
                let _at_work = AtWork(world.clone(), key.clone());
                let name = (key.clone(), event.sequence.get());
                world.begun.lock().unwrap().push(name.clone());
                let gate = world.held.lock().unwrap().get(&key).cloned();
                if let Some(gate) = gate {
                    gate.acquire().await.unwrap().forget();
                }
                if world.failing.lock().unwrap().contains(&key) {
                    return Err("it is broken".to_owned());
                }
                world.handled.lock().unwrap().push(name);
                Ok(())
            })
        }
    }

    fn start(&self, run: Run) -> (ConsumerHandle, Running) {
        (run.handle(), tokio::spawn(run))
    }

    fn of(&self, key: &str) -> Vec<u64> {
        let handled = self.handled.lock().unwrap();
        handled.iter().filter(|(of, _)| of == key).map(|(_, sequence)| *sequence).collect()
    }

    /// How many attempts have begun.
    fn begun(&self) -> usize {
        assert!(self.faults.lock().unwrap().is_empty(), "{:?}", self.faults);
        self.begun.lock().unwrap().len()
    }
}

async fn stop(handle: &ConsumerHandle, running: Running) {
    handle.stop();
    within("the end", running).await.unwrap().unwrap();
}

async fn happen_to(store: &EventStore, keys: &str) {
    for key in keys.chars() {
        happen(store, &key.to_string(), "Happened").await;
    }
}

#[tokio::test]
async fn as_many_as_said_are_handled_at_once_and_one_of_each_aggregate() {
    on_each(|store| async move {
        let world = World::default();
        let gates: Vec<_> = ["a", "b", "c", "d"].iter().map(|key| world.hold(key)).collect();
        happen_to(&store, "aabbccdd").await;
        let (handle, running) =
            world.start(store.consumer("c").concurrency(3).run(world.handler()));
        until("three are handled", || world.begun() == 3).await;
        let begun: BTreeSet<_> = world.begun.lock().unwrap().iter().cloned().collect();
        let first = |key: &str| (key.to_owned(), 1);
        assert_eq!(begun, [first("a"), first("b"), first("c")].into());
        gates.iter().for_each(|gate| gate.add_permits(2));
        within("the end", handle.wait_for(8, DEADLINE)).await.unwrap();
        for key in ["a", "b", "c", "d"] {
            assert_eq!(world.of(key), [1, 2], "{key}");
        }
        stop(&handle, running).await;
    })
    .await;
}

#[tokio::test]
async fn an_aggregate_that_hangs_keeps_no_other_waiting_at_the_end_of_the_log() {
    on_each(|store| async move {
        let world = World::default();
        let gate = world.hold("a");
        let consumer = store.consumer("c").checkpoint_every(1);
        let (handle, running) = world.start(consumer.concurrency(2).run(world.handler()));
        happen_to(&store, "a").await;
        until("a is handled", || world.begun() == 1).await;
        for count in 1..=20 {
            happen_to(&store, "b").await;
            until("b is handled", || world.of("b").len() == count).await;
        }
        // The position stands before the event that is not finished.
        assert_eq!(handle.position(), 0);
        assert_eq!(store.consumer("c").position().await.unwrap().unwrap(), 0);
        gate.add_permits(1);
        within("all", handle.wait_for(21, DEADLINE)).await.unwrap();
        stop(&handle, running).await;
        assert_eq!(store.consumer("c").position().await.unwrap().unwrap(), 21);
    })
    .await;
}

#[tokio::test]
async fn a_crash_loses_nothing_that_was_not_finished() {
    let store = EventStore::open("memory:").await.unwrap();
    let world = World::default();
    world.hold("b");
    happen_to(&store, "abacab").await;
    let consumer = || store.consumer("c").checkpoint_every(1).concurrency(4);
    let (_, running) = world.start(consumer().run(world.handler()));
    until("all but b's", || world.of("a").len() == 3 && world.of("c").len() == 1).await;
    running.abort();
    assert!(within("the abort", running).await.unwrap_err().is_cancelled());
    assert_eq!(store.consumer("c").position().await.unwrap().unwrap(), 1);
    world.held.lock().unwrap().clear();
    world.handled.lock().unwrap().clear();
    let (handle, running) = world.start(consumer().run(world.handler()));
    within("all", handle.wait_for(6, DEADLINE)).await.unwrap();
    assert_eq!((world.of("a"), world.of("b"), world.of("c")), (vec![2, 3], vec![1, 2], vec![1]));
    stop(&handle, running).await;
}

/// Each run ends in a crash at some moment; the log grows meanwhile.
#[tokio::test]
async fn no_crash_loses_an_event_or_the_order_of_an_aggregate() {
    let mut chance = chance();
    for _ in 0..20 {
        let store = EventStore::open("memory:").await.unwrap();
        let mut latest = BTreeMap::<String, u64>::new();
        // The highest sequence that was ever handled.
        let reached = Arc::new(Mutex::new(BTreeMap::<String, u64>::new()));
        let faults = Arc::new(Mutex::new(Vec::new()));
        for round in 0..15 {
            for _ in 0..chance.usize(..40) {
                let key = format!("k/{}", chance.u8(..7));
                happen(&store, &key, "Happened").await;
                *latest.entry(key).or_default() += 1;
            }
            let is_last = round == 14;
            let seed = chance.u64(..);
            let (all, found) = (reached.clone(), faults.clone());
            let consumer = store.consumer("c").checkpoint_every(chance.usize(1..8));
            let retried = consumer.retry(u32::MAX, Duration::ZERO, Duration::ZERO);
            let of_this_run = Arc::new(Mutex::new(BTreeMap::<String, u64>::new()));
            let mut number = 0;
            let run = retried.concurrency(chance.usize(2..6)).run(move |event| {
                number += 1;
                let mut chance = fastrand::Rng::with_seed(seed.wrapping_add(number));
                let (all, of_this_run) = (all.clone(), of_this_run.clone());
                let faults = found.clone();
                async move {
                    for _ in 0..chance.usize(..4) {
                        tokio::task::yield_now().await;
                    }
                    if chance.u8(..5) == 0 {
                        return Err("by chance");
                    }
                    let (key, sequence) = (event.key.to_string(), event.sequence.get());
                    let before = of_this_run.lock().unwrap().insert(key.clone(), sequence);
                    let mut all = all.lock().unwrap();
                    let most = all.entry(key.clone()).or_default();
                    // In a run in order and without a gap. What was handled in an earlier one
                    // may come again; what was not, must come.
                    let is_right = match before {
                        Some(before) => sequence == before + 1,
                        None => sequence <= *most + 1,
                    };
                    if !is_right {
                        let fault = format!("{key}: {sequence} after {before:?}, {most} in all");
                        faults.lock().unwrap().push(fault);
                    }
                    *most = sequence.max(*most);
                    Ok(())
                }
            });
            let handle = run.handle();
            let running = tokio::spawn(run);
            if is_last {
                let last: u64 = latest.values().sum();
                within("all", handle.wait_for(last, DEADLINE)).await.unwrap();
                stop(&handle, running).await;
                assert_eq!(*reached.lock().unwrap(), latest);
            } else {
                for _ in 0..chance.usize(..60) {
                    tokio::task::yield_now().await;
                }
                match chance.bool() {
                    true => running.abort(),
                    false => handle.stop(),
                }
                match within("the end", running).await {
                    Ok(ended) => ended.unwrap(),
                    Err(aborted) => assert!(aborted.is_cancelled()),
                }
            }
            assert!(faults.lock().unwrap().is_empty(), "round {round}: {faults:?}");
        }
    }
}

#[tokio::test]
async fn what_fails_is_retried_and_parked_alone() {
    on_each(|store| async move {
        let world = World::default();
        world.fail("a", true);
        happen_to(&store, "ababa").await;
        let pause = Duration::from_millis(1);
        let consumer = store.consumer("c").on_failure(OnFailure::Park).retry(3, pause, pause);
        let (handle, running) = world.start(consumer.concurrency(2).run(world.handler()));
        within("all", handle.wait_for(5, DEADLINE)).await.unwrap();
        assert_eq!((world.of("a"), world.of("b")), (vec![], vec![1, 2]));
        let attempts = world.begun.lock().unwrap().iter().filter(|(key, _)| key == "a").count();
        assert_eq!(attempts, 3, "the first event of a alone is tried");
        let parked = handle.parked().await.unwrap().remove(0);
        assert_eq!((parked.key.as_str(), parked.sequence.get()), ("a", 1));

        world.fail("a", false);
        happen_to(&store, "ab").await;
        let retried = within("retrying", handle.retry_parked()).await.unwrap();
        assert_eq!(retried.still_parked, 0);
        happen_to(&store, "a").await;
        within("all", handle.wait_for(8, DEADLINE)).await.unwrap();
        assert_eq!((world.of("a"), world.of("b")), (vec![1, 2, 3, 4, 5], vec![1, 2, 3]));
        stop(&handle, running).await;
    })
    .await;
}

#[tokio::test]
async fn an_aggregate_that_is_retried_for_ever_keeps_no_other_waiting() {
    let store = EventStore::open("memory:").await.unwrap();
    let world = World::default();
    world.fail("a", true);
    let pause = Duration::from_millis(1);
    let consumer = store.consumer("c").retry(1, pause, pause);
    let consumer = consumer.on_error(|_| ErrorAction::Retry).concurrency(2);
    let (handle, running) = world.start(consumer.run(world.handler()));
    happen_to(&store, "aabcb").await;
    until("the others", || world.of("b").len() == 2 && world.of("c").len() == 1).await;
    assert_eq!((handle.position().get(), world.of("a")), (0, vec![]));
    world.fail("a", false);
    within("all", handle.wait_for(5, DEADLINE)).await.unwrap();
    assert_eq!(world.of("a"), [1, 2]);
    stop(&handle, running).await;
}

#[tokio::test]
async fn a_failure_that_stops_it_leaves_the_checkpoint_before_its_event() {
    let store = EventStore::open("memory:").await.unwrap();
    let world = World::default();
    world.fail("b", true);
    let gate = world.hold("c");
    happen_to(&store, "abca").await;
    let consumer = store.consumer("c").retry(1, Duration::ZERO, Duration::ZERO);
    let (_, running) = world.start(consumer.concurrency(3).run(world.handler()));
    until("all have begun", || world.begun() >= 3).await;
    gate.add_permits(1);
    let failed = within("the failure", running).await.unwrap().unwrap_err();
    assert!(
        matches!(&failed, ConsumerError::Failed { key, .. } if key.as_str() == "b"),
        "{failed}"
    );
    assert_eq!(store.consumer("c").position().await.unwrap().unwrap(), 1);
    assert_eq!(world.of("c"), [1], "what was being handled is finished");
}

#[tokio::test]
async fn closing_the_store_finishes_what_is_being_handled() {
    let memory = MemoryDriver::new();
    let open = || EventStore::builder().driver(Arc::new(memory.reopen())).open();
    let store = open().await.unwrap();
    let world = World::default();
    let gate = world.hold("a");
    happen_to(&store, "ab").await;
    let (_, running) = world.start(store.consumer("c").concurrency(2).run(world.handler()));
    until("both have begun", || world.begun() == 2).await;
    let closing = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    happen_until_closed(&store).await;
    gate.add_permits(1);
    within("closing", closing).await.unwrap().unwrap();
    within("the end", running).await.unwrap().unwrap();
    assert_eq!(world.of("a"), [1]);
    let store = open().await.unwrap();
    assert!(store.consumer("c").position().await.unwrap().unwrap().get() >= 2);
}

/// Until appends are refused, so that closing has begun.
async fn happen_until_closed(store: &EventStore) {
    let refused = async {
        let append = || Append::to("z").event(NewEvent::raw("Happened", "{}"));
        while store.append(append()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within("closing begins", refused).await;
}

#[tokio::test]
async fn a_pause_finishes_what_is_being_handled_and_begins_nothing() {
    let store = EventStore::open("memory:").await.unwrap();
    let world = World::default();
    let gate = world.hold("a");
    happen_to(&store, "aa").await;
    let (handle, running) = world.start(store.consumer("c").concurrency(2).run(world.handler()));
    until("the first has begun", || world.begun() == 1).await;
    handle.pause();
    gate.add_permits(1);
    within("the first", handle.wait_for(1, DEADLINE)).await.unwrap();
    happen_to(&store, "b").await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.begun(), 1);
    gate.add_permits(1);
    handle.resume();
    within("the rest", handle.wait_for(3, DEADLINE)).await.unwrap();
    stop(&handle, running).await;
}

#[tokio::test]
async fn values_of_an_enum_are_handled_at_once_and_unreadable_ones_are_parked() {
    #[derive(serde::Deserialize)]
    enum Light {
        SwitchedOn { by: String },
    }
    let store = EventStore::open("memory:").await.unwrap();
    let names = Arc::new(Mutex::new(Vec::new()));
    let (seen, calls) = (names.clone(), Arc::new(AtomicUsize::new(0)));
    let called = calls.clone();
    let pause = Duration::ZERO;
    let consumer = store.consumer("c").on_failure(OnFailure::Park).retry(2, pause, pause);
    let run = consumer.concurrency(3).run_typed(move |light: TypedEvent<Light>| {
        called.fetch_add(1, Ordering::SeqCst);
        let Light::SwitchedOn { by } = light.event;
        let seen = seen.clone();
        async move {
            seen.lock().unwrap().push(by);
            Ok::<_, String>(())
        }
    });
    let handle = run.handle();
    let running = tokio::spawn(run);
    for (key, data) in [("a", r#"{"by":"Ada"}"#), ("b", "5"), ("b", r#"{"by":"Bea"}"#)] {
        let event = NewEvent::raw("SwitchedOn", data);
        store.append(Append::to(key).event(event)).await.unwrap();
    }
    within("all", handle.wait_for(3, DEADLINE)).await.unwrap();
    assert_eq!((names.lock().unwrap().join(" "), calls.load(Ordering::SeqCst)), ("Ada".into(), 1));
    assert_eq!(handle.parked().await.unwrap()[0].key.as_str(), "b");
    stop(&handle, running).await;
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt_and_a_call_from_within_is_noticed() {
    let store = EventStore::open("memory:").await.unwrap();
    let inside: Arc<Mutex<Option<ConsumerHandle>>> = Arc::default();
    let (handle_inside, answers) = (inside.clone(), Arc::new(Mutex::new(Vec::new())));
    let told = answers.clone();
    let mut calls = 0;
    let pause = Duration::ZERO;
    let run = store.consumer("c").retry(5, pause, pause).concurrency(2).run(move |_| {
        calls += 1;
        assert!(calls != 1, "before there is a future");
        let (call, handle, told) = (calls, handle_inside.clone(), told.clone());
        async move {
            assert!(call != 2, "in the future");
            let handle = handle.lock().unwrap().clone().unwrap();
            let answer = handle.retry_parked().await;
            told.lock().unwrap().push(answer.unwrap_err());
            Ok::<_, String>(())
        }
    });
    let handle = run.handle();
    *inside.lock().unwrap() = Some(handle.clone());
    happen_to(&store, "a").await;
    let running = tokio::spawn(run);
    within("all", handle.wait_for(1, DEADLINE)).await.unwrap();
    assert!(matches!(answers.lock().unwrap()[..], [ConsumerError::InHandler { .. }]));
    stop(&handle, running).await;
}
