//! A consumer is operated: paused and resumed, set to a position, and parked aggregates are retried
//! or given up one by one. Its handler can take events as values of an enum.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use seriatim::subscription::{ConsumerError, OnFailure, TypedEvent};
use seriatim::{AggregateKey, Append, DecodeError, EventStore, NewEvent};

use crate::support::logged::{happen, on_each};
use crate::support::{DEADLINE, until, within};

const PAUSE: Duration = Duration::from_millis(1);

type Seen = Arc<Mutex<Vec<String>>>;

fn seeing(store: &EventStore, seen: &Seen) -> seriatim::subscription::Run {
    let seen = seen.clone();
    store.consumer("c").run(move |event| {
        seen.lock().unwrap().push(format!("{} {}", event.key, event.sequence));
        async { Ok::<_, String>(()) }
    })
}

#[tokio::test]
async fn a_paused_consumer_takes_no_event_until_it_resumes() {
    on_each(|store| async move {
        let seen = Seen::default();
        let run = seeing(&store, &seen);
        let handle = run.handle();
        let running = tokio::spawn(run);
        happen(&store, "a", "Happened").await;
        handle.wait_for(1, DEADLINE).await.unwrap();
        handle.pause();
        // Once the pause has begun, the checkpoint is saved.
        let consumer = store.consumer("c");
        let began = std::time::Instant::now();
        while consumer.position().await.unwrap().unwrap() < 1.into() {
            assert!(began.elapsed() < DEADLINE, "the checkpoint is not saved");
            tokio::task::yield_now().await;
        }
        happen(&store, "a", "Happened").await;
        let waited = handle.wait_for(2, Duration::from_millis(50)).await;
        assert!(waited.is_err(), "it handles events in a pause");
        assert_eq!(seen.lock().unwrap().len(), 1);
        handle.resume();
        handle.wait_for(2, DEADLINE).await.unwrap();
        handle.pause();
        handle.stop();
        within("the end of a paused consumer", running).await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_consumer_is_set_to_a_position() {
    on_each(|store| async move {
        for _ in 0..3 {
            happen(&store, "a", "Happened").await;
        }
        let seen = Seen::default();
        let consumer = store.consumer("c");
        let beyond = consumer.set_position(4).await;
        assert!(matches!(beyond, Err(ConsumerError::AheadOfLog { .. })), "{beyond:?}");
        for (position, wanted) in [(2, vec!["a 3"]), (0, vec!["a 1", "a 2", "a 3"])] {
            consumer.set_position(position).await.unwrap();
            let run = seeing(&store, &seen);
            let handle = run.handle();
            let running = tokio::spawn(run);
            handle.wait_for(3, DEADLINE).await.unwrap();
            let running_still = consumer.set_position(1).await;
            assert!(matches!(running_still, Err(ConsumerError::Owned { .. })));
            handle.stop();
            within("the end", running).await.unwrap().unwrap();
            assert_eq!(std::mem::take(&mut *seen.lock().unwrap()), wanted);
        }
    })
    .await;
}

#[tokio::test]
async fn parked_aggregates_are_retried_and_given_up_one_by_one() {
    on_each(|store| async move {
        let works = Arc::new(Mutex::new(false));
        let working = works.clone();
        let consumer = store.consumer("c").on_failure(OnFailure::Park).retry(1, PAUSE, PAUSE);
        let run = consumer.run(move |_| {
            let works = *working.lock().unwrap();
            async move { if works { Ok(()) } else { Err("no") } }
        });
        let handle = run.handle();
        let running = tokio::spawn(run);
        for key in ["a", "b", "c"] {
            happen(&store, key, "Happened").await;
        }
        handle.wait_for(3, DEADLINE).await.unwrap();
        *works.lock().unwrap() = true;
        let key = |key| AggregateKey::new(key).unwrap();
        let retried = within("one", handle.retry_parked_aggregate(&key("b"))).await.unwrap();
        assert_eq!((retried.events, retried.still_parked), (1, 2));
        let discarded = within("one", handle.discard_parked(&key("a"))).await.unwrap();
        assert_eq!((discarded.events, discarded.still_parked), (0, 1));
        let parked = store.consumer("c").parked().await.unwrap();
        assert_eq!(parked.first().unwrap().key.as_str(), "c");
        let last = happen(&store, "a", "Happened").await;
        handle.wait_for(last, DEADLINE).await.unwrap();
        assert_eq!(handle.parked().await.unwrap().len(), 1, "a later event of a is handled");
        handle.stop();
        within("the end", running).await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_supervised_consumer_is_run_again_after_failures() {
    on_each(|store| async move {
        happen(&store, "a", "Happened").await;
        let runs = Arc::new(Mutex::new(Vec::new()));
        let made = runs.clone();
        let consumer = store.consumer("c").retry(1, PAUSE, PAUSE);
        let supervised = consumer.supervise(PAUSE, PAUSE * 4, move |consumer| {
            let fails = made.lock().unwrap().len() < 3;
            let run = consumer.run(move |_| async move { if fails { Err("no") } else { Ok(()) } });
            made.lock().unwrap().push(run.handle());
            run
        });
        let running = tokio::spawn(supervised);
        until("the fourth run", || runs.lock().unwrap().len() == 4).await;
        let handle = runs.lock().unwrap().last().unwrap().clone();
        handle.wait_for(1, DEADLINE).await.unwrap();
        let taken = store
            .consumer("c")
            .supervise(PAUSE, PAUSE, |consumer| consumer.run(|_| async { Ok::<_, String>(()) }));
        let taken = within("a name that is taken", taken).await;
        assert!(matches!(taken, Err(ConsumerError::Owned { .. })), "{taken:?}");
        handle.stop();
        within("the end", running).await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn consumers_are_listed_and_deleted() {
    on_each(|store| async move {
        assert!(store.consumers().await.unwrap().is_empty());
        let seen = Seen::default();
        for round in 1..=2 {
            let last = happen(&store, "a", "Happened").await;
            let run = seeing(&store, &seen);
            let handle = run.handle();
            let running = tokio::spawn(run);
            handle.wait_for(last, DEADLINE).await.unwrap();
            let listed = store.consumers().await.unwrap();
            let consumer = listed.first().unwrap();
            assert_eq!((listed.len(), consumer.name.as_str()), (1, "c"));
            assert!(consumer.is_running && consumer.lag == 0 && consumer.position == last);
            let owned = store.consumer("c").delete().await;
            assert!(matches!(owned, Err(ConsumerError::Owned { .. })), "{owned:?}");
            handle.stop();
            within("the end", running).await.unwrap().unwrap();
            happen(&store, "b", "Happened").await;
            let listed = store.consumers().await.unwrap();
            let consumer = listed.first().unwrap();
            assert!(!consumer.is_running && consumer.lag == 1, "{consumer:?}");
            store.consumer("c").delete().await.unwrap();
            assert!(store.consumers().await.unwrap().is_empty());
            assert_eq!(store.consumer("c").position().await.unwrap(), None);
            let all = std::mem::take(&mut *seen.lock().unwrap()).len();
            assert_eq!(all, 2 * round - 1, "it begins again from the start");
        }
    })
    .await;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Light {
    SwitchedOn { by: String },
    SwitchedOff,
}

#[tokio::test]
async fn events_come_as_values_of_an_enum() {
    on_each(|store| async move {
        let on = Light::SwitchedOn { by: "Ada".to_owned() };
        for event in [&on, &Light::SwitchedOff] {
            let event = NewEvent::encode(event).unwrap();
            store.append(Append::to("light/1").event(event)).await.unwrap();
        }
        happen(&store, "light/1", "Dusted").await;
        let broken = NewEvent::raw("SwitchedOn", r#"{"by":7}"#);
        store.append(Append::to("light/2").event(broken)).await.unwrap();
        let seen: Arc<Mutex<Vec<Light>>> = Arc::default();
        let seeing = seen.clone();
        let is_decode_error = Arc::new(Mutex::new(false));
        let told = is_decode_error.clone();
        let consumer = store.consumer("watch").category("light").on_error(move |failure| {
            *told.lock().unwrap() = failure.error::<DecodeError>().is_some();
            seriatim::subscription::ErrorAction::Park
        });
        let run = consumer.run_typed(move |light: TypedEvent<Light>| {
            assert_eq!(light.stored.key.as_str(), "light/1");
            seeing.lock().unwrap().push(light.event);
            async { Ok::<_, String>(()) }
        });
        let handle = run.handle();
        let running = tokio::spawn(run);
        handle.wait_for(4, DEADLINE).await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [on, Light::SwitchedOff]);
        until("the broken one is a failed event", || *is_decode_error.lock().unwrap()).await;
        assert_eq!(handle.parked().await.unwrap().len(), 1);
        handle.stop();
        within("the end", running).await.unwrap().unwrap();
    })
    .await;
}
