//! A handler's errors are classified by the error hook: an outage pauses the consumer, one event is
//! parked, skipped, or ends it. An event that cannot be read is a failed event.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seriatim::subscription::{ConsumerError, ErrorAction, OnFailure};
use seriatim::{Append, EventStore, NewEvent, ReadError, Upcast};

use crate::support::logged::{happen, on_each};
use crate::support::{DEADLINE, until, within};

const PAUSE: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
enum Trouble {
    #[error("connection refused")]
    Outage,
    #[error("unknown customer")]
    Broken,
    #[error("spam")]
    Spam,
}

#[tokio::test]
async fn an_outage_pauses_and_parks_nothing() {
    on_each(|store| async move {
        for number in 0..20 {
            happen(&store, &format!("a/{number}"), "Happened").await;
        }
        let tried = Arc::new(AtomicU64::new(0));
        let is_down = Arc::new(Mutex::new(true));
        let (trying, down) = (tried.clone(), is_down.clone());
        let consumer = store.consumer("c").on_failure(OnFailure::Park).retry(2, PAUSE, PAUSE);
        let run = consumer
            .on_error(|failure| match failure.error::<Trouble>() {
                Some(Trouble::Outage) => ErrorAction::Retry,
                _ => ErrorAction::Policy,
            })
            .run(move |_| {
                trying.fetch_add(1, Ordering::SeqCst);
                let is_down = *down.lock().unwrap();
                async move { if is_down { Err(Trouble::Outage) } else { Ok(()) } }
            });
        let handle = run.handle();
        let running = tokio::spawn(run);
        until("more attempts than the policy allows", || tried.load(Ordering::SeqCst) > 5).await;
        assert!(handle.parked().await.unwrap().is_empty());
        *is_down.lock().unwrap() = false;
        handle.wait_for(20, DEADLINE).await.unwrap();
        assert!(handle.parked().await.unwrap().is_empty());
        handle.stop();
        within("the end", running).await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn one_event_is_parked_skipped_or_ends_it() {
    on_each(|store| async move {
        for key in ["good", "spam", "broken", "spam", "broken"] {
            happen(&store, key, "Happened").await;
        }
        let consumer = || {
            store.consumer("c").on_error(|failure| match failure.error::<Trouble>() {
                Some(Trouble::Spam) => ErrorAction::Skip,
                Some(Trouble::Broken) => ErrorAction::Park,
                _ => ErrorAction::Stop,
            })
        };
        let run = consumer().run(|event| async move {
            match event.key.as_str() {
                "spam" => Err(Trouble::Spam),
                "broken" => Err(Trouble::Broken),
                "fatal" => Err(Trouble::Outage),
                _ => Ok(()),
            }
        });
        let handle = run.handle();
        let running = tokio::spawn(run);
        handle.wait_for(5, DEADLINE).await.unwrap();
        let parked: HashSet<_> =
            handle.parked().await.unwrap().into_iter().map(|p| p.key).collect();
        assert_eq!(parked.len(), 1);
        assert!(parked.iter().all(|key| key.as_str() == "broken"));
        happen(&store, "fatal", "Happened").await;
        let ended = within("the end", running).await.unwrap();
        assert!(matches!(ended, Err(ConsumerError::Failed { attempts: 1, .. })), "{ended:?}");
    })
    .await;
}

#[tokio::test]
async fn an_unreadable_event_is_a_failed_event() {
    for (action, parked, handled) in
        [(ErrorAction::Policy, 1, 2), (ErrorAction::Skip, 0, 3), (ErrorAction::Stop, 0, 1)]
    {
        let upcaster = |event: &seriatim::KeyedEvent| match event.sequence.get() {
            1 => Err("no".to_owned()),
            _ => Ok(Upcast::unchanged()),
        };
        let builder = EventStore::builder().url("memory:");
        let store = builder.upcaster("bad", "Happened", 1, upcaster).open().await.unwrap();
        for key in ["a/1", "bad/1", "bad/1", "a/1"] {
            happen(&store, key, "Happened").await;
        }
        let seen = Arc::new(AtomicU64::new(0));
        let counted = seen.clone();
        let consumer = store.consumer("c").on_failure(OnFailure::Park).on_error(move |failure| {
            assert!(failure.error::<ReadError>().is_some());
            action
        });
        let run = consumer.run(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, String>(()) }
        });
        let handle = run.handle();
        let running = tokio::spawn(run);
        if action == ErrorAction::Stop {
            let ended = within("the end", running).await.unwrap();
            assert!(matches!(ended, Err(ConsumerError::Read(_))), "{ended:?}");
            assert_eq!(store.consumer("c").position().await.unwrap().unwrap(), 1);
        } else {
            handle.wait_for(4, DEADLINE).await.unwrap();
            assert_eq!(handle.parked().await.unwrap().len(), parked);
            let retried = within("retrying", handle.retry_parked()).await.unwrap();
            assert_eq!(retried.still_parked, parked, "it is still unreadable");
            handle.stop();
            within("the end", running).await.unwrap().unwrap();
        }
        assert_eq!(seen.load(Ordering::SeqCst), handled, "{action:?}");
    }
}

#[tokio::test]
async fn reactions_carry_correlation_and_are_rejected_with_their_error() {
    use seriatim::subscription::{OnRejected, Reaction};
    on_each(|store| async move {
        let paid = NewEvent::raw("Paid", "{}").metadata_field("correlation_id", "request-7");
        store.append(Append::to("payment/1").event(paid)).await.unwrap();
        let consumer = store.consumer("c").event_types(["Paid", "Sent"]);
        let run = consumer
            .on_rejected(|rejection| match rejection.error::<seriatim::AppendError>() {
                Some(error) if error.is_conflict() => OnRejected::PassOver,
                _ => OnRejected::Fail,
            })
            .react(|event| {
                let sent = || Append::to("letter/1").event(NewEvent::raw("Sent", "{}"));
                let conflicting = Append::to("letter/1").expect(9).event(NewEvent::raw("X", "{}"));
                (event.event_type() == "Paid").then(|| {
                    [
                        Reaction::append(sent()).metadata_field("by", "mailer"),
                        Reaction::append(conflicting),
                    ]
                })
            });
        let handle = run.handle();
        let running = tokio::spawn(run);
        handle.wait_for(2, DEADLINE).await.unwrap();
        let letters = store.read("letter/1").collect().await.unwrap();
        assert_eq!(letters.len(), 1);
        let metadata = letters.first().unwrap().metadata.as_ref().unwrap();
        let metadata: std::collections::BTreeMap<String, String> = metadata.json().unwrap();
        assert_eq!(metadata.get("correlation_id").unwrap(), "request-7");
        assert_eq!(metadata.get("by").unwrap(), "mailer");
        assert!(metadata.contains_key("causation_id"));
        handle.stop();
        within("the end", running).await.unwrap().unwrap();
    })
    .await;
}
