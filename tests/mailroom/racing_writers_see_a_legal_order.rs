//! 64 writers race on one aggregate. The history of their calls and answers is checked against what
//! is stored: there must be an order of all appends, each between its call and its answer, in which
//! every answer is right.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::chance;
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, AppendError, EventStore, Expected, NewEvent};

/// One call, with the moments of a clock that all writers share.
struct Call {
    called: u64,
    answered: u64,
    expected: Expected,
    events: u64,
    /// First sequence, or the conflict's actual one.
    answer: Result<u64, u64>,
    payload: String,
}

async fn race(store: EventStore, writers: u64, rounds: u64) {
    let mut chance = chance();
    let clock = Arc::new(AtomicU64::new(0));
    let seen = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let (store, clock, seen) = (store.clone(), clock.clone(), seen.clone());
            let mut chance = fastrand::Rng::with_seed(chance.u64(..));
            tokio::spawn(async move {
                let mut calls = Vec::new();
                for round in 0..rounds {
                    let expected = match chance.u8(..10) {
                        0..3 => Expected::Any,
                        3 => Expected::NoEvents,
                        4..6 => Expected::from(store.latest_sequence("a").await.unwrap()),
                        6..8 => Expected::from(seen.load(Ordering::SeqCst)),
                        8 => Expected::from(seen.load(Ordering::SeqCst) + 1),
                        _ => Expected::from(seen.load(Ordering::SeqCst).saturating_sub(1)),
                    };
                    let (events, payload) = (chance.u64(1..4), format!("\"{writer}/{round}\""));
                    let event = || NewEvent::raw("Raced", payload.clone());
                    let append =
                        Append::to("a").expect(expected).events((0..events).map(|_| event()));
                    let called = clock.fetch_add(1, Ordering::SeqCst);
                    let answer = store.append(append).await;
                    let answered = clock.fetch_add(1, Ordering::SeqCst);
                    let answer = match answer {
                        Ok(appended) => {
                            assert_eq!(appended.last.get(), appended.first.get() + events - 1);
                            seen.fetch_max(appended.last.get(), Ordering::SeqCst);
                            Ok(appended.first.get())
                        }
                        Err(AppendError::Conflict { actual, .. }) => Err(actual.get()),
                        Err(other) => panic!("{other}"),
                    };
                    calls.push(Call { called, answered, expected, events, answer, payload });
                }
                calls
            })
        })
        .collect();
    let mut calls = Vec::new();
    for task in tasks {
        calls.extend(task.await.unwrap());
    }
    check(&store, &calls).await;
}

async fn check(store: &EventStore, calls: &[Call]) {
    let stored = store.read("a").collect().await.unwrap();
    let sequences: Vec<u64> = stored.iter().map(|event| event.sequence.get()).collect();
    assert_eq!(sequences, (1..=stored.len() as u64).collect::<Vec<_>>());

    // Every success stands where it was said to, and nothing else stands anywhere.
    let mut by_first: HashMap<u64, &Call> = HashMap::new();
    for call in calls {
        let Ok(first) = call.answer else { continue };
        assert!(by_first.insert(first, call).is_none(), "two appends were told sequence {first}");
        for offset in 0..call.events {
            let event = &stored[(first + offset - 1) as usize];
            assert_eq!(event.data.as_str(), call.payload, "at {}", first + offset);
        }
        if let Some(expected) = call.expected.exact() {
            assert_eq!(expected.get() + 1, first, "an expectation that did not hold was accepted");
        }
    }
    let appended: u64 = by_first.values().map(|call| call.events).sum();
    assert_eq!(appended, stored.len() as u64, "events that nobody was told of");

    // The order of the appends is that of their sequences. Each must have taken effect after its
    // call and after everything before it: the earliest moment it can have; and before its answer.
    let mut order: Vec<(&u64, &&Call)> = by_first.iter().collect();
    order.sort_by_key(|(first, _)| **first);
    // For each length of the aggregate: the earliest moment at which it can have been reached, and
    // the latest by which it must have been.
    let mut earliest = vec![(0, 0)];
    let mut latest_by: Vec<(u64, u64)> = Vec::new();
    let mut moment = 0;
    for (first, call) in &order {
        moment = moment.max(call.called);
        assert!(
            moment <= call.answered,
            "the append at {first} was answered before one in front of it was called"
        );
        earliest.push((**first + call.events - 1, moment));
    }
    // From the other end: an append has happened when it, or anything behind it, was answered.
    let mut by = u64::MAX;
    for (first, call) in order.iter().rev() {
        by = by.min(call.answered);
        latest_by.push((**first + call.events - 1, by));
    }
    latest_by.reverse();

    for call in calls {
        let Err(actual) = call.answer else { continue };
        let expected = call.expected.exact().expect("a conflict without an expectation").get();
        assert_ne!(actual, expected, "a conflict at what was expected");
        // The length told must have been reached before the answer …
        let reached = earliest.iter().find(|(length, _)| *length >= actual);
        let (length, reached) = *reached.expect("a length that was never reached");
        assert_eq!(length, actual, "a length in the middle of an append");
        assert!(reached <= call.answered, "a conflict with {actual}, which was not there yet");
        // … and the one expected must not have held all the time in between.
        let by = latest_by.iter().find(|(length, _)| *length == expected).map(|(_, by)| *by);
        let next = earliest.iter().find(|(length, _)| *length > expected).map(|(_, next)| *next);
        let held_throughout =
            by.is_some_and(|by| by < call.called) && next.is_none_or(|next| next > call.answered);
        assert!(!held_throughout, "a conflict although {expected} held from call to answer");
    }
    let conflicts = calls.iter().filter(|call| call.answer.is_err()).count();
    println!("{} appended, {conflicts} conflicts", by_first.len());
    assert!(conflicts > 0 && by_first.len() > 64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_memory() {
    race(EventStore::open("memory:").await.unwrap(), 64, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_redb() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("redb:{}", folder.path().join("store").display());
    let store = EventStore::open(url).await.unwrap();
    race(store.clone(), 64, 60).await;
    store.close().await.unwrap();
}

/// Two stores over the same events stand in for two processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn between_two_stores_nothing_is_lost_or_doubled() {
    let memory = MemoryDriver::new();
    let mut tasks = Vec::new();
    let mut stores = Vec::new();
    for _ in 0..2 {
        let driver = Arc::new(memory.reopen());
        stores.push(EventStore::builder().driver(driver).open().await.unwrap());
    }
    for writer in 0..32 {
        let store = stores[writer % 2].clone();
        tasks.push(tokio::spawn(async move {
            let mut appended = Vec::new();
            for round in 0..100 {
                let expected = match round % 3 {
                    0 => Expected::Any,
                    _ => Expected::from(store.latest_sequence("a").await.unwrap()),
                };
                let payload = format!("\"{writer}/{round}\"");
                let append =
                    Append::to("a").expect(expected).event(NewEvent::raw("Raced", payload.clone()));
                match store.append(append).await {
                    Ok(answer) => appended.push((answer.first.get(), payload)),
                    Err(error) => assert!(error.is_conflict(), "{error}"),
                }
            }
            appended
        }));
    }
    let mut told = Vec::new();
    for task in tasks {
        told.extend(task.await.unwrap());
    }
    told.sort();
    let stored = stores[0].read("a").collect().await.unwrap();
    let stored: Vec<(u64, String)> =
        stored.iter().map(|e| (e.sequence.get(), e.data.to_string())).collect();
    assert_eq!(told, stored);
}
