//! Options belong to the entity's type, once for each store: every handle, a reaction's command
//! included, has the same. A snapshot is used only while it is the fold of what is stored.

use std::sync::Arc;
use std::time::Duration;

use crate::support::entities::{Account, Command, raw_deposits, snapshot_at, store_with_snapshots};
use serde::{Deserialize, Serialize};
use seriatim::driver::SnapshotStore;
use seriatim::driver::memory::MemoryDriver;
use seriatim::{
    Aggregate, AggregateKey, Append, Builder, Context, EntityOptions, EventStore, NewEvent,
    OpenError, Reaction, Snapshots, Upcast,
};

fn over(memory: &MemoryDriver) -> Builder {
    EventStore::builder().driver(Arc::new(memory.reopen()))
}

#[tokio::test]
async fn a_reactions_command_reads_as_the_application_does() {
    let options = EntityOptions::new().skip_unknown_types(true);
    let builder = EventStore::builder().url("memory:").entity::<Account>(options);
    let store = builder.open().await.unwrap();
    let renamed = Append::to("account/1").event(NewEvent::raw("Renamed", "{}"));
    store.append(renamed).await.unwrap();
    store.append(raw_deposits("account/1", [1])).await.unwrap();
    let once = Duration::from_millis(1);
    let run = store
        .consumer("bonus")
        .retry(1, once, once)
        .event_types(["Renamed"])
        .react(|_| Some(Reaction::command::<Account>("1", Command::Deposit(5))));
    let handle = run.handle();
    let running = tokio::spawn(run);
    handle.wait_for(1, Duration::from_secs(20)).await.unwrap();
    handle.stop();
    running.await.unwrap().unwrap();
    assert_eq!(store.entities::<Account>().state("1").await.unwrap().state.balance, 6);
}

#[tokio::test]
async fn options_that_are_set_twice_are_an_error_of_opening() {
    let options = EntityOptions::new();
    let builder = EventStore::builder().url("memory:").entity::<Account>(options);
    let error = builder.entity::<Account>(options).open().await.unwrap_err();
    assert!(matches!(error, OpenError::InvalidOption { option: "entity", .. }), "{error}");
}

/// What a grown enum makes of events that it did not know before.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counted {
    known: u64,
    renamed: u64,
}

macro_rules! counted {
    ($module:ident: $($variant:ident),+) => {
        mod $module {
            use super::*;

            #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
            pub(super) struct Counts(pub(super) Counted);

            #[derive(Debug, PartialEq, Serialize, Deserialize)]
            #[allow(dead_code, reason = "some are only read")]
            pub(super) enum Event {
                $($variant),+
            }

            impl Aggregate for Counts {
                const KIND: &'static str = "counts";
                const SNAPSHOTS: Snapshots = Snapshots::every(1);
                const SKIP_UNKNOWN_TYPES: bool = true;
                type Command = ();
                type Event = Event;
                type Error = String;
                type Services = ();

                fn handle(&self, _: &(), _: &Context<'_>) -> Result<Vec<Event>, String> {
                    Ok(vec![Event::Counted])
                }

                fn apply(&mut self, event: &Event) {
                    self.0.known += 1;
                    self.0.renamed += u64::from(format!("{event:?}") == "Renamed");
                }
            }
        }
    };
}

counted!(before: Counted);
counted!(after: Counted, Renamed);

#[tokio::test]
async fn a_type_that_was_skipped_is_read_once_it_is_known() {
    let memory = MemoryDriver::new();
    let store = over(&memory).open().await.unwrap();
    let counts = store.entities::<before::Counts>();
    let renamed = Append::to("counts/1").event(NewEvent::raw("Renamed", "null"));
    store.append(renamed).await.unwrap();
    for _ in 0..3 {
        counts.execute("1", ()).await.unwrap();
    }
    snapshot_at(&memory, "counts/1", 3).await;
    store.close().await.unwrap();

    let store = over(&memory).open().await.unwrap();
    let loaded = store.entities::<after::Counts>().state("1").await.unwrap().state;
    assert_eq!(loaded.0, Counted { known: 4, renamed: 1 });
    let resident = store.entities::<after::Counts>();
    resident.execute("1", ()).await.unwrap();
    let loaded = resident.state("1").await.unwrap().state;
    assert_eq!(loaded.0, Counted { known: 5, renamed: 1 });
}

#[tokio::test]
async fn a_snapshot_from_before_an_upcaster_is_not_used() {
    let memory = MemoryDriver::new();
    let driver = Arc::new(memory.reopen());
    let store = store_with_snapshots::<Account>(driver, Snapshots::every(1)).await;
    let accounts = store.entities::<Account>();
    for _ in 0..3 {
        accounts.execute("1", Command::Deposit(1)).await.unwrap();
    }
    snapshot_at(&memory, "account/1", 2).await;
    store.close().await.unwrap();
    let hundredfold = |event: &seriatim::KeyedEvent| {
        let amount =
            event.json::<serde_json::Value>().map_err(|e| e.to_string())?["amount"].clone();
        let amount = amount.as_u64().ok_or("no amount")?;
        Ok(Upcast::to(2, &serde_json::json!({ "amount": amount * 100 })))
    };
    let options = EntityOptions::new().snapshots(Snapshots::every(1));
    let store = over(&memory)
        .entity::<Account>(options)
        .upcaster("account", "Deposited", 1, hundredfold)
        .open()
        .await
        .unwrap();
    let accounts = store.entities::<Account>();
    assert_eq!(accounts.state("1").await.unwrap().state.balance, 300);
    accounts.execute("1", Command::Withdraw(300)).await.unwrap();
}

/// States that their own JSON does not hold.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Odd {
    float: Option<f64>,
    #[serde(skip_deserializing)]
    lost: u64,
    events: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum OddEvent {
    Divided,
    Lost,
}

impl Aggregate for Odd {
    const KIND: &'static str = "odd";
    const SNAPSHOTS: Snapshots = Snapshots::every(1);
    type Command = bool;
    type Event = OddEvent;
    type Error = String;
    type Services = ();

    fn handle(&self, divided: &bool, _: &Context<'_>) -> Result<Vec<OddEvent>, String> {
        Ok(vec![if *divided { OddEvent::Divided } else { OddEvent::Lost }])
    }

    fn apply(&mut self, event: &OddEvent) {
        self.events += 1;
        match event {
            OddEvent::Divided => self.float = Some(f64::NAN),
            OddEvent::Lost => self.lost += 1,
        }
    }
}

#[tokio::test]
async fn no_snapshot_is_taken_of_a_state_that_its_json_does_not_hold() {
    for divided in [true, false] {
        let memory = MemoryDriver::new();
        let store = over(&memory).open().await.unwrap();
        let odd = store.entities::<Odd>();
        for _ in 0..5 {
            odd.execute("1", divided).await.unwrap();
        }
        store.close().await.unwrap();
        let key = AggregateKey::new("odd/1").unwrap();
        assert!(memory.load_snapshot(&key).await.unwrap().is_none(), "divided: {divided}");
        let store = over(&memory).open().await.unwrap();
        let state = store.entities::<Odd>().state("1").await.unwrap().state;
        assert_eq!((state.float.is_some(), state.lost), (divided, if divided { 0 } else { 5 }));
    }
}
