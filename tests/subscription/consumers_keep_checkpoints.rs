//! A consumer goes on where its checkpoint stands, after a stop and after reopening the store.
//! Checkpoints are no events: positions stay dense. One consumer of a name runs at a time;
//! stopping, waiting and lag are told by its handle.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::logged::{happen, on_each, positions, redb};
use crate::support::{self, assert_says, until, within};
use seriatim::subscription::{ConsumerError, Run, WaitError};
use seriatim::{Consumer, EventStore};

type Seen = Arc<Mutex<Vec<u64>>>;

/// Runs the consumer, which notes what it sees.
fn noting(consumer: Consumer, seen: &Seen) -> Run {
    let seen = seen.clone();
    consumer.run(move |event| {
        seen.lock().unwrap().push(event.position.unwrap().get());
        async { Ok::<_, String>(()) }
    })
}

fn take(seen: &Seen) -> Vec<u64> {
    std::mem::take(&mut *seen.lock().unwrap())
}

async fn run_through(consumer: Consumer, seen: &Seen, last: u64) -> Vec<u64> {
    let run = noting(consumer, seen);
    let handle = run.handle();
    let running = tokio::spawn(run);
    handle.wait_for(last, support::DEADLINE).await.unwrap();
    assert_eq!(handle.position(), last);
    handle.stop();
    within("the end", running).await.unwrap().unwrap();
    take(seen)
}

#[tokio::test]
async fn a_stopped_consumer_goes_on_behind_its_last_event() {
    on_each(|store| async move {
        let seen = Seen::default();
        for _ in 0..10 {
            happen(&store, "a", "Happened").await;
        }
        let consumer = || store.consumer("c");
        assert_eq!(consumer().position().await.unwrap(), None);
        assert_eq!(consumer().lag().await.unwrap(), 10);
        let first = run_through(consumer(), &seen, 10).await;
        assert_eq!(first, (1..=10).collect::<Vec<u64>>());
        assert_eq!(consumer().position().await.unwrap().unwrap(), 10);
        for _ in 0..5 {
            happen(&store, "a", "Happened").await;
        }
        assert_eq!(consumer().lag().await.unwrap(), 5);
        assert_eq!(run_through(consumer(), &seen, 15).await, [11, 12, 13, 14, 15]);
        assert_eq!(run_through(store.consumer("another").from(14), &seen, 15).await, [14, 15]);
        // What is told of the beginning counts the first time only.
        assert!(run_through(store.consumer("another").from(1), &seen, 15).await.is_empty());
        assert_eq!(run_through(consumer().rebuild().from(13), &seen, 15).await, [13, 14, 15]);
    })
    .await;
}

