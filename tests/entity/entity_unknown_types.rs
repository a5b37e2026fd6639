//! An event whose type the enum does not know is an error that names key, sequence and type, or is
//! passed over where the application says so.

use std::sync::Arc;

use crate::support::assert_says;
use crate::support::entities::{Account, Command, raw_deposits};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, EntityOptions, EventStore, ExecuteError, LoadError, NewEvent};

async fn store_with(event: NewEvent, skip: bool) -> EventStore {
    let options = EntityOptions::new().skip_unknown_types(skip);
    let builder = EventStore::builder().driver(Arc::new(MemoryDriver::new()));
    let store = builder.entity::<Account>(options).open().await.unwrap();
    store.append(raw_deposits("account/1", [5])).await.unwrap();
    store.append(Append::to("account/1").event(event)).await.unwrap();
    store.append(raw_deposits("account/1", [5])).await.unwrap();
    store
}

#[tokio::test]
async fn an_unknown_type_is_named_with_key_and_sequence() {
    let store = store_with(NewEvent::raw("Audited", "{}"), false).await;
    let accounts = store.entities::<Account>();
    let words = ["account/1", "2", "unknown", "Audited"];
    let loaded = accounts.state("1").await.unwrap_err();
    assert!(matches!(loaded, LoadError::UnknownType { .. }), "{loaded}");
    assert_says(&loaded, &words);
    let executed = accounts.execute("1", Command::Look).await.unwrap_err();
    assert!(matches!(executed, ExecuteError::Load(LoadError::UnknownType { .. })), "{executed}");
    assert_says(&executed, &words);
    assert_eq!(store.latest_sequence("account/1").await.unwrap(), 3);
}

#[tokio::test]
async fn unknown_types_are_passed_over_where_told() {
    let store = store_with(NewEvent::raw("Audited", "{}"), true).await;
    let accounts = store.entities::<Account>();
    let found = accounts.state("1").await.unwrap();
    assert_eq!((found.state.balance, found.state.events, found.sequence.get()), (10, 2, 3));
    assert_eq!(accounts.execute("1", Command::Withdraw(10)).await.unwrap().sequence, 4);
    // A warm one passes over what comes by a raw append.
    let audited = Append::to("account/1").event(NewEvent::raw("Audited", "{}"));
    store.append(audited).await.unwrap();
    assert_eq!(accounts.execute("1", Command::Deposit(1)).await.unwrap().sequence, 6);
}

#[tokio::test]
async fn a_known_type_with_data_that_does_not_fit_is_never_passed_over() {
    let store = store_with(NewEvent::raw("Deposited", r#"{"amount":"much"}"#), true).await;
    let accounts = store.entities::<Account>();
    let loaded = accounts.state("1").await.unwrap_err();
    assert!(matches!(loaded, LoadError::Data { .. }), "{loaded}");
    assert_says(&loaded, &["account/1", "2", "Deposited", "much"]);
    assert!(accounts.execute("1", Command::Deposit(1)).await.is_err());
}
