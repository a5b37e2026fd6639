//! Commands on an entity are decided one after another, each on a state that includes those before
//! it, and raw appends to the same key stand in the same queue.

use crate::support::entities::{
    Account, Command, Overdrawn, in_the_mailbox, one_thread_store, raw_deposits, replayed,
    store_over,
};
use crate::support::{self, history, start, within};
use seriatim::driver::faults::FaultyDriver;
use seriatim::driver::memory::MemoryDriver;
use seriatim::{AppendError, ExecuteError, NewEvent};

#[tokio::test]
async fn commands_that_wait_are_decided_in_order_and_committed_together() {
    let driver = FaultyDriver::around(MemoryDriver::new());
    let store = one_thread_store(driver.clone()).await;
    let accounts = store.entities::<Account>();
    let held = driver.next_put_is_held();

    let first = start(accounts.execute("1", Command::Deposit(10)));
    within("the first put", held.sent()).await;
    in_the_mailbox(&store).await;
    let taken = start(accounts.execute("1", Command::Withdraw(10)));
    let refused = start(accounts.execute("1", Command::Withdraw(1)));
    let filled = start(accounts.execute("1", Command::Deposit(5)));
    let taken_again = start(accounts.execute("1", Command::Withdraw(5)));
    in_the_mailbox(&store).await;
    held.release();

    assert_eq!(within("the first", first).await.unwrap().sequence, 1);
    assert_eq!(within("the second", taken).await.unwrap().sequence, 2);
    match within("the third", refused).await {
        Err(ExecuteError::Rejected(error)) => assert_eq!(error, Overdrawn { balance: 0 }),
        other => panic!("not rejected: {other:?}"),
    }
    assert_eq!(within("the fourth", filled).await.unwrap().sequence, 3);
    assert_eq!(within("the fifth", taken_again).await.unwrap().sequence, 4);
    assert_eq!(driver.counts().put_events, 2, "what waited goes together");
}

#[tokio::test]
async fn raw_appends_and_commands_stand_in_one_queue() {
    let driver = FaultyDriver::around(MemoryDriver::new());
    let store = one_thread_store(driver.clone()).await;
    let accounts = store.entities::<Account>();
    let held = driver.next_put_is_held();

    let first = start(accounts.execute("1", Command::Deposit(1)));
    within("the first put", held.sent()).await;
    in_the_mailbox(&store).await;
    let raw = start(store.append(raw_deposits("account/1", [7]).expect(1)));
    let rests_on_it = start(accounts.execute("1", Command::Withdraw(8)));
    let stale = start(store.append(raw_deposits("account/1", [100]).expect(2)));
    let last = start(accounts.execute("1", Command::Withdraw(1)));
    in_the_mailbox(&store).await;
    held.release();

    within("the first", first).await.unwrap();
    assert_eq!(within("the raw append", raw).await.unwrap().last, 2);
    assert_eq!(within("the command behind it", rests_on_it).await.unwrap().sequence, 3);
    match within("the stale append", stale).await {
        Err(AppendError::Conflict { actual, .. }) => assert_eq!(actual, 3),
        other => panic!("no conflict: {other:?}"),
    }
    assert!(within("the last", last).await.unwrap_err().is_rejected());
    assert_eq!(replayed(&history(&store, "account/1").await).balance, 0);
}

#[tokio::test]
async fn a_raw_append_reaches_a_warm_state_without_a_read() {
    let driver = FaultyDriver::around(MemoryDriver::new());
    let store = store_over(driver.clone()).await;
    let accounts = store.entities::<Account>();
    accounts.execute("1", Command::Deposit(1)).await.unwrap();
    driver.take_counts();

    store.append(raw_deposits("account/1", [2, 3])).await.unwrap();
    accounts.execute("1", Command::Withdraw(6)).await.unwrap();

    let counts = driver.counts();
    assert_eq!((counts.total(), counts.put_events), (2, 2), "{counts:?}");
}

#[tokio::test]
async fn commands_and_raw_appends_of_many_callers_add_up() {
    let store = store_over(std::sync::Arc::new(MemoryDriver::new())).await;
    let callers = (0..16).map(|caller| {
        let (store, accounts) = (store.clone(), store.entities::<Account>());
        tokio::spawn(async move {
            for _ in 0..25 {
                match caller % 2 {
                    0 => drop(accounts.execute("1", Command::Deposit(2)).await.unwrap()),
                    _ => drop(store.append(raw_deposits("account/1", [3])).await.unwrap()),
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        within("a caller", caller).await.unwrap();
    }
    let found = store.entities::<Account>().state("1").await.unwrap();
    assert_eq!(found.sequence, 400);
    assert_eq!(found.state, Account { balance: 200 * 2 + 200 * 3, events: 400 });
    let after = store.entities::<Account>().execute("1", Command::Withdraw(1_001)).await;
    assert!(matches!(after, Err(ExecuteError::Rejected(Overdrawn { balance: 1_000 }))));
}

#[tokio::test]
async fn an_append_that_the_entity_cannot_read_spoils_no_neighbour() {
    let driver = FaultyDriver::around(MemoryDriver::new());
    let store = one_thread_store(driver.clone()).await;
    let accounts = store.entities::<Account>();
    let held = driver.next_put_is_held();

    let first = start(accounts.execute("1", Command::Deposit(1)));
    within("the first put", held.sent()).await;
    in_the_mailbox(&store).await;
    let before = start(accounts.execute("1", Command::Deposit(2)));
    let odd = seriatim::Append::to("account/1").event(NewEvent::raw("Unheard", "{}"));
    let odd = start(store.append(odd));
    let behind = start(accounts.execute("1", Command::Deposit(4)));
    in_the_mailbox(&store).await;
    held.release();

    within("the first", first).await.unwrap();
    within("the command before", before).await.unwrap();
    assert_eq!(within("the append itself", odd).await.unwrap().last, 3);
    let error = within("the command behind", behind).await.unwrap_err();
    support::assert_says(&error, &["account/1", "3", "Unheard"]);
}
