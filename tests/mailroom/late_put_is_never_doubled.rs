//! Rule 3 at its worst: a put times out, its appends are repeated in puts with others, and the
//! first put lands late. No answer is wrong, and nothing is there twice.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{self, chance, start, until, within};
use seriatim::driver::faults::{FaultyDriver, LatePut, PutFault};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, AppendError, Appended, EventStore, Expected, NewEvent};
use uuid::Uuid;

/// No put but the lost one may take so long on a busy machine: it would be sent a second time.
const ATTEMPT: Duration = Duration::from_millis(800);

struct Lost {
    memory: MemoryDriver,
    store: EventStore,
    faults: Arc<FaultyDriver>,
    late: LatePut,
    ids: Vec<Uuid>,
}

fn append(number: usize, expected: Expected, id: Uuid) -> Append {
    let event = NewEvent::raw("Counted", format!("{number}"));
    Append::to("a").expect(expected).event(event).commit_id(id)
}

/// A put of several appends that was sent, got no answer until its deadline, and has not landed
/// yet.
async fn lost(appends: usize, expected: fn(usize) -> Expected) -> Lost {
    within("a put with all appends", async {
        loop {
            if let Some(lost) = try_to_lose(MemoryDriver::new(), appends, expected).await {
                return lost;
            }
        }
    })
    .await
}

/// `None` if a mail came too late to travel with the others, or the put before theirs was sent
/// twice.
async fn try_to_lose(
    memory: MemoryDriver,
    appends: usize,
    expected: fn(usize) -> Expected,
) -> Option<Lost> {
    let faults = FaultyDriver::around(memory.reopen());
    let store = EventStore::builder()
        .driver(faults.clone())
        .arbiters(1)
        .put_attempt_timeout(ATTEMPT)
        .put_deadline(ATTEMPT * 3 / 2)
        .open()
        .await
        .unwrap();
    store.append(append(999, Expected::NoEvents, Uuid::new_v4())).await.unwrap();
    // While one put is held, the others come together in the next.
    let held = faults.next_put_is_held();
    let blocker = tokio::spawn({
        let store = store.clone();
        async move { store.append(append(998, Expected::Any, Uuid::new_v4())).await }
    });
    held.sent().await;
    let late = faults.next_put_lands_late();
    // After that one, every sending is lost until the deadline has passed.
    faults.every_nth_put(1, PutFault::TimeoutOnly);
    let ids: Vec<Uuid> = (0..appends).map(|_| Uuid::new_v4()).collect();
    let mut waiting: Vec<_> = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        let append = store.append(append(number, expected(number + 2), *id));
        waiting.push(support::start({
            let boxed: futures::future::BoxFuture<'_, _> = Box::pin(append);
            boxed
        }));
    }
    held.release();
    let blocked = blocker.await.unwrap();
    if blocked.is_err() || late.sent().await.events().len() < appends {
        return None;
    }
    assert_eq!(blocked.unwrap().last, 2);
    for (waiting, id) in waiting.iter_mut().zip(&ids) {
        match waiting.await {
            Err(AppendError::Indeterminate { commit_id, .. }) => assert_eq!(commit_id, *id),
            other => panic!("{other:?}"),
        }
    }
    faults.every_nth_put(0, PutFault::TimeoutOnly);
    drop(waiting);
    Some(Lost { memory, store: store.clone(), faults, late, ids })
}

fn any(_: usize) -> Expected {
    Expected::Any
}

fn exactly(latest: usize) -> Expected {
    Expected::from(latest as u64)
}

/// Every answered append is where it was said to be, and nothing is there twice.
async fn is_sound(store: &EventStore, answers: &[(usize, Appended)]) {
    let events = store.read("a").collect().await.unwrap();
    let numbers: Vec<String> = events.iter().map(|event| event.data.to_string()).collect();
    for (index, number) in numbers.iter().enumerate() {
        assert!(!numbers[..index].contains(number), "{number} is there twice: {numbers:?}");
        assert_eq!(events[index].sequence, index as u64 + 1);
    }
    for (number, answer) in answers {
        assert_eq!(numbers[answer.first.get() as usize - 1], number.to_string(), "{numbers:?}");
    }
}

