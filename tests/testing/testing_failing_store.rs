//! The store that fails on demand: each failure looks to the application as a real driver's would,
//! meets one append, and is over.

use std::time::Duration;

use crate::support::entities::{self, Account, Command, Overdrawn, raw_deposits};
use crate::support::{append_after, history, start, within};
use seriatim::driver::DriverError;
use seriatim::testing::{FailingStore, Failure};
use seriatim::{AppendError, EventStore, ExecuteError, NewEvent, TransactError};

fn deposit(amount: u64) -> NewEvent {
    NewEvent::raw("Deposited", format!(r#"{{"amount":{amount}}}"#))
}

#[tokio::test]
async fn an_append_that_fails_wrote_nothing_and_the_next_one_goes_well() {
    let failing = FailingStore::open().await.unwrap();
    for (failure, retryable) in [(Failure::Fails, false), (Failure::Unavailable, true)] {
        failing.next_append(failure);
        let error = failing.store().append(append_after("a", 0)).await.unwrap_err();
        assert!(matches!(error, AppendError::Driver { .. }), "{error}");
        assert_eq!(error.is_retryable(), retryable);
    }
    failing.store().append(append_after("a", 0)).await.unwrap();
    assert_eq!(history(failing.store(), "a").await.len(), 1);
}

#[tokio::test]
async fn an_append_that_is_overtaken_meets_a_conflict() {
    let failing = FailingStore::open().await.unwrap();
    failing.store().append(append_after("a", 0)).await.unwrap();
    failing.next_append(Failure::Overtaken(deposit(1)));
    let error = failing.store().append(append_after("a", 1)).await.unwrap_err();
    let AppendError::Conflict { actual, .. } = &error else { panic!("{error}") };
    assert_eq!(*actual, 2);
    let durable = history(failing.store(), "a").await;
    assert_eq!((durable.len(), durable[1].event_type()), (2, "Deposited"));
}

#[tokio::test]
async fn commands_and_transactions_that_are_overtaken_are_decided_again() {
    let failing = FailingStore::open().await.unwrap();
    let accounts = failing.store().entities::<Account>();
    accounts.execute("1", Command::Deposit(10)).await.unwrap();
    failing.next_append(Failure::Overtaken(NewEvent::raw("Withdrawn", r#"{"amount":10}"#)));
    let error = accounts.execute("1", Command::Withdraw(10)).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Rejected(Overdrawn { balance: 0 })), "{error}");

    failing.next_append(Failure::Overtaken(deposit(5)));
    let all = |account: std::sync::Arc<Account>| async move {
        Ok::<_, Overdrawn>(vec![entities::Event::Withdrawn { amount: account.balance }])
    };
    accounts.execute("1", Command::Deposit(1)).await.unwrap();
    failing.next_append(Failure::Overtaken(deposit(7)));
    let executed = accounts.transact("1", all).await.unwrap();
    assert_eq!(executed.events, [entities::Event::Withdrawn { amount: 13 }]);
}

#[tokio::test]
async fn a_lost_answer_and_a_lost_request_look_the_same_and_are_not() {
    for (failure, written) in [(Failure::LostAnswer, true), (Failure::LostRequest, false)] {
        let failing = FailingStore::open().await.unwrap();
        failing.next_append(failure);
        let append = || raw_deposits("account/1", [3]);
        let error = failing.store().append(append()).await.unwrap_err();
        let AppendError::Indeterminate { commit_id, .. } = error else { panic!("{error}") };
        assert_eq!(failing.store().exists("account/1").await.unwrap(), written);

        let again = failing.store().append(append().commit_id(commit_id)).await.unwrap();
        assert_eq!(again.repeated, written);
        assert_eq!(history(failing.store(), "account/1").await.len(), 1);
    }
}

#[tokio::test]
async fn a_hanging_append_is_given_up_at_the_stores_deadline() {
    let builder = EventStore::builder().put_deadline(Duration::from_millis(50));
    let failing = FailingStore::open_with(builder).await.unwrap();
    failing.next_append(Failure::Hangs);
    let appending = start(failing.store().append(append_after("a", 0)));
    let error = within("the deadline", appending).await.unwrap_err();
    assert!(matches!(error, AppendError::Indeterminate { .. }), "{error}");
    failing.store().append(append_after("a", 0)).await.unwrap();
}

#[tokio::test]
async fn reads_fail_on_demand() {
    let failing = FailingStore::open().await.unwrap();
    let accounts = failing.store().entities::<Account>();
    accounts.execute("1", Command::Deposit(1)).await.unwrap();
    let broken = || failing.next_read(DriverError::unavailable("not now"));
    broken();
    assert!(failing.store().read("account/1").collect().await.unwrap_err().is_retryable());
    broken();
    assert!(accounts.state("1").await.unwrap_err().is_retryable());
    broken();
    let nothing = |_| async { Ok::<_, Overdrawn>(Vec::new()) };
    let error = accounts.transact("1", nothing).await.unwrap_err();
    assert!(matches!(error, TransactError::Load(_)) && error.is_retryable(), "{error}");
    assert_eq!(accounts.state("1").await.unwrap().state.balance, 1);
}

#[tokio::test]
async fn elsewhere_nothing_fails() {
    let failing = FailingStore::open().await.unwrap();
    let elsewhere = failing.elsewhere().await.unwrap();
    failing.next_append(Failure::Fails);
    elsewhere.append(append_after("a", 0)).await.unwrap();
    assert!(failing.store().append(append_after("a", 1)).await.is_err());
    elsewhere.append(append_after("a", 1)).await.unwrap();
    assert_eq!(history(failing.store(), "a").await.len(), 2);
    within("closing", failing.store().close()).await.unwrap();
    elsewhere.append(append_after("a", 2)).await.unwrap();
}

#[tokio::test]
async fn a_checkpoint_that_fails_ends_the_consumer_and_its_events_come_again() {
    let failing = FailingStore::open().await.unwrap();
    let handled = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let run = || {
        let handled = handled.clone();
        failing.store().consumer("c").checkpoint_every(1).run(move |_| {
            handled.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            async { Ok::<_, String>(()) }
        })
    };
    // The first record is that of the beginning.
    let first = run();
    first.handle().stop();
    within("the first run", first).await.unwrap();
    failing.store().append(append_after("a", 0)).await.unwrap();
    // It is tried once more when the consumer ends.
    failing.next_checkpoint(DriverError::failed("on demand"));
    failing.next_checkpoint(DriverError::failed("on demand"));
    let failed = within("a checkpoint that fails", run()).await.unwrap_err();
    assert!(matches!(&failed, seriatim::ConsumerError::Checkpoint { .. }), "{failed}");
    let again = run();
    let handle = again.handle();
    let running = tokio::spawn(again);
    within("the event", handle.wait_for(1, Duration::from_secs(30))).await.unwrap();
    handle.stop();
    within("the end", running).await.unwrap().unwrap();
    assert_eq!(handled.load(std::sync::atomic::Ordering::SeqCst), 2);
}
