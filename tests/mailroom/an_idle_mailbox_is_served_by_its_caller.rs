//! An append or a command to an idle aggregate needs no actor: it is decided and put where it was
//! brought. What only a driver that must be awaited can tell needs the actor.

use std::sync::Arc;

use seriatim::driver::faults::FaultyDriver;
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, EventStore};
use uuid::Uuid;

use crate::support::entities::{Account, Command, Event, raw_deposits};
use crate::support::held_thread::HeldThread;
use crate::support::{append, append_after, event, poll_once, start, within};

async fn stored(memory: &MemoryDriver) {
    let driver = Arc::new(memory.reopen());
    let store = EventStore::builder().driver(driver).open().await.unwrap();
    for key in ["cold/1", "cold/2"] {
        let events = Append::to(key).events((0..3).map(event));
        within("an append", store.append(events)).await.unwrap();
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_no_actor_can_run() {
    let memory = MemoryDriver::new();
    stored(&memory).await;
    let driver = Arc::new(memory.reopen());
    let store = EventStore::builder().driver(driver).arbiters(1).open().await.unwrap();
    let held = HeldThread::of(&store).await;
    let served = [
        (append_after("new", 0), 1),
        (append("new"), 2),
        (append_after("new", 2), 3),
        (append("another"), 1),
        // The driver tells in this thread what is stored.
        (append_after("cold/1", 3), 4),
        (append("cold/2"), 4),
    ];
    for (append, last) in served {
        match poll_once(&mut Box::pin(store.append(append))) {
            Some(answer) => assert_eq!(answer.unwrap().last, last),
            None => panic!("it waits for the actor"),
        }
    }
    held.release().await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_on_a_loaded_state_while_no_actor_can_run() {
    let driver = Arc::new(MemoryDriver::new());
    let store = EventStore::builder().driver(driver).arbiters(1).open().await.unwrap();
    let accounts = store.entities::<Account>();
    within("the first command", accounts.execute("1", Command::Deposit(5))).await.unwrap();
    let held = HeldThread::of(&store).await;
    let at_once = |command| poll_once(&mut Box::pin(accounts.execute("1", command)));
    assert_eq!(at_once(Command::Deposit(2)).unwrap().unwrap().sequence, 2);
    // Events of an append are folded in.
    let append = poll_once(&mut Box::pin(store.append(raw_deposits("account/1", [3]))));
    assert_eq!(append.unwrap().unwrap().last, 3);
    let all = at_once(Command::WithdrawAll).unwrap().unwrap();
    assert_eq!(all.events, [Event::Withdrawn { amount: 10 }]);
    assert!(at_once(Command::Withdraw(1)).unwrap().is_err());
    assert!(at_once(Command::PanicInHandle).unwrap().is_err());
    held.release().await;
    let later = within("a later command", accounts.execute("1", Command::Deposit(4))).await;
    assert_eq!(later.unwrap().sequence, 5);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_redb_while_no_actor_can_run() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("redb:{}", directory.path().display());
    let store = EventStore::builder().url(url).arbiters(1).open().await.unwrap();
    let held = HeldThread::of(&store).await;
    for last in 1..=20 {
        assert_eq!(within("an append", store.append(append("a"))).await.unwrap().last, last);
    }
    held.release().await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_be_awaited_waits_for_the_actor() {
    // A driver that tells nothing in the caller's thread.
    let driver = FaultyDriver::around(MemoryDriver::new());
    let store = EventStore::builder().driver(driver).arbiters(1).open().await.unwrap();
    let held = HeldThread::of(&store).await;
    let asks = start(store.append(append("asks")));
    let looks = start(store.append(append_after("looks", 0).commit_id(Uuid::from_u128(1))));
    let window = start(store.append(append("window").commit_id(Uuid::from_u128(2))));
    let behind: Vec<_> = ["asks", "window"].map(|key| start(store.append(append(key)))).into();
    assert!(!store.exists("asks").await.unwrap() && !store.exists("window").await.unwrap());
    // Nothing has to be asked for this one.
    assert_eq!(within("the one that expects nothing", looks).await.unwrap().last, 1);
    held.release().await;
    assert_eq!(within("the question", asks).await.unwrap().last, 1);
    assert_eq!(within("the window", window).await.unwrap().last, 1);
    for behind in behind {
        assert_eq!(within("the one behind it", behind).await.unwrap().last, 2);
    }
    store.close().await.unwrap();
}
