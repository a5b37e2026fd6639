//! An upcaster belongs to one kind and is registered once. It can rename an event, drop it, leave
//! it alone, or change its metadata; what is stored stays.

use std::sync::Arc;

use crate::support::assert_says;
use crate::support::entities::{Account, Command, store_over};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, Builder, EventStore, KeyedEvent, NewEvent, OpenError, Upcast};

fn hundredfold(event: &KeyedEvent) -> Result<Upcast, String> {
    let coins: u64 = event.json().map_err(|error| error.to_string())?;
    Ok(Upcast::to(2, &serde_json::json!({ "amount": coins * 100 })))
}

fn over(memory: &MemoryDriver) -> Builder {
    EventStore::builder().driver(Arc::new(memory.reopen()))
}

#[tokio::test]
async fn events_of_other_kinds_do_not_meet_it() {
    let memory = MemoryDriver::new();
    let store = store_over(Arc::new(memory.reopen())).await;
    for key in ["account/1", "parcel/1", "account"] {
        store.append(Append::to(key).event(NewEvent::raw("Deposited", "3"))).await.unwrap();
    }
    let store =
        over(&memory).upcaster("account", "Deposited", 1, hundredfold).open().await.unwrap();
    for (key, data) in
        [("account/1", r#"{"amount":300}"#), ("parcel/1", "3"), ("account", r#"{"amount":300}"#)]
    {
        assert_eq!(store.read(key).collect().await.unwrap()[0].data.as_str(), data);
    }
    let log = store.log().unwrap().read().collect().await.unwrap();
    assert_eq!(log[1].data.as_str(), "3");
    let accounts = store.entities::<Account>();
    assert_eq!(accounts.state("1").await.unwrap().state.balance, 300);
}

#[tokio::test]
async fn a_second_one_for_the_same_form_is_an_error_of_opening() {
    let builder =
        || EventStore::builder().url("memory:").upcaster("account", "Deposited", 1, hundredfold);
    let error =
        builder().upcaster("account", "Deposited", 1, hundredfold).open().await.unwrap_err();
    assert!(matches!(error, OpenError::DuplicateUpcaster { .. }), "{error}");
    assert_says(&error, &["account", "Deposited", "1"]);
    let others = builder().upcaster("account", "Deposited", 2, hundredfold);
    others.upcaster("parcel", "Deposited", 1, hundredfold).open().await.unwrap();
    for kind in ["", "account/1"] {
        let error = builder().upcaster(kind, "Deposited", 1, hundredfold).open().await.unwrap_err();
        assert_says(&error, &["upcaster", "kind"]);
    }
    // New events would be written in a version that it takes for an old one.
    let last = builder().upcaster("account", "Deposited", u16::MAX, hundredfold);
    assert_says(&last.open().await.unwrap_err(), &["upcaster", "version"]);
}

#[tokio::test]
async fn an_event_is_renamed_dropped_left_alone_or_given_metadata() {
    let memory = MemoryDriver::new();
    let store = store_over(Arc::new(memory.reopen())).await;
    let events = [
        NewEvent::raw("PaidIn", r#"{"amount":5}"#).metadata_field("user", "ada"),
        NewEvent::raw("Audited", "{}"),
        NewEvent::raw("Deposited", r#"{"amount":1}"#),
        NewEvent::raw("Audited", "{}"),
    ];
    store.append(Append::to("account/1").events(events)).await.unwrap();
    let store = over(&memory)
        .upcaster("account", "PaidIn", 1, |_| {
            Ok(Upcast::same_data(1).event_type("Deposited").metadata_field("source", "import"))
        })
        .upcaster("account", "Deposited", 1, |_| Ok(Upcast::unchanged()))
        .upcaster("account", "Audited", 1, |_| Ok(Upcast::dropped()))
        .open()
        .await
        .unwrap();
    let read = store.read("account/1").collect().await.unwrap();
    let forms: Vec<_> =
        read.iter().map(|e| (e.sequence.get(), e.event_type(), e.version)).collect();
    assert_eq!(forms, [(1, "Deposited", 1), (3, "Deposited", 1)]);
    let metadata = read[0].metadata.as_ref().unwrap().as_str();
    assert_eq!(metadata, r#"{"source":"import","user":"ada"}"#);
    assert_eq!(read[0].data.as_str(), r#"{"amount":5}"#);
    let log = store.log().unwrap().read().collect().await.unwrap();
    assert_eq!(log, read);

    // The dropped last event still counts for sequences.
    let accounts = store.entities::<Account>();
    let loaded = accounts.state("1").await.unwrap();
    assert_eq!((loaded.state.balance, loaded.state.events, loaded.sequence.get()), (6, 2, 4));
    let decide = |_| async {
        Ok::<_, String>(vec![crate::support::entities::Event::Withdrawn { amount: 1 }])
    };
    assert_eq!(accounts.transact("1", decide).await.unwrap().sequence, 5);
    assert_eq!(accounts.execute("1", Command::Withdraw(5)).await.unwrap().sequence, 6);
    assert_eq!(store.latest_sequence("account/1").await.unwrap(), 6);
}
