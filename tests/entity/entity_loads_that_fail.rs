//! A driver that cannot be read when an entity is loaded: everybody whose command rests on it is
//! told, raw appends go on, and the next command loads again.

use std::time::Duration;

use crate::support::entities::{Account, Command, in_the_mailbox, raw_deposits, store_over};
use crate::support::{self, start, within};
use seriatim::driver::DriverError;
use seriatim::driver::faults::{FaultyDriver, ReadFault};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{EventStore, ExecuteError, LoadError};

/// A store with 2,500 deposits of 1 in account/1, that is three pages, and nothing resident.
async fn store(read_deadline: Duration) -> (std::sync::Arc<FaultyDriver>, EventStore) {
    let memory = MemoryDriver::new();
    let seeding = store_over(std::sync::Arc::new(memory.reopen())).await;
    seeding.append(raw_deposits("account/1", vec![1; 2_500])).await.unwrap();
    let driver = FaultyDriver::around(memory);
    let builder = EventStore::builder().arbiters(1).read_deadline(read_deadline);
    let store = builder.driver(driver.clone()).open().await.unwrap();
    (driver, store)
}

async fn told_and_over(fault: ReadFault, good_pages: usize, retryable: bool, says: &str) {
    let (driver, store) = store(Duration::from_millis(200)).await;
    let accounts = store.entities::<Account>();
    driver.next_fetch(good_pages, fault);
    let first = start(accounts.execute("1", Command::Deposit(1)));
    let second = start(accounts.execute("1", Command::Withdraw(1)));
    for (nth, waiting) in [first, second].into_iter().enumerate() {
        match within("an answer", waiting).await {
            Err(ExecuteError::Load(error)) => {
                assert!(matches!(error, LoadError::Driver { .. }), "{error}");
                assert_eq!(error.is_retryable(), retryable);
                support::assert_says(&error, &["account/1", says]);
            }
            // The second may be late, and meet a driver that is well again.
            Ok(_) if nth == 1 => {}
            other => panic!("not told: {other:?}"),
        }
    }
    let executed = within("a command", accounts.execute("1", Command::Deposit(1))).await.unwrap();
    let found = accounts.state("1").await.unwrap();
    assert_eq!(found.sequence, executed.sequence);
    assert!(found.state.balance >= 2_500);
}

#[tokio::test]
async fn a_read_that_fails() {
    let fault = ReadFault::Fails(DriverError::unavailable("not now"));
    told_and_over(fault.clone(), 0, true, "not now").await;
    told_and_over(fault, 2, true, "not now").await;
}

#[tokio::test]
async fn a_read_that_hangs() {
    told_and_over(ReadFault::Hangs, 1, true, "did not answer").await;
}

#[tokio::test]
async fn a_read_that_panics() {
    told_and_over(ReadFault::Panics, 1, false, "panicked").await;
}

#[tokio::test]
async fn raw_appends_behind_a_command_that_cannot_load_go_on() {
    let (driver, store) = store(Duration::from_millis(200)).await;
    let accounts = store.entities::<Account>();
    driver.next_fetch(0, ReadFault::Hangs);
    let command = start(accounts.execute("1", Command::Deposit(1)));
    let append = start(store.append(raw_deposits("account/1", [1]).expect(2_500)));
    in_the_mailbox(&store).await;
    assert!(within("the command", command).await.is_err());
    assert_eq!(within("the append", append).await.unwrap().last, 2_501);
}
