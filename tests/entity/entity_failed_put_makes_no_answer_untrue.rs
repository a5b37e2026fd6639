//! A put that fails under queued commands: whatever a caller was told (accepted, rejected, a state)
//! is true of the events that are durable.

use std::sync::Arc;
use std::time::Duration;

use crate::support::entities::{
    Account, Command, Overdrawn, in_the_mailbox, one_thread_store, replay, store_over,
};
use crate::support::{chance, history, start, within};
use seriatim::driver::DriverError;
use seriatim::driver::faults::{FaultyDriver, PutFault};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{AppendError, Entities, EventStore, ExecuteError, ExecuteOptions, Sequence};
use uuid::Uuid;

fn broken() -> PutFault {
    PutFault::Fails(DriverError::failed("broken"))
}

#[tokio::test]
async fn a_rejection_that_rested_on_the_failed_put_is_decided_again() {
    let driver = FaultyDriver::around(MemoryDriver::new());
    let store = one_thread_store(driver.clone()).await;
    let accounts = store.entities::<Account>();
    let held = driver.next_put_is_held();
    driver.next_put(broken());

    let first = start(accounts.execute("1", Command::Deposit(1)));
    within("the first put", held.sent()).await;
    in_the_mailbox(&store).await;
    let taken = start(accounts.execute("1", Command::Withdraw(1)));
    // Rejected, if the one before it is written; it is not.
    let next = start(accounts.execute("1", Command::Withdraw(1)));
    let too_much = start(accounts.execute("1", Command::Withdraw(5)));
    in_the_mailbox(&store).await;
    held.release();

    within("the first", first).await.unwrap();
    match within("the one in the failed put", taken).await {
        Err(ExecuteError::Append(AppendError::Driver { .. })) => {}
        other => panic!("not failed: {other:?}"),
    }
    assert_eq!(within("the one behind it", next).await.unwrap().sequence, 2);
    match within("the one that is too much", too_much).await {
        Err(ExecuteError::Rejected(error)) => assert_eq!(error, Overdrawn { balance: 0 }),
        other => panic!("not rejected: {other:?}"),
    }
}

#[tokio::test]
async fn a_deposit_that_failed_is_in_no_later_decision() {
    let driver = FaultyDriver::around(MemoryDriver::new());
    let accounts = store_over(driver.clone()).await.entities::<Account>();
    accounts.execute("1", Command::Deposit(1)).await.unwrap();
    driver.next_put(broken());
    accounts.execute("1", Command::Deposit(100)).await.unwrap_err();
    let error = accounts.execute("1", Command::Withdraw(50)).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Rejected(Overdrawn { balance: 1 })), "{error}");
    assert_eq!(accounts.state("1").await.unwrap().state.balance, 1);
}

#[tokio::test]
async fn an_answer_that_is_not_known_leaves_the_state_to_the_driver() {
    let memory = MemoryDriver::new();
    let driver = FaultyDriver::around(memory.reopen());
    let builder = EventStore::builder()
        .put_deadline(Duration::from_millis(100))
        .put_attempt_timeout(Duration::from_millis(50));
    let accounts = builder.driver(driver.clone()).open().await.unwrap().entities::<Account>();
    accounts.execute("1", Command::Deposit(1)).await.unwrap();

    driver.every_nth_put(1, PutFault::WrittenThenTimeout);
    driver.next_put(PutFault::TimeoutOnly);
    driver.next_put(PutFault::Hangs);
    driver.next_put(PutFault::Hangs);
    let lost = accounts.execute("1", Command::Deposit(10)).await.unwrap_err();
    assert!(
        matches!(lost, ExecuteError::Append(AppendError::Indeterminate { .. })),
        "not indeterminate: {lost}"
    );
    driver.every_nth_put(0, PutFault::TimeoutOnly);
    // Whether or not it landed: what is decided next rests on what the driver holds.
    let durable = history(&store_over(Arc::new(memory.reopen())).await, "account/1").await;
    let balance = replay(&durable).last().unwrap().balance;
    let error = accounts.execute("1", Command::Withdraw(1_000)).await.unwrap_err();
    let ExecuteError::Rejected(error) = error else { panic!("not rejected: {error}") };
    assert_eq!(error, Overdrawn { balance });
}

/// What a caller was told.
enum Told {
    Accepted { commit_id: Uuid, sequence: Sequence, amount: i64 },
    Rejected { balance: u64, amount: u64 },
    NotWritten { commit_id: Uuid },
    State { sequence: Sequence, account: Account },
}

async fn call(accounts: &Entities<Account>, chance: &mut fastrand::Rng) -> Told {
    if chance.u8(..8) == 0 {
        let found = accounts.state("1").await.unwrap();
        return Told::State { sequence: found.sequence, account: found.state };
    }
    let (deposit, amount) = (chance.bool(), chance.u64(1..20));
    let command = if deposit { Command::Deposit(amount) } else { Command::Withdraw(amount) };
    let commit_id = Uuid::new_v4();
    let options = ExecuteOptions::new().commit_id(commit_id);
    match accounts.execute_with("1", command, options).await {
        Ok(executed) => {
            let signed = i64::try_from(amount).unwrap();
            let amount = if deposit { signed } else { -signed };
            Told::Accepted { commit_id, sequence: executed.sequence, amount }
        }
        Err(ExecuteError::Rejected(Overdrawn { balance })) => Told::Rejected { balance, amount },
        Err(ExecuteError::Append(AppendError::Driver { .. })) => Told::NotWritten { commit_id },
        Err(other) => panic!("told {other}"),
    }
}

async fn nothing_told_is_untrue(fault: PutFault) {
    let mut chance = chance();
    let driver = FaultyDriver::around(MemoryDriver::new());
    let store = store_over(driver.clone()).await;
    driver.every_nth_put(3, fault);
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let (accounts, mut chance) = (store.entities::<Account>(), chance.fork());
            tokio::spawn(async move {
                let mut told = Vec::new();
                for _ in 0..25 {
                    told.push(call(&accounts, &mut chance).await);
                }
                told
            })
        })
        .collect();
    let mut told = Vec::new();
    for caller in callers {
        told.extend(within("a caller", caller).await.unwrap());
    }

    let durable = history(&store, "account/1").await;
    let states = replay(&durable);
    let mut accepted = 0;
    for told in told {
        match told {
            Told::Accepted { commit_id, sequence, amount } => {
                accepted += 1;
                let index = usize::try_from(sequence.get()).unwrap();
                assert_eq!(durable[index - 1].commit_id, commit_id);
                let (before, after) = (&states[index - 1], &states[index]);
                assert_eq!(after.balance as i64 - before.balance as i64, amount);
            }
            Told::Rejected { balance, amount } => {
                assert!(balance < amount);
                let was = states.iter().any(|account| account.balance == balance);
                assert!(was, "rejected on {balance}, which the account never held");
            }
            Told::NotWritten { commit_id } => {
                assert!(durable.iter().all(|event| event.commit_id != commit_id));
            }
            Told::State { sequence, account } => {
                assert_eq!(states[usize::try_from(sequence.get()).unwrap()], account);
            }
        }
    }
    assert_eq!(durable.len(), accepted, "every event was told of");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_puts_that_fail() {
    nothing_told_is_untrue(broken()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_puts_that_are_lost_before_they_are_written() {
    nothing_told_is_untrue(PutFault::TimeoutOnly).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_puts_whose_answer_is_lost() {
    nothing_told_is_untrue(PutFault::WrittenThenTimeout).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_puts_that_panic() {
    nothing_told_is_untrue(PutFault::Panics).await;
}
