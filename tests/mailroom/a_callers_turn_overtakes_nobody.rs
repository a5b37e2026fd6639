//! Mail that came earlier is decided earlier, whoever takes the turn.

use std::sync::Arc;

use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, AppendError, EventStore, Expected, NewEvent};

use crate::support::callback_driver::CallbackDriver;
use crate::support::entities::{Account, Command, raw_deposits};
use crate::support::held_thread::HeldThread;
use crate::support::{append, chance, history, start, until, within};

#[tokio::test(flavor = "multi_thread")]
async fn mail_in_the_inbox_of_an_actor_that_cannot_run() {
    let driver = Arc::new(CallbackDriver::default());
    let store = EventStore::builder().driver(driver.clone()).arbiters(1).open().await.unwrap();
    let held = HeldThread::of(&store).await;
    let first = start(store.append(append("a")));
    assert_eq!(driver.waiting(), 1, "the first has no turn of its caller's");
    let behind = start(store.append(append("a")));
    assert!(driver.answer_next());
    // The put permit is free now, and mail waits for the actor.
    let latest = start(store.append(append("a")));
    assert_eq!(driver.waiting(), 0, "the latest has overtaken the one that waits");
    held.release().await;
    // The actor puts both.
    until("the actor's put", || driver.answer_next()).await;
    let answers = [within("the first", first).await, behind.await, latest.await];
    let last = answers.map(|answer| answer.unwrap().last.get());
    assert_eq!(last, [1, 2, 3]);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_state_is_being_loaded() {
    let driver = Arc::new(MemoryDriver::new());
    let store = EventStore::builder().driver(driver).arbiters(1).open().await.unwrap();
    let held = HeldThread::of(&store).await;
    let accounts = store.entities::<Account>();
    let command = start(accounts.execute("1", Command::Deposit(1)));
    let behind = start(store.append(raw_deposits("account/1", [2])));
    assert!(!store.exists("account/1").await.unwrap(), "the append has overtaken the command");
    held.release().await;
    within("the command", command).await.unwrap();
    assert_eq!(within("the append", behind).await.unwrap().last, 2);
    let events = history(&store, "account/1").await;
    assert!(events[0].data.to_string().contains('1') && events[1].data.to_string().contains('2'));
    store.close().await.unwrap();
}

const WRITERS: u64 = 4;
const KEYS: u64 = 3;

/// Starts appends one after another, without awaiting them, and now and then awaits all.
async fn write(store: &EventStore, writer: u64, mut chance: fastrand::Rng) {
    let mut started = Vec::new();
    for number in 0..400_u64 {
        let key = format!("a/{}", chance.u64(..KEYS));
        let data = format!(r#"{{"writer":{writer},"number":{number}}}"#);
        let mut append = Append::to(&key).event(NewEvent::raw("Written", data));
        if chance.u8(..8) == 0 {
            // The driver is asked, and what comes meanwhile waits behind the question.
            append = append.expect(Expected::from(1_000_000));
        }
        started.push(start(store.append(append)));
        match chance.u8(..32) {
            0 => {
                for answer in started.drain(..) {
                    match within("an answer", answer).await {
                        Ok(_) => {}
                        Err(AppendError::Conflict { expected: Expected::Sequence(_), .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            1..4 => tokio::task::yield_now().await,
            _ => {}
        }
    }
    for answer in started {
        let _ = within("an answer", answer).await;
    }
}

async fn a_writers_own_order_holds(url: String) {
    let mut chance = chance();
    let store = EventStore::builder().url(url).open().await.unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, chance) = (store.clone(), chance.fork());
            tokio::spawn(async move { write(&store, writer, chance).await })
        })
        .collect();
    for writer in writers {
        within("a writer", writer).await.unwrap();
    }
    for key in 0..KEYS {
        let mut latest = [None; WRITERS as usize];
        for event in history(&store, &format!("a/{key}")).await {
            let data: serde_json::Value = serde_json::from_str(&event.data.to_string()).unwrap();
            let (writer, number) = (data["writer"].as_u64().unwrap(), data["number"].as_u64());
            let before = latest[writer as usize].replace(number);
            assert!(before < Some(number), "{number:?} of {writer} stands behind {before:?}");
        }
        assert!(latest.iter().all(Option::is_some), "a writer wrote nothing to a/{key}");
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_memory() {
    a_writers_own_order_holds("memory:".to_owned()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_redb() {
    let directory = tempfile::tempdir().unwrap();
    a_writers_own_order_holds(format!("redb:{}", directory.path().display())).await;
}
