//! A command with a commit id of the caller's own is executed once, however often and from
//! whichever process it comes; who repeats it gets the first result.

use std::sync::Arc;

use crate::support::entities::{
    Account, Command, Event, in_the_mailbox, one_thread_store, raw_deposits, replayed, store_over,
};
use crate::support::{history, start, within};
use seriatim::driver::faults::FaultyDriver;
use seriatim::driver::memory::MemoryDriver;
use seriatim::{AppendError, ExecuteError, ExecuteOptions};
use uuid::Uuid;

fn with(commit_id: Uuid) -> ExecuteOptions {
    ExecuteOptions::new().commit_id(commit_id)
}

#[tokio::test]
async fn a_repetition_gets_the_first_result_from_any_process() {
    let memory = MemoryDriver::new();
    let here = store_over(Arc::new(memory.reopen())).await.entities::<Account>();
    let there = store_over(Arc::new(memory.reopen())).await.entities::<Account>();
    let id = Uuid::new_v4();
    here.execute("1", Command::Deposit(7)).await.unwrap();
    let first = here.execute_with("1", Command::Deposit(10), with(id)).await.unwrap();
    assert!(!first.appended.unwrap().repeated);
    here.execute("1", Command::Deposit(7)).await.unwrap();

    for accounts in [&here, &there, &here] {
        let again = accounts.execute_with("1", Command::Deposit(10), with(id)).await.unwrap();
        let appended = again.appended.unwrap();
        assert!(appended.repeated);
        assert_eq!((appended.first.get(), appended.last.get(), appended.commit_id), (2, 2, id));
        assert_eq!(again.events, [Event::Deposited { amount: 10 }]);
    }
    assert_eq!(there.state("1").await.unwrap().state.balance, 24);
}

#[tokio::test]
async fn a_repetition_is_not_rejected_on_a_state_that_another_process_left_behind() {
    let memory = MemoryDriver::new();
    let here = store_over(Arc::new(memory.reopen())).await.entities::<Account>();
    let there = store_over(Arc::new(memory.reopen())).await.entities::<Account>();
    // Warm on both sides, window and state; then only there.
    here.execute_with("1", Command::Deposit(1), with(Uuid::new_v4())).await.unwrap();
    there.execute_with("1", Command::Deposit(1), with(Uuid::new_v4())).await.unwrap();
    here.execute("1", Command::Deposit(100)).await.unwrap();
    let id = Uuid::new_v4();
    let first = here.execute_with("1", Command::Withdraw(90), with(id)).await.unwrap();

    let again = there.execute_with("1", Command::Withdraw(90), with(id)).await.unwrap();
    assert!(again.appended.unwrap().repeated);
    assert_eq!(again.sequence, first.sequence);
    let error = there.execute_with("1", Command::Withdraw(90), with(Uuid::new_v4())).await;
    assert!(error.unwrap_err().is_rejected());
}

#[tokio::test]
async fn a_repetition_that_would_be_decided_otherwise_gets_what_was_decided_first() {
    let memory = MemoryDriver::new();
    let here = store_over(Arc::new(memory.reopen())).await.entities::<Account>();
    let there = store_over(Arc::new(memory.reopen())).await.entities::<Account>();
    here.execute("1", Command::Deposit(1)).await.unwrap();
    there.execute_with("1", Command::Deposit(1), with(Uuid::new_v4())).await.unwrap();
    here.execute("1", Command::Deposit(100)).await.unwrap();
    let id = Uuid::new_v4();
    here.execute_with("1", Command::WithdrawAll, with(id)).await.unwrap();

    let again = there.execute_with("1", Command::WithdrawAll, with(id)).await.unwrap();
    assert!(again.appended.unwrap().repeated);
    assert_eq!(again.events, [Event::Withdrawn { amount: 102 }]);
}

