//! A projection that keeps its position with its state counts every event once, though it fails, is
//! stopped and begins again at any moment; it is rebuilt to the same state, and a request can wait
//! to read its own write.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::logged::{happen, on_each};
use crate::support::{self, DEADLINE, chance, within};
use seriatim::driver::async_trait;
use seriatim::subscription::{OnFailure, Projection};
use seriatim::{KeyedEvent, Position};

/// What a transaction of the read model writes at once.
#[derive(Clone, Default, Debug, PartialEq)]
struct Model {
    position: Position,
    events: BTreeMap<String, u64>,
    resets: u64,
}

#[derive(Clone)]
struct Counting {
    model: Arc<Mutex<Model>>,
    random: fastrand::Rng,
    /// One apply of so many fails, before or after it was committed.
    fails: u64,
    poison: Option<Position>,
}

#[async_trait]
impl Projection for Counting {
    type Error = String;

    async fn position(&mut self) -> Result<Position, String> {
        Ok(self.model.lock().unwrap().position)
    }

    async fn apply(&mut self, events: &[KeyedEvent], position: Position) -> Result<(), String> {
        assert!(!events.is_empty());
        if events.iter().any(|event| event.position == self.poison && self.poison.is_some()) {
            return Err("poison".to_owned());
        }
        if self.fails > 0 && self.random.u64(..self.fails) == 0 {
            return Err("rolled back".to_owned());
        }
        let mut model = self.model.lock().unwrap();
        for event in events {
            assert!(event.position.unwrap() > model.position, "an event came again");
            *model.events.entry(event.key.to_string()).or_default() += 1;
        }
        assert!(position >= events.last().unwrap().position.unwrap());
        model.position = position;
        Ok(())
    }

    async fn reset(&mut self) -> Result<(), String> {
        let mut model = self.model.lock().unwrap();
        *model = Model { resets: model.resets + 1, ..Model::default() };
        Ok(())
    }
}

fn counting(fails: u64) -> Counting {
    Counting { model: Arc::default(), random: fastrand::Rng::with_seed(7), fails, poison: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_counts_once_whenever_it_is_cut_short() {
    let seed = chance().u64(..);
    on_each(|store| async move {
        let mut random = fastrand::Rng::with_seed(seed);
        let counting = counting(4);
        let mut wanted: BTreeMap<String, u64> = BTreeMap::new();
        let mut last = Position::default();
        for _ in 0..30 {
            let pause = Duration::from_micros(10);
            let consumer =
                store.consumer("counts").category("a").batch(7).retry(1_000, pause, pause);
            let run = consumer.project(counting.clone());
            let running = tokio::spawn(run);
            for _ in 0..random.u64(1..40) {
                let key = format!("{}/{}", if random.bool() { "a" } else { "b" }, random.u64(..3));
                last = happen(&store, &key, "Happened").await;
                if key.starts_with('a') {
                    *wanted.entry(key).or_default() += 1;
                }
            }
            // Dropped wherever it is.
            running.abort();
            let _ = running.await;
        }
        let run = store.consumer("counts").category("a").project(counting.clone());
        let handle = run.handle();
        let running = tokio::spawn(run);
        within("the last", handle.wait_for(last, DEADLINE)).await.unwrap();
        assert_eq!(counting.model.lock().unwrap().events, wanted);
        handle.stop();
        within("the end", running).await.unwrap().unwrap();

        let rebuilt = store.consumer("counts").category("a").rebuild().project(counting.clone());
        let handle = rebuilt.handle();
        let running = tokio::spawn(rebuilt);
        // It begins before the first event, so this waits for the rebuilt state.
        support::until("the reset", || counting.model.lock().unwrap().resets == 1).await;
        within("the last", handle.wait_for(last, DEADLINE)).await.unwrap();
        assert_eq!(counting.model.lock().unwrap().events, wanted);
        handle.stop();
        within("the end", running).await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_request_reads_its_own_write() {
    on_each(|store| async move {
        let counting = counting(0);
        let run = store.consumer("counts").project(counting.clone());
        let handle = run.handle();
        tokio::spawn(run);
        for n in 1..=200 {
            let position = happen(&store, "a", "Happened").await;
            handle.wait_for(position, DEADLINE).await.unwrap();
            assert_eq!(counting.model.lock().unwrap().events.get("a"), Some(&n));
        }
    })
    .await;
}

#[tokio::test]
async fn one_bad_event_of_a_batch_is_parked_alone() {
    on_each(|store| async move {
        let mut counting = counting(0);
        counting.poison = Some(Position::new(5));
        for n in 1..=10 {
            happen(&store, if n % 5 == 0 { "bad" } else { "good" }, "Happened").await;
        }
        let pause = Duration::from_millis(1);
        let consumer = store.consumer("counts").retry(2, pause, pause);
        let run = consumer.on_failure(OnFailure::Park).project(counting.clone());
        let handle = run.handle();
        tokio::spawn(run);
        handle.wait_for(10, DEADLINE).await.unwrap();
        let wanted = BTreeMap::from([("good".to_owned(), 8)]);
        assert_eq!(counting.model.lock().unwrap().events, wanted);
        assert_eq!(handle.parked().await.unwrap().first().unwrap().position, 5);
        handle.stop();
    })
    .await;
}
