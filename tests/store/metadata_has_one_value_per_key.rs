//! A metadata field that is set again replaces the one that is there, wherever metadata is merged:
//! an event, an append, a command, a middleware, a reaction.

use std::time::Duration;

use crate::support::entities::{Account, Command};
use seriatim::middleware::{Execution, Middleware, NextAppend, NextExecute, Outcome, async_trait};
use seriatim::{
    Append, AppendError, Appended, EventStore, ExecuteOptions, KeyedEvent, NewEvent, Reaction,
};

async fn metadata_of(store: &EventStore, key: &str) -> String {
    let event: KeyedEvent = store.read(key).collect().await.unwrap().remove(0);
    event.metadata.unwrap().to_string()
}

#[tokio::test]
async fn a_field_of_an_event_is_replaced_and_the_others_stay_byte_for_byte() {
    let store = EventStore::open("memory:").await.unwrap();
    let odd = r#"{ "user" : "root", "big":9007199254740993 ,"\udc00": [ 1.50 ],"us\u0065r":2}"#;
    let event = NewEvent::raw("E", "1").raw_metadata(odd).metadata_field("user", "ada");
    store.append(Append::to("a").event(event)).await.unwrap();
    let expected = r#"{"user":"ada","big":9007199254740993,"\udc00":[ 1.50 ]}"#;
    assert_eq!(metadata_of(&store, "a").await, expected);

    let event = NewEvent::raw("E", "1").metadata_field("n", &1).metadata_field("n", &2);
    store.append(Append::to("b").event(event).metadata_field("n", &3)).await.unwrap();
    assert_eq!(metadata_of(&store, "b").await, r#"{"n":3}"#);
}

struct WhoDidIt;

#[async_trait]
impl Middleware for WhoDidIt {
    async fn append(&self, append: Append, next: NextAppend<'_>) -> Result<Appended, AppendError> {
        next.run(append.metadata_field("user", "ada")).await
    }

    async fn execute(
        &self,
        mut execution: Execution,
        next: NextExecute<'_>,
    ) -> Result<Outcome, AppendError> {
        execution.options = execution.options.metadata_field("user", "ada");
        next.run(execution).await
    }
}

#[tokio::test]
async fn a_middleware_has_the_last_word_over_the_caller() {
    let builder = EventStore::builder().url("memory:").middleware(WhoDidIt);
    let store = builder.open().await.unwrap();
    let claim = serde_json::json!({ "user": "root" });
    store.append(Append::to("a").event(NewEvent::raw("E", "1").metadata(&claim))).await.unwrap();
    assert_eq!(metadata_of(&store, "a").await, r#"{"user":"ada"}"#);

    let options = ExecuteOptions::new().metadata(&claim);
    let accounts = store.entities::<Account>();
    accounts.execute_with("1", Command::Deposit(1), options).await.unwrap();
    assert_eq!(metadata_of(&store, "account/1").await, r#"{"user":"ada"}"#);
}

#[tokio::test]
async fn the_correlation_id_that_is_set_last_is_the_one_stored() {
    let store = EventStore::open("memory:").await.unwrap();
    let options = ExecuteOptions::new()
        .metadata(&serde_json::json!({ "correlation_id": "first", "user": "u" }))
        .correlation_id("second")
        .correlation_id("third");
    let accounts = store.entities::<Account>();
    accounts.execute_with("1", Command::Deposit(1), options).await.unwrap();
    let expected = r#"{"correlation_id":"third","user":"u"}"#;
    assert_eq!(metadata_of(&store, "account/1").await, expected);
}

#[tokio::test]
async fn a_reaction_that_copies_metadata_has_the_causation_id_of_its_own_cause() {
    let store = EventStore::open("memory:").await.unwrap();
    let copied = |event: &KeyedEvent| {
        let copy = NewEvent::raw("Copied", "{}");
        let metadata = event.metadata.clone().unwrap().to_bytes();
        vec![Reaction::append(Append::to("b").event(copy.raw_metadata(metadata)))]
    };
    let run = store.consumer("copies").prefix("a").react(copied);
    let handle = run.handle();
    let running = tokio::spawn(run);
    let begun = NewEvent::raw("Begun", "{}").raw_metadata(r#"{"causation_id":"earlier"}"#);
    store.append(Append::to("a").event(begun)).await.unwrap();
    handle.wait_for(1, Duration::from_secs(20)).await.unwrap();
    handle.stop();
    running.await.unwrap().unwrap();
    let cause = store.read("a").collect().await.unwrap()[0].event_id();
    let copied = metadata_of(&store, "b").await;
    assert_eq!(copied.matches("causation_id").count(), 1, "{copied}");
    assert!(copied.contains(&format!(r#""causation_id":"{cause}""#)), "{copied}");
}
