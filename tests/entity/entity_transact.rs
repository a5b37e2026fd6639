//! Decisions that await something: load, decide, append with exact expectation, and again when
//! somebody else came first; a bounded number of times, reading only what is new.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::support::entities::{
    Account, Command, Event, Overdrawn, raw_deposits, replayed, store_over,
};
use crate::support::{assert_says, history, within};
use seriatim::driver::DriverError;
use seriatim::driver::faults::{FaultyDriver, PutFault};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{AppendError, Entities, TransactError, TransactOptions};

/// Somebody that must be asked before a deposit.
async fn ask_the_bank(account: Arc<Account>) -> Result<Vec<Event>, Overdrawn> {
    tokio::task::yield_now().await;
    match account.balance {
        balance if balance >= 1_000 => Err(Overdrawn { balance }),
        balance => Ok(vec![Event::Deposited { amount: balance + 1 }]),
    }
}

fn hasty(attempts: u32) -> TransactOptions {
    TransactOptions::new()
        .attempts(attempts)
        .pauses(Duration::from_micros(10), Duration::from_micros(100))
}

async fn accounts() -> (Arc<FaultyDriver>, Entities<Account>) {
    let driver = FaultyDriver::around(MemoryDriver::new());
    let accounts = store_over(driver.clone()).await.entities();
    (driver, accounts)
}

#[tokio::test]
async fn its_future_can_be_spawned() {
    let (_driver, accounts) = accounts().await;
    let transacting = tokio::spawn(async move {
        let executed = accounts.transact("1", ask_the_bank).await?;
        accounts.transact("1", ask_the_bank).await?;
        Ok::<_, TransactError<Overdrawn>>((executed, accounts.state("1").await.unwrap()))
    });
    let (executed, found) = within("a transaction", transacting).await.unwrap().unwrap();
    assert_eq!((executed.sequence.get(), executed.appended.unwrap().last.get()), (1, 1));
    assert_eq!(executed.events, [Event::Deposited { amount: 1 }]);
    assert_eq!(found.state.balance, 3);
}

#[tokio::test]
async fn it_decides_again_on_what_is_new_when_somebody_else_came_first() {
    let (driver, accounts) = accounts().await;
    let key = accounts.key("1").unwrap();
    let store = store_over(driver.clone()).await;
    store.append(raw_deposits("account/1", [1; 500])).await.unwrap();
    driver.take_counts();

    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let decide = |account: Arc<Account>| {
        let (store, seen, key) = (store.clone(), seen.clone(), key.clone());
        async move {
            seen.lock().unwrap().push(account.balance);
            if seen.lock().unwrap().len() <= 3 {
                store.append(raw_deposits(key.as_str(), [10])).await.unwrap();
            }
            drop(account);
            Ok::<_, Overdrawn>(vec![Event::Withdrawn { amount: 5 }])
        }
    };
    let executed = accounts.transact_with("1", hasty(10), decide).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [500, 510, 520, 530]);
    assert_eq!(executed.sequence, 504);
    // The history once, and then only its tail.
    let fetched = driver.counts().events_fetched;
    assert!((500..520).contains(&fetched), "{fetched} events were read");
}

#[tokio::test]
async fn it_gives_up_after_so_many_attempts_and_says_how_many() {
    let (_driver, accounts) = accounts().await;
    let decided = Arc::new(AtomicU64::new(0));
    let decide = |_| {
        let (others, decided) = (accounts.clone(), decided.clone());
        async move {
            decided.fetch_add(1, Ordering::SeqCst);
            others.execute("1", Command::Deposit(1)).await.unwrap();
            Ok::<_, Overdrawn>(vec![Event::Deposited { amount: 100 }])
        }
    };
    let error = accounts.transact_with("1", hasty(5), decide).await.unwrap_err();
    assert!(error.is_conflict() && error.is_retryable());
    assert_says(&error, &["account/1", "5 times"]);
    let TransactError::TooManyConflicts { attempts, .. } = error else { panic!("{error}") };
    assert_eq!((attempts, decided.load(Ordering::SeqCst)), (5, 5));
    assert_eq!(accounts.state("1").await.unwrap().state.balance, 5);
}

#[tokio::test]
async fn a_rejection_and_a_decision_for_nothing_write_nothing() {
    let (driver, accounts) = accounts().await;
    let error = accounts
        .transact("1", |account| async move { Err(Overdrawn { balance: account.balance }) })
        .await
        .unwrap_err();
    assert!(matches!(error, TransactError::Rejected(Overdrawn { balance: 0 })), "{error}");
    let nothing = |_| async { Ok::<_, Overdrawn>(Vec::new()) };
    let executed = accounts.transact("1", nothing).await.unwrap();
    assert!(executed.appended.is_none());
    assert_eq!((executed.sequence.get(), driver.counts().put_events), (0, 0));
}

#[tokio::test]
async fn a_driver_that_fails_is_not_taken_for_a_conflict() {
    let (driver, accounts) = accounts().await;
    driver.next_put(PutFault::Fails(DriverError::failed("broken")));
    let error = accounts.transact("1", ask_the_bank).await.unwrap_err();
    let TransactError::Append { source: AppendError::Driver { .. }, .. } = &error else {
        panic!("{error}")
    };
    assert!(!error.is_conflict());
    assert_says(&error, &["account/1", "broken"]);
    assert_eq!(driver.counts().put_events, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_and_commands_of_many_callers_add_up() {
    let memory = MemoryDriver::new();
    let stores = [store_over(Arc::new(memory.reopen())).await, store_over(Arc::new(memory)).await];
    let callers: Vec<_> = (0..8)
        .map(|caller: usize| {
            let accounts = stores[caller % 2].entities::<Account>();
            tokio::spawn(async move {
                for _ in 0..15 {
                    let add =
                        |_| async { Ok::<_, Overdrawn>(vec![Event::Deposited { amount: 1 }]) };
                    accounts.transact_with("1", hasty(10_000), add).await.unwrap();
                    accounts.execute("1", Command::Deposit(1_000)).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        within("a caller", caller).await.unwrap();
    }
    let account = replayed(&history(&stores[0], "account/1").await);
    assert_eq!(account, Account { balance: 120 * 1_001, events: 240 });
}
