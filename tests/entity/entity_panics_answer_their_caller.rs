//! A panic in the entity's own code answers the caller whose command it was, and nobody else: the
//! state is folded again, and the commands beside it are decided as if it had not been.

use crate::support::entities::{
    Account, Command, in_the_mailbox, one_thread_store, replayed, store_over,
};
use crate::support::{assert_says, history, start, within};
use seriatim::driver::faults::FaultyDriver;
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, ExecuteError, LoadError, NewEvent};

#[tokio::test]
async fn a_panic_answers_that_caller_and_the_state_is_folded_again() {
    let driver = FaultyDriver::around(MemoryDriver::new());
    let accounts = store_over(driver.clone()).await.entities::<Account>();
    accounts.execute("1", Command::Deposit(5)).await.unwrap();
    for command in [Command::PanicInHandle, Command::PanicInApply] {
        driver.take_counts();
        let error = accounts.execute("1", command).await.unwrap_err();
        assert!(matches!(error, ExecuteError::Panicked { .. }), "{command:?}: {error}");
        assert_says(&error, &["account/1", "panicked"]);
        accounts.execute("1", Command::Withdraw(1)).await.unwrap();
        let counts = driver.take_counts();
        assert_eq!((counts.fetch_events, counts.put_events), (1, 1), "{command:?}: {counts:?}");
    }
    assert_eq!(accounts.state("1").await.unwrap().state.balance, 3);
}

#[tokio::test]
async fn the_neighbours_of_a_panic_are_not_harmed() {
    let driver = FaultyDriver::around(MemoryDriver::new());
    let store = one_thread_store(driver.clone()).await;
    let accounts = store.entities::<Account>();
    let held = driver.next_put_is_held();
    let first = start(accounts.execute("1", Command::Deposit(1)));
    within("the first put", held.sent()).await;
    in_the_mailbox(&store).await;
    let before = start(accounts.execute("1", Command::Deposit(10)));
    let in_handle = start(accounts.execute("1", Command::PanicInHandle));
    let between = start(accounts.execute("1", Command::Withdraw(11)));
    let in_apply = start(accounts.execute("1", Command::PanicInApply));
    let behind = start(accounts.execute("1", Command::Withdraw(1)));
    in_the_mailbox(&store).await;
    held.release();

    assert_eq!(within("the first", first).await.unwrap().sequence, 1);
    assert_eq!(within("the one before", before).await.unwrap().sequence, 2);
    assert_eq!(within("the one between", between).await.unwrap().sequence, 3);
    assert!(within("the one behind", behind).await.unwrap_err().is_rejected());
    for panicked in [in_handle, in_apply] {
        let error = within("a panic", panicked).await.unwrap_err();
        assert!(matches!(error, ExecuteError::Panicked { .. }), "{error}");
    }
    let durable = history(&store, "account/1").await;
    assert_eq!((durable.len(), replayed(&durable).balance), (3, 0));
}

#[tokio::test]
async fn a_stored_event_whose_apply_panics_is_named_to_whoever_loads() {
    let store = store_over(std::sync::Arc::new(MemoryDriver::new())).await;
    let accounts = store.entities::<Account>();
    accounts.execute("1", Command::Deposit(5)).await.unwrap();
    let cursed = Append::to("account/1").event(NewEvent::raw("Cursed", "null"));
    store.append(cursed).await.unwrap();

    let loaded = accounts.state("1").await.unwrap_err();
    assert!(matches!(loaded, LoadError::Panicked { .. }), "{loaded}");
    assert_says(&loaded, &["account/1", "2", "panicked"]);
    let executed = accounts.execute("1", Command::Deposit(1)).await.unwrap_err();
    assert!(matches!(executed, ExecuteError::Load(LoadError::Panicked { .. })), "{executed}");
    assert_says(&executed, &["account/1", "2", "panicked"]);
    // The past before it can still be seen, and other entities are whole.
    assert_eq!(accounts.at("1", 1).await.unwrap().state.balance, 5);
    accounts.execute("2", Command::Deposit(1)).await.unwrap();
}
