//! A decision sees its entity's id and sequence, the time, the metadata of its call and the
//! application's services; and a command may expect a sequence and be retried.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::support::entities::{Account, store_over};
use crate::support::{assert_says, history};
use serde::{Deserialize, Serialize};
use seriatim::driver::memory::MemoryDriver;
use seriatim::testing::{FailingStore, Failure, Scenario};
use seriatim::{
    Aggregate, Append, AppendError, Context, EventStore, ExecuteError, ExecuteOptions, Expected,
    LoadError, NewEvent, Timestamp,
};

struct Rates {
    percent: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Invoice;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum InvoiceEvent {
    Sent { id: String, after: u64, at: Timestamp, by: Option<String>, tax: u64 },
}

impl Aggregate for Invoice {
    const KIND: &'static str = "invoice";
    type Command = u64;
    type Event = InvoiceEvent;
    type Error = String;
    type Services = Rates;

    fn handle(&self, sum: &u64, context: &Context<'_, Rates>) -> Result<Vec<InvoiceEvent>, String> {
        #[derive(Deserialize)]
        struct Who {
            user: String,
        }
        let who = context.metadata().map(|metadata| metadata.json::<Who>());
        Ok(vec![InvoiceEvent::Sent {
            id: context.id().to_owned(),
            after: context.sequence().get(),
            at: context.time(),
            by: who.transpose().map_err(|error| error.to_string())?.map(|who| who.user),
            tax: sum * context.services().percent / 100,
        }])
    }

    fn apply(&mut self, _: &InvoiceEvent) {}
}

const NOON: u64 = 1_800_000_000;

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOON)
}

#[tokio::test]
async fn id_sequence_time_metadata_and_services_are_those_of_the_call() {
    let builder = EventStore::builder().url("memory:").clock(noon).services(Rates { percent: 20 });
    let store = builder.open().await.unwrap();
    let invoices = store.entities::<Invoice>();
    invoices.execute("7/a", 10).await.unwrap();
    let raw = NewEvent::encode(&InvoiceEvent::Sent {
        id: "7/a".into(),
        after: 1,
        at: noon().into(),
        by: None,
        tax: 0,
    });
    store.append(Append::to("invoice/7/a").event(raw.unwrap())).await.unwrap();
    let options = ExecuteOptions::new().metadata(&serde_json::json!({ "user": "ada" }));
    let executed = invoices.execute_with("7/a", 100, options).await.unwrap();
    let at = Timestamp::from(noon());
    let by = Some("ada".to_owned());
    let expected = InvoiceEvent::Sent { id: "7/a".into(), after: 2, at, by, tax: 20 };
    assert_eq!(executed.events, [expected]);
    let stored = history(&store, "invoice/7/a").await;
    assert_eq!(stored[2].recorded_at, at);

    Scenario::<Invoice>::given_with(Rates { percent: 10 }, []).at(noon()).when(50).then_events([
        InvoiceEvent::Sent { id: "scenario".into(), after: 0, at, by: None, tax: 5 },
    ]);
}

#[tokio::test]
async fn services_that_are_missing_are_named_before_anything_is_sent() {
    let store = EventStore::open("memory:").await.unwrap();
    let error = store.entities::<Invoice>().execute("1", 1).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Load(LoadError::NoServices { .. })), "{error}");
    assert_says(&error, &["invoice", "Rates"]);
    assert_eq!(store.resident(), 0);
}

#[tokio::test]
async fn services_do_not_keep_the_store_open() {
    let rates = Arc::new(());
    let builder = EventStore::builder().url("memory:").services(Rates { percent: 1 });
    let store = builder.services(rates.clone()).open().await.unwrap();
    store.entities::<Invoice>().execute("1", 1).await.unwrap();
    drop(store);
    let gone = async {
        while Arc::strong_count(&rates) > 1 {
            tokio::task::yield_now().await;
        }
    };
    crate::support::within("the end of the store", gone).await;
}

#[tokio::test]
async fn a_command_that_expects_another_sequence_conflicts() {
    let memory = MemoryDriver::new();
    let here = store_over(Arc::new(memory.reopen())).await.entities::<Account>();
    let there = store_over(Arc::new(memory.reopen())).await.entities::<Account>();
    let deposit = crate::support::entities::Command::Deposit(1);
    let expecting = |sequence: u64| ExecuteOptions::new().expect(sequence);
    here.execute_with("1", deposit, expecting(0)).await.unwrap();
    there.execute("1", deposit).await.unwrap();
    // Here nobody knows of the second event yet.
    here.execute_with("1", deposit, expecting(2)).await.unwrap();
    for stale in [Expected::NoEvents, 1.into(), 2.into(), 9.into()] {
        let options = ExecuteOptions::new().expect(stale);
        let error = there.execute_with("1", deposit, options).await.unwrap_err();
        assert!(error.is_conflict(), "{error}");
        let ExecuteError::Append(AppendError::Conflict { expected, actual, .. }) = error else {
            panic!("{error}")
        };
        assert_eq!((expected, actual.get()), (stale, 3));
    }
    assert_eq!(here.state("1").await.unwrap().sequence, 3);
}

#[tokio::test]
async fn a_command_is_retried_and_executed_once() {
    let soon = Duration::from_millis(100);
    let builder = EventStore::builder().put_deadline(soon).put_attempt_timeout(soon / 2);
    let failing = FailingStore::open_with(builder).await.unwrap();
    let accounts = failing.store().entities::<Account>();
    let deposit = crate::support::entities::Command::Deposit(1);
    for (nth, failure) in
        [Failure::Unavailable, Failure::Hangs, Failure::LostAnswer].into_iter().enumerate()
    {
        failing.next_append(failure.clone());
        let options = ExecuteOptions::new().retry(5);
        accounts.execute_with("1", deposit, options).await.unwrap();
        let state = accounts.state("1").await.unwrap().state;
        assert_eq!(state.balance, nth as u64 + 1, "after {failure:?}");
    }
    failing.next_append(Failure::Hangs);
    let error = accounts.execute("1", deposit).await.unwrap_err();
    assert!(error.is_retryable(), "one attempt is the default: {error}");
}

#[tokio::test]
async fn the_same_commit_id_with_another_command_is_told_apart() {
    let store = store_over(Arc::new(MemoryDriver::new())).await;
    let accounts = store.entities::<Account>();
    let options = || ExecuteOptions::new().commit_id(uuid::Uuid::from_u128(7));
    accounts.execute("1", crate::support::entities::Command::Deposit(100)).await.unwrap();
    accounts
        .execute_with("1", crate::support::entities::Command::Deposit(5), options())
        .await
        .unwrap();
    accounts.execute("1", crate::support::entities::Command::WithdrawAll).await.unwrap();
    let same = accounts
        .execute_with("1", crate::support::entities::Command::Deposit(5), options())
        .await
        .unwrap();
    assert!(same.appended.unwrap().repeated);
    for other in [
        crate::support::entities::Command::Deposit(999),
        crate::support::entities::Command::WithdrawAll,
        crate::support::entities::Command::Look,
    ] {
        let error = accounts.execute_with("1", other, options()).await.unwrap_err();
        assert!(
            matches!(error, ExecuteError::Append(AppendError::CommitIdReused { .. })),
            "{other:?}: {error}"
        );
    }
    assert_eq!(history(&store, "account/1").await.len(), 3);
}
