//! A transaction is repeatable where it says so: with a commit id of the caller's own it takes
//! effect once, from any process; without one, an unknown outcome is not called retryable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::entities::{Account, Event, raw_deposits, store_over};
use crate::support::history;
use seriatim::driver::memory::MemoryDriver;
use seriatim::testing::{FailingStore, Failure};
use seriatim::{AppendError, EventError, ExecuteOptions, TransactError, TransactOptions};
use uuid::Uuid;

async fn deposit(_: Arc<Account>) -> Result<Vec<Event>, String> {
    Ok(vec![Event::Deposited { amount: 5 }])
}

/// A store that tells `Indeterminate` soon.
async fn failing() -> FailingStore {
    let soon = Duration::from_millis(100);
    let builder = seriatim::EventStore::builder().put_deadline(soon).put_attempt_timeout(soon / 2);
    FailingStore::open_with(builder).await.unwrap()
}

#[tokio::test]
async fn a_loop_over_is_retryable_deposits_once() {
    for own in [false, true] {
        let failing = failing().await;
        let accounts = failing.store().entities::<Account>();
        let options = match own {
            true => TransactOptions::new().commit_id(Uuid::new_v4()),
            false => TransactOptions::new(),
        };
        failing.next_append(Failure::LostAnswer);
        let mut sent = 0;
        let answer = loop {
            sent += 1;
            match accounts.transact_with("1", options.clone(), deposit).await {
                Err(error) if error.is_retryable() && sent < 10 => {}
                answer => break answer,
            }
        };
        // A lost answer may also be found out by the store itself.
        if let Err(error) = &answer {
            assert!(!own, "{error}");
            let indeterminate = matches!(
                error,
                TransactError::Append { source: AppendError::Indeterminate { .. }, .. }
            );
            assert!(indeterminate, "{error}");
        }
        assert_eq!(accounts.state("1").await.unwrap().state.balance, 5, "own id: {own}");
    }
}

#[tokio::test]
async fn an_unknown_outcome_is_retryable_only_under_an_id_of_the_callers_own() {
    let failing = failing().await;
    let accounts = failing.store().entities::<Account>();
    failing.next_append(Failure::Hangs);
    let error = accounts.transact("1", deposit).await.unwrap_err();
    let TransactError::Append { source: AppendError::Indeterminate { .. }, commit_id, .. } = error
    else {
        panic!("{error}")
    };
    assert!(!error.is_retryable(), "a retry may deposit twice");
    let own = TransactOptions::new().commit_id(commit_id);
    failing.next_append(Failure::Hangs);
    let again = accounts.transact_with("2", own, deposit).await.unwrap_err();
    assert!(again.is_retryable(), "{again}");
}

#[tokio::test]
async fn a_repetition_decides_nothing_and_gets_the_first_result() {
    let memory = MemoryDriver::new();
    let here = store_over(Arc::new(memory.reopen())).await.entities::<Account>();
    let there = store_over(Arc::new(memory.reopen())).await.entities::<Account>();
    let options = || TransactOptions::new().commit_id(Uuid::from_u128(7));
    let first = here.transact_with("1", options(), deposit).await.unwrap();
    here.transact("1", deposit).await.unwrap();
    let decided = AtomicU32::new(0);
    for accounts in [&here, &there] {
        let again = accounts.transact_with("1", options(), |account| {
            decided.fetch_add(1, Ordering::SeqCst);
            deposit(account)
        });
        let again = again.await.unwrap();
        assert_eq!((again.sequence, &again.events), (first.sequence, &first.events));
        assert!(again.appended.unwrap().repeated);
    }
    assert_eq!(decided.load(Ordering::SeqCst), 0);
    assert_eq!(here.state("1").await.unwrap().state.balance, 10);
    // A command knows the id too.
    let options = ExecuteOptions::new().commit_id(Uuid::from_u128(7));
    let command = crate::support::entities::Command::Deposit(5);
    assert!(here.execute_with("1", command, options).await.unwrap().appended.unwrap().repeated);
}

#[tokio::test]
async fn a_conflict_with_the_same_transaction_elsewhere_is_a_repetition() {
    let memory = MemoryDriver::new();
    let store = store_over(Arc::new(memory.reopen())).await;
    let there = store_over(Arc::new(memory.reopen())).await.entities::<Account>();
    let accounts = store.entities::<Account>();
    let options = || TransactOptions::new().commit_id(Uuid::from_u128(9));
    let raced = AtomicU32::new(0);
    let answer = accounts.transact_with("1", options(), |account| {
        let (store, there, first) = (&store, &there, raced.fetch_add(1, Ordering::SeqCst) == 0);
        async move {
            if first {
                // Somebody else deposits, and then the same request arrives in another process.
                store.append(raw_deposits("account/1", [1])).await.unwrap();
                there.transact_with("1", options(), deposit).await.unwrap();
            }
            deposit(account).await
        }
    });
    assert!(answer.await.unwrap().appended.unwrap().repeated);
    assert_eq!(accounts.state("1").await.unwrap().state.balance, 6);
}

#[tokio::test]
async fn metadata_goes_with_the_events() {
    let store = store_over(Arc::new(MemoryDriver::new())).await;
    let accounts = store.entities::<Account>();
    let options = TransactOptions::new()
        .metadata(&serde_json::json!({ "user": "ada" }))
        .correlation_id("request-7")
        .causation_id("event-3");
    accounts.transact_with("1", options, deposit).await.unwrap();
    let metadata = history(&store, "account/1").await[0].metadata.clone().unwrap();
    let expected = r#"{"causation_id":"event-3","correlation_id":"request-7","user":"ada"}"#;
    assert_eq!(metadata.as_str(), expected);

    let error = accounts.transact_with("1", TransactOptions::new().metadata(&5), deposit).await;
    let Err(TransactError::Append { source: AppendError::InvalidEvent { source, .. }, .. }) = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(source, EventError::MetadataNotAnObject);
}
