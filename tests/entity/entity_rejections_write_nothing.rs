//! A command that is rejected answers the entity's own error and writes nothing; so does one to
//! which nothing happens.

use crate::support::entities::{Account, Command, Overdrawn, store_over};
use crate::support::{assert_says, history};
use seriatim::driver::faults::FaultyDriver;
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Entities, ExecuteError};

async fn fresh() -> (std::sync::Arc<FaultyDriver>, seriatim::EventStore, Entities<Account>) {
    let driver = FaultyDriver::around(MemoryDriver::new());
    let store = store_over(driver.clone()).await;
    let accounts = store.entities();
    (driver, store, accounts)
}

#[tokio::test]
async fn a_rejection_is_the_entitys_own_error_and_leaves_no_event() {
    let (driver, store, accounts) = fresh().await;
    accounts.execute("1", Command::Deposit(5)).await.unwrap();
    let error = accounts.execute("1", Command::Withdraw(6)).await.unwrap_err();
    assert!(error.is_rejected() && !error.is_conflict() && !error.is_retryable());
    assert_says(&error, &["rejected", "only 5 is there"]);
    let ExecuteError::Rejected(error) = error else { panic!("{error}") };
    assert_eq!(error, Overdrawn { balance: 5 });
    assert_eq!(driver.counts().put_events, 1);
    assert_eq!(history(&store, "account/1").await.len(), 1);
}

#[tokio::test]
async fn an_entity_without_events_can_reject() {
    let (driver, store, accounts) = fresh().await;
    assert!(accounts.execute("1", Command::Withdraw(1)).await.unwrap_err().is_rejected());
    assert_eq!(driver.counts().put_events, 0);
    assert!(!store.exists("account/1").await.unwrap());
    assert_eq!(accounts.execute("1", Command::Deposit(1)).await.unwrap().sequence, 1);
}

#[tokio::test]
async fn a_command_to_which_nothing_happens_is_no_error() {
    let (driver, store, accounts) = fresh().await;
    accounts.execute("1", Command::Deposit(5)).await.unwrap();
    let executed = accounts.execute("1", Command::Look).await.unwrap();
    assert!(executed.appended.is_none() && executed.events.is_empty());
    assert_eq!(executed.sequence, 1);
    assert_eq!(driver.counts().put_events, 1);
    assert_eq!(history(&store, "account/1").await.len(), 1);
}
