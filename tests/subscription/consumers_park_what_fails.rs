//! A consumer that parks puts an event that fails aside, and every later event of its aggregate
//! behind it; the others go on. What is parked survives reopening, is listed, and is retried in
//! order.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::logged::{happen, on_each, redb};
use crate::support::{DEADLINE, assert_says, within};
use seriatim::subscription::{ConsumerError, OnFailure, Run};
use seriatim::{Consumer, ConsumerHandle, EventStore};

/// What was handled, as key and sequence; and the keys that fail for now.
#[derive(Clone, Default)]
struct World {
    handled: Arc<Mutex<Vec<String>>>,
    failing: Arc<Mutex<HashSet<String>>>,
}

impl World {
    fn run(&self, consumer: Consumer) -> Run {
        let world = self.clone();
        consumer.run(move |event| {
            let name = format!("{} {}", event.key, event.sequence);
            let key = event.key.as_str().to_owned();
            let failing = world.failing.lock().unwrap();
            let fails = failing.contains(&key) || failing.contains(&name);
            if !fails {
                world.handled.lock().unwrap().push(name);
            }
            async move { if fails { Err("it is broken") } else { Ok(()) } }
        })
    }

    fn start(
        &self,
        consumer: Consumer,
    ) -> (ConsumerHandle, tokio::task::JoinHandle<Result<(), ConsumerError>>) {
        let run = self.run(consumer);
        (run.handle(), tokio::spawn(run))
    }

    fn fail(&self, key: &str, fails: bool) {
        let mut failing = self.failing.lock().unwrap();
        if fails {
            failing.insert(key.to_owned())
        } else {
            failing.remove(key)
        };
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.handled.lock().unwrap())
    }
}

fn parking(store: &EventStore) -> Consumer {
    let pause = Duration::from_millis(1);
    store.consumer("c").on_failure(OnFailure::Park).retry(2, pause, pause)
}

#[tokio::test]
async fn others_go_on_and_the_parked_are_retried_in_order() {
    on_each(|store| async move {
        let world = World::default();
        world.fail("a", true);
        let (handle, running) = world.start(parking(&store));
        for key in ["a", "b", "a", "b", "a"] {
            happen(&store, key, "Happened").await;
        }
        handle.wait_for(5, DEADLINE).await.unwrap();
        assert_eq!(world.take(), ["b 1", "b 2"]);
        let parked = handle.parked().await.unwrap();
        let parked = parked.first().unwrap();
        assert_eq!((parked.key.as_str(), parked.sequence.get()), ("a", 1));
        assert_eq!((parked.position.get(), parked.reason.as_str()), (1, "it is broken"));

        // The handler is not fixed yet.
        let retried = within("retrying", handle.retry_parked()).await.unwrap();
        assert_eq!((retried.events, retried.still_parked), (0, 1));
        // Half fixed: the second event still fails.
        world.fail("a", false);
        world.fail("a 2", true);
        let retried = within("retrying", handle.retry_parked()).await.unwrap();
        assert_eq!((retried.events, retried.still_parked), (1, 1));
        assert_eq!(handle.parked().await.unwrap().first().unwrap().sequence, 2);
        happen(&store, "a", "Happened").await;
        handle.wait_for(6, DEADLINE).await.unwrap();
        assert_eq!(world.take(), ["a 1"], "a later event went past a parked one");
        // Mended.
        world.fail("a 2", false);
        let retried = within("retrying", handle.retry_parked()).await.unwrap();
        assert_eq!((retried.events, retried.still_parked), (3, 0));
        assert_eq!(world.take(), ["a 2", "a 3", "a 4"]);
        assert!(handle.parked().await.unwrap().is_empty());
        happen(&store, "a", "Happened").await;
        handle.wait_for(7, DEADLINE).await.unwrap();
        assert_eq!(world.take(), ["a 5"]);
        handle.stop();
        within("the end", running).await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn parked_stays_parked_over_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::default();
    world.fail("a", true);
    for round in 1..=3 {
        let store = EventStore::open(redb(directory.path())).await.unwrap();
        let (handle, running) = world.start(parking(&store));
        happen(&store, "a", "Happened").await;
        let last = happen(&store, "b", "Happened").await;
        handle.wait_for(last, DEADLINE).await.unwrap();
        assert_eq!(world.take(), [format!("b {round}")]);
        let parked = store.consumer("c").parked().await.unwrap();
        assert_eq!(parked.first().unwrap().sequence, 1);
        if round == 3 {
            world.fail("a", false);
            let retried = within("retrying", handle.retry_parked()).await.unwrap();
            assert_eq!((retried.events, retried.still_parked), (3, 0));
            assert_eq!(world.take(), ["a 1", "a 2", "a 3"]);
        }
        handle.stop();
        within("the end", running).await.unwrap().unwrap();
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn more_than_may_be_parked_ends_it() {
    on_each(|store| async move {
        let world = World::default();
        for key in ["a", "b", "c"] {
            world.fail(key, true);
            happen(&store, key, "Happened").await;
        }
        let run = world.run(parking(&store).max_parked(2));
        let ended = within("the end", run).await.unwrap_err();
        assert!(matches!(ended, ConsumerError::TooManyParked { aggregates: 2, .. }), "{ended:?}");
        assert_says(&ended, &["\"c\"", "2 aggregates"]);
        assert_eq!(store.consumer("c").position().await.unwrap().unwrap(), 2);
    })
    .await;
}
