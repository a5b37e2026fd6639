//! Events that were written in earlier forms are read in today's wherever they are read; what is
//! stored stays as it was, and what is written today is not taken for what was written then.

use std::sync::Arc;

use crate::support::entities::{Account, Command, Event, store_over};
use crate::support::{assert_says, history};
use serde::Deserialize;
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, Builder, EventStore, ExecuteError, LoadError, NewEvent, ReadError, Upcast};

/// The history of three schemas: a number of whole coins, then an object of whole coins, today
/// cents.
fn builder(memory: &MemoryDriver) -> Builder {
    #[derive(Deserialize)]
    struct Coins {
        coins: u64,
    }
    EventStore::builder()
        .driver(Arc::new(memory.reopen()))
        .upcaster("account", "PaidIn", 1, |event| {
            let coins: u64 = event.json().map_err(|error| error.to_string())?;
            let data = serde_json::json!({ "coins": coins });
            Ok(Upcast::to(1, &data).event_type("Deposited"))
        })
        .upcaster("account", "Deposited", 1, |event| {
            let Coins { coins } = event.json().map_err(|error| error.to_string())?;
            Ok(Upcast::to(2, &serde_json::json!({ "amount": coins * 100 })))
        })
}

/// A store whose account/1 was paid 3 coins in the first form and 2 in the second.
async fn old_events(memory: &MemoryDriver) {
    let store = store_over(Arc::new(memory.reopen())).await;
    let append = Append::to("account/1")
        .event(NewEvent::raw("PaidIn", "3"))
        .event(NewEvent::raw("Deposited", r#"{"coins":2}"#));
    store.append(append).await.unwrap();
}

#[tokio::test]
async fn entities_and_reads_see_todays_form_of_what_was_written_long_ago() {
    let memory = MemoryDriver::new();
    old_events(&memory).await;
    let store = builder(&memory).open().await.unwrap();

    let accounts = store.entities::<Account>();
    assert_eq!(accounts.state("1").await.unwrap().state.balance, 500);
    accounts.execute("1", Command::Withdraw(500)).await.unwrap();

    for event in &history(&store, "account/1").await[..2] {
        assert_eq!((event.event_type(), event.version), ("Deposited", 2));
    }
    let last = store.read("account/1").backwards().collect().await.unwrap();
    assert_eq!(last[1].data.as_str(), r#"{"amount":200}"#);

    let stored = history(&store_over(Arc::new(memory.reopen())).await, "account/1").await;
    assert_eq!((stored[0].event_type(), stored[0].data.as_str()), ("PaidIn", "3"));
    assert_eq!((stored[1].version, stored[1].data.as_str()), (1, r#"{"coins":2}"#));
}

#[tokio::test]
async fn what_is_written_today_is_not_taken_for_what_was_written_then() {
    let memory = MemoryDriver::new();
    let store = builder(&memory).open().await.unwrap();
    let accounts = store.entities::<Account>();
    accounts.execute("1", Command::Deposit(5)).await.unwrap();
    let decide = |_| async { Ok::<_, String>(vec![Event::Deposited { amount: 6 }]) };
    accounts.transact("1", decide).await.unwrap();
    accounts.execute("1", Command::Withdraw(1)).await.unwrap();

    let stored = history(&store_over(Arc::new(memory.reopen())).await, "account/1").await;
    let versions: Vec<u16> = stored.iter().map(|event| event.version).collect();
    assert_eq!(versions, [2, 2, 1], "only deposits ever had another form");
    let next_run = builder(&memory).open().await.unwrap();
    assert_eq!(next_run.entities::<Account>().state("1").await.unwrap().state.balance, 10);
    next_run.entities::<Account>().execute("1", Command::Withdraw(10)).await.unwrap();
}

#[tokio::test]
async fn a_raw_append_in_an_old_form_reaches_a_warm_entity_in_todays() {
    let memory = MemoryDriver::new();
    let store = builder(&memory).open().await.unwrap();
    let accounts = store.entities::<Account>();
    accounts.execute("1", Command::Deposit(1)).await.unwrap();
    store.append(Append::to("account/1").event(NewEvent::raw("PaidIn", "1"))).await.unwrap();
    accounts.execute("1", Command::Withdraw(101)).await.unwrap();
}

#[tokio::test]
async fn an_upcaster_that_fails_is_named_with_the_event() {
    let memory = MemoryDriver::new();
    old_events(&memory).await;
    let append = Append::to("account/1").event(NewEvent::raw("PaidIn", r#""three""#));
    store_over(Arc::new(memory.reopen())).await.append(append).await.unwrap();
    let store = builder(&memory).open().await.unwrap();
    let accounts = store.entities::<Account>();
    let words = ["account/1", "3", "PaidIn", "expected u64"];

    let executed = accounts.execute("1", Command::Look).await.unwrap_err();
    assert!(matches!(executed, ExecuteError::Load(LoadError::Upcast { .. })), "{executed}");
    assert_says(&executed, &words);
    assert_says(&accounts.state("1").await.unwrap_err(), &words);
    let read = store.read("account/1").collect().await.unwrap_err();
    assert!(matches!(read, ReadError::Upcast(_)), "{read}");
    assert_says(&read, &words);
}

#[tokio::test]
async fn upcasters_in_a_circle_are_an_error() {
    let memory = MemoryDriver::new();
    old_events(&memory).await;
    let store = EventStore::builder()
        .driver(Arc::new(memory.reopen()))
        .upcaster("account", "PaidIn", 1, |_| Ok(Upcast::to(2, &0)))
        .upcaster("account", "PaidIn", 2, |_| Ok(Upcast::to(1, &0)))
        .open()
        .await
        .unwrap();
    let error = store.entities::<Account>().state("1").await.unwrap_err();
    assert_says(&error, &["account/1", "PaidIn", "no end"]);
}