async fn repeat(
    store: &EventStore,
    number: usize,
    expected: Expected,
    id: Uuid,
) -> (usize, Appended) {
    (number, store.append(append(number, expected, id)).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_lands_before_its_appends_are_repeated() {
    for expected in [any, exactly] {
        let Lost { store, late, ids, .. } = lost(3, expected).await;
        late.land().await.unwrap();
        let mut answers = Vec::new();
        // In another order, with a stranger among them.
        answers.push(repeat(&store, 2, expected(4), ids[2]).await);
        answers.push(repeat(&store, 77, Expected::Any, Uuid::new_v4()).await);
        answers.push(repeat(&store, 0, expected(2), ids[0]).await);
        answers.push(repeat(&store, 1, expected(3), ids[1]).await);
        is_sound(&store, &answers).await;
        assert_eq!(store.latest_sequence("a").await.unwrap(), 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_lands_after_its_appends_were_repeated() {
    let Lost { store, late, ids, .. } = lost(3, any).await;
    let mut answers = vec![repeat(&store, 1, Expected::Any, ids[1]).await];
    answers.push(repeat(&store, 77, Expected::Any, Uuid::new_v4()).await);
    late.land().await.unwrap_err();
    answers.push(repeat(&store, 0, Expected::Any, ids[0]).await);
    answers.push(repeat(&store, 1, Expected::Any, ids[1]).await);
    answers.push(repeat(&store, 2, Expected::Any, ids[2]).await);
    is_sound(&store, &answers).await;
    assert_eq!(store.latest_sequence("a").await.unwrap(), 6);
}

/// The repetition is on its way, in company, when the first put lands: a conflict that is resolved
/// append by append, not by its first event.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_lands_while_its_appends_are_repeated() {
    for expected in [any, exactly] {
        let Lost { store, faults, late, ids, .. } = lost(2, expected).await;
        let held = faults.next_put_is_held();
        // A stranger first: it takes the place that the late put's first event wants.
        let mut waiting = Vec::new();
        for (number, expected, id) in [
            (0, expected(2), ids[0]),
            (77, Expected::Any, Uuid::new_v4()),
            (1, expected(3), ids[1]),
        ] {
            // In this order, because each expects what comes before it.
            waiting.push((number, start(store.append(append(number, expected, id)))));
        }
        held.sent().await;
        late.land().await.unwrap();
        held.release();
        let mut answers = Vec::new();
        for (number, answer) in waiting {
            answers.push((number, answer.await.unwrap()));
        }
        is_sound(&store, &answers).await;
        assert_eq!(store.latest_sequence("a").await.unwrap(), 5);
    }
}

/// The same from two stores, at moments of chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_lands_at_any_moment_between_two_stores() {
    let mut chance = chance();
    let cases = (0..20).map(|_| case(fastrand::Rng::with_seed(chance.u64(..))));
    futures::future::join_all(cases).await;
}

async fn case(mut chance: fastrand::Rng) {
    let Lost { memory, store, late, ids, .. } = lost(3, any).await;
    let other = EventStore::builder().driver(Arc::new(memory.reopen())).open().await.unwrap();
    let delays: Vec<u64> = (0..4).map(|_| chance.u64(..2_000)).collect();
    let landing = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_micros(delays[3])).await;
        let _ = late.land().await;
    });
    let mut waiting = Vec::new();
    for (number, id) in ids.iter().copied().enumerate() {
        for store in [store.clone(), other.clone()] {
            let delay = chance.u64(..2_000);
            waiting.push(tokio::spawn(async move {
                tokio::time::sleep(Duration::from_micros(delay)).await;
                repeat(&store, number, Expected::Any, id).await
            }));
        }
    }
    let mut answers = Vec::new();
    for waiting in waiting {
        answers.push(waiting.await.unwrap());
    }
    landing.await.unwrap();
    for number in 0..3 {
        let places: Vec<_> =
            answers.iter().filter(|(n, _)| *n == number).map(|(_, a)| a.first).collect();
        assert_eq!(places[0], places[1], "one append, two places");
    }
    is_sound(&store, &answers).await;
    until("all resident aggregates are free", || store.resident() <= 1).await;
}