#[tokio::test]
async fn checkpoints_survive_reopening_and_take_no_position() {
    let directory = tempfile::tempdir().unwrap();
    let url = redb(directory.path());
    let seen = Seen::default();
    let mut wanted = 0;
    for round in 0..4 {
        let store = EventStore::open(&url).await.unwrap();
        let consumer = store.consumer("c").checkpoint_every(1);
        assert_eq!(consumer.lag().await.unwrap(), 0, "round {round}");
        for _ in 0..20 {
            wanted += 1;
            assert_eq!(happen(&store, "a", "Happened").await, wanted);
        }
        let found = run_through(consumer, &seen, wanted).await;
        assert_eq!(found, (wanted - 19..=wanted).collect::<Vec<u64>>(), "round {round}");
        let log = store.log().unwrap().read().collect().await.unwrap();
        assert_eq!(positions(&log), (1..=wanted).collect::<Vec<u64>>());
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn from_the_end_means_the_first_end() {
    on_each(|store| async move {
        let seen = Seen::default();
        happen(&store, "a", "Happened").await;
        let consumer = || store.consumer("c").from_end();
        assert!(run_through(consumer(), &seen, 1).await.is_empty());
        happen(&store, "a", "Happened").await;
        assert_eq!(run_through(consumer(), &seen, 2).await, [2]);
    })
    .await;
}

#[tokio::test]
async fn an_unwanted_event_is_passed_and_the_checkpoint_with_it() {
    on_each(|store| async move {
        let seen = Seen::default();
        for n in 0..9 {
            happen(&store, ["light/1", "door/1", "light/2"][n % 3], "Opened").await;
        }
        let doors = || store.consumer("doors").category("door");
        assert_eq!(run_through(doors(), &seen, 9).await, [2, 5, 8]);
        assert_eq!(doors().lag().await.unwrap(), 0);
        // The interval saves it, too, while nothing wanted comes.
        let run = noting(doors().checkpoint_interval(Duration::from_millis(5)), &seen);
        let running = tokio::spawn(run);
        happen(&store, "light/1", "Opened").await;
        let mut position = doors().position().await.unwrap().unwrap();
        let began = std::time::Instant::now();
        while position != 10 {
            assert!(began.elapsed() < support::DEADLINE, "the checkpoint stays at {position}");
            tokio::time::sleep(Duration::from_millis(2)).await;
            position = doors().position().await.unwrap().unwrap();
        }
        running.abort();
    })
    .await;
}

#[tokio::test]
async fn one_owner_of_a_name_at_a_time() {
    on_each(|store| async move {
        let seen = Seen::default();
        let run = noting(store.consumer("c"), &seen);
        let handle = run.handle();
        let running = tokio::spawn(run);
        happen(&store, "a", "Happened").await;
        handle.wait_for(1, support::DEADLINE).await.unwrap();
        let second = within("the refusal", noting(store.consumer("c"), &seen)).await;
        assert!(matches!(&second, Err(ConsumerError::Owned { name }) if name == "c"), "{second:?}");
        let other = run_through(store.consumer("d"), &seen, 1).await;
        assert_eq!(other, [1, 1], "another name runs beside it");
        running.abort();
        let _ = running.await;
        // A consumer that is gone, however it went, leaves its name.
        run_through(store.consumer("c"), &seen, 1).await;
        let unnamed = within("the refusal", noting(store.consumer(""), &seen)).await;
        assert!(matches!(unnamed, Err(ConsumerError::InvalidName { .. })));
    })
    .await;
}

#[tokio::test]
async fn waiting_ends_in_time_and_with_the_consumer() {
    on_each(|store| async move {
        let seen = Seen::default();
        let run = noting(store.consumer("c"), &seen);
        let handle = run.handle();
        let running = tokio::spawn(run);
        let short = Duration::from_millis(30);
        let late = handle.wait_for(1, short).await.unwrap_err();
        assert!(matches!(late, WaitError::Timeout { .. }));
        assert_says(&late, &["\"c\"", "did not reach 1", "30ms"]);
        let waiting = {
            let handle = handle.clone();
            tokio::spawn(async move { handle.wait_for(1, support::DEADLINE).await })
        };
        happen(&store, "a", "Happened").await;
        within("the position", waiting).await.unwrap().unwrap();
        assert_eq!(handle.lag().unwrap(), 0);
        let waiting = {
            let handle = handle.clone();
            tokio::spawn(async move { handle.wait_for(9, support::DEADLINE).await })
        };
        handle.stop();
        within("the end", running).await.unwrap().unwrap();
        let ended = within("the end", waiting).await.unwrap().unwrap_err();
        assert!(matches!(ended, WaitError::Ended { .. }), "{ended:?}");
        assert!(matches!(handle.retry_parked().await, Err(ConsumerError::Ended { .. })));
    })
    .await;
}

#[tokio::test]
async fn an_error_is_tried_again_and_then_ends_it_before_the_event() {
    on_each(|store| async move {
        for _ in 0..4 {
            happen(&store, "a", "Happened").await;
        }
        let tries = Arc::new(Mutex::new(Vec::new()));
        let noted = tries.clone();
        let retry = |times| {
            let pause = Duration::from_millis(1);
            store.consumer("c").retry(times, pause, pause * 2)
        };
        let failed = within(
            "the failure",
            retry(3).run(move |event| {
                let position = event.position.unwrap().get();
                noted.lock().unwrap().push(position);
                async move { if position == 3 { Err("no paper") } else { Ok(()) } }
            }),
        )
        .await
        .unwrap_err();
        assert_says(&failed, &["\"c\"", "position 3", "3 times", "no paper"]);
        assert_eq!(*tries.lock().unwrap(), [1, 2, 3, 3, 3]);
        assert_eq!(store.consumer("c").position().await.unwrap().unwrap(), 2);
        // The second time is the charm.
        let mut count = 0;
        let run = retry(5).run(move |_| {
            count += 1;
            let fails = count < 3;
            async move { if fails { Err("no paper yet") } else { Ok(()) } }
        });
        let handle = run.handle();
        tokio::spawn(run);
        handle.wait_for(4, support::DEADLINE).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_closing_store_ends_it() {
    on_each(|store| async move {
        let seen = Seen::default();
        let running = tokio::spawn(noting(store.consumer("c"), &seen));
        happen(&store, "a", "Happened").await;
        until("the event is seen", || !seen.lock().unwrap().is_empty()).await;
        store.close().await.unwrap();
        within("the end", running).await.unwrap().unwrap();
    })
    .await;
}