#[tokio::test]
async fn repetitions_that_wait_for_the_same_put_are_executed_once() {
    let driver = FaultyDriver::around(MemoryDriver::new());
    let store = one_thread_store(driver.clone()).await;
    let accounts = store.entities::<Account>();
    let held = driver.next_put_is_held();
    let first = start(accounts.execute("1", Command::Deposit(1)));
    within("the first put", held.sent()).await;
    in_the_mailbox(&store).await;
    let id = Uuid::new_v4();
    let waiting: Vec<_> =
        (0..4).map(|_| start(accounts.execute_with("1", Command::Deposit(10), with(id)))).collect();
    in_the_mailbox(&store).await;
    held.release();
    within("the first", first).await.unwrap();
    let mut repeated = Vec::new();
    for waiting in waiting {
        let executed = within("a repetition", waiting).await.unwrap();
        assert_eq!(executed.sequence, 2);
        repeated.push(executed.appended.unwrap().repeated);
    }
    assert_eq!(repeated, [false, true, true, true]);
    assert_eq!(accounts.state("1").await.unwrap().state.balance, 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_sent_from_two_processes_at_once_are_executed_once() {
    let memory = MemoryDriver::new();
    let stores =
        [store_over(Arc::new(memory.reopen())).await, store_over(Arc::new(memory.reopen())).await];
    let ids: Vec<Uuid> = (0..60).map(|_| Uuid::new_v4()).collect();
    let mut callers = Vec::new();
    for (nth, id) in ids.iter().enumerate() {
        for store in &stores {
            let (accounts, id) = (store.entities::<Account>(), *id);
            let amount = nth as u64 + 1;
            callers.push(tokio::spawn(async move {
                let executed = accounts.execute_with("1", Command::Deposit(amount), with(id)).await;
                let appended = executed.unwrap().appended.unwrap();
                (appended.commit_id, appended.first.get(), appended.repeated)
            }));
        }
    }
    let mut told = Vec::new();
    for caller in callers {
        told.push(within("a caller", caller).await.unwrap());
    }
    let durable = history(&stores[0], "account/1").await;
    assert_eq!(durable.len(), ids.len());
    assert_eq!(replayed(&durable).balance, (1..=60).sum::<u64>());
    for (id, first, _) in &told {
        assert_eq!(durable[usize::try_from(*first).unwrap() - 1].commit_id, *id);
    }
    for id in &ids {
        let firsts = told.iter().filter(|(told, _, repeated)| told == id && !repeated).count();
        assert_eq!(firsts, 1, "{id}: exactly one of both executed it");
    }
}

#[tokio::test]
async fn an_id_that_a_rejected_command_carried_can_be_used_again() {
    let accounts = store_over(Arc::new(MemoryDriver::new())).await.entities::<Account>();
    let id = Uuid::new_v4();
    let rejected = accounts.execute_with("1", Command::Withdraw(5), with(id)).await;
    assert!(rejected.unwrap_err().is_rejected());
    accounts.execute("1", Command::Deposit(5)).await.unwrap();
    let executed = accounts.execute_with("1", Command::Withdraw(5), with(id)).await.unwrap();
    assert!(!executed.appended.unwrap().repeated);
}

#[tokio::test]
async fn the_id_of_a_raw_append_is_known_to_commands_and_the_other_way_round() {
    let store = store_over(Arc::new(MemoryDriver::new())).await;
    let accounts = store.entities::<Account>();
    let id = Uuid::new_v4();
    store.append(raw_deposits("account/1", [1, 2]).commit_id(id)).await.unwrap();
    let reused = accounts.execute_with("1", Command::Deposit(9), with(id)).await;
    let is_reused =
        |error| matches!(error, ExecuteError::Append(AppendError::CommitIdReused { .. }));
    assert!(reused.is_err_and(is_reused), "two deposits are not this command's");
    let one = Uuid::new_v4();
    store.append(raw_deposits("account/1", [3]).commit_id(one)).await.unwrap();
    let executed = accounts.execute_with("1", Command::Deposit(3), with(one)).await.unwrap();
    assert_eq!(executed.events, [Event::Deposited { amount: 3 }]);
    assert!(executed.appended.unwrap().repeated);

    let other = Uuid::new_v4();
    accounts.execute_with("1", Command::Deposit(9), with(other)).await.unwrap();
    let same = store.append(raw_deposits("account/1", [9]).commit_id(other)).await.unwrap();
    assert!(same.repeated);
    let different = store.append(raw_deposits("account/1", [8]).commit_id(other)).await;
    assert!(matches!(different, Err(AppendError::CommitIdReused { .. })));
}

#[tokio::test]
async fn a_command_whose_fate_is_not_known_is_repeated_with_the_id_it_is_told() {
    let driver = FaultyDriver::around(MemoryDriver::new());
    let short = std::time::Duration::from_millis(50);
    let builder = seriatim::EventStore::builder().put_deadline(short).put_attempt_timeout(short);
    let store = builder.driver(driver.clone()).open().await.unwrap();
    let accounts = store.entities::<Account>();
    let late = driver.next_put_lands_late();
    driver.every_nth_put(1, seriatim::driver::faults::PutFault::TimeoutOnly);

    let lost = within("the command", accounts.execute("1", Command::Deposit(5))).await;
    let Err(ExecuteError::Append(AppendError::Indeterminate { commit_id, .. })) = lost else {
        panic!("{lost:?}")
    };
    driver.every_nth_put(0, seriatim::driver::faults::PutFault::TimeoutOnly);
    within("the late put", late.land()).await.unwrap();
    let again = accounts.execute_with("1", Command::Deposit(5), with(commit_id)).await.unwrap();
    assert!(again.appended.unwrap().repeated);
    assert_eq!(accounts.state("1").await.unwrap().state.balance, 5);
}
