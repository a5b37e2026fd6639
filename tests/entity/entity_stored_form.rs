//! What is stored of an entity's event: exactly the enum's name and data, the metadata of the call,
//! and the commit id of its append.

use std::sync::Arc;

use crate::support::entities::{Account, Command, store_over};
use crate::support::{assert_says, history};
use serde::{Deserialize, Serialize};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Aggregate, AppendError, Context, EventError, ExecuteError, ExecuteOptions};

#[derive(Default, Serialize, Deserialize)]
struct Door {
    open: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
enum DoorEvent {
    #[serde(rename = "door-was-opened")]
    Opened { by: String, with: u128 },
    #[serde(rename = "door-was-shut")]
    Shut,
}

impl Aggregate for Door {
    const KIND: &'static str = "door";
    type Command = bool;
    type Event = DoorEvent;
    type Error = String;
    type Services = ();

    fn handle(&self, open: &bool, _: &Context<'_>) -> Result<Vec<DoorEvent>, String> {
        let opened = || DoorEvent::Opened { by: "Ada \"A\"".to_owned(), with: u128::MAX };
        Ok(match (self.open, open) {
            (false, true) => vec![opened()],
            (true, false) => vec![DoorEvent::Shut],
            (true, true) => vec![DoorEvent::Shut, opened()],
            (false, false) => vec![],
        })
    }

    fn apply(&mut self, event: &DoorEvent) {
        self.open = matches!(event, DoorEvent::Opened { .. });
    }
}

#[tokio::test]
async fn type_and_data_are_those_that_the_enum_says() {
    let store = store_over(Arc::new(MemoryDriver::new())).await;
    let doors = store.entities::<Door>();
    doors.execute("front", true).await.unwrap();
    let executed = doors.execute("front", true).await.unwrap();
    assert_eq!((executed.events.len(), executed.sequence.get()), (2, 3));

    let stored = history(&store, "door/front").await;
    let forms: Vec<_> = stored.iter().map(|e| (e.event_type(), e.data.as_str())).collect();
    let opened = r#"{"by":"Ada \"A\"","with":340282366920938463463374607431768211455}"#;
    let opened = ("door-was-opened", opened);
    assert_eq!(forms, [opened, ("door-was-shut", "null"), opened]);
    assert_eq!(stored[1].commit_id, stored[2].commit_id);
    assert_ne!(stored[0].commit_id, stored[1].commit_id);
    assert!(stored.iter().all(|event| event.metadata.is_none() && event.version == 1));
    assert!(doors.state("front").await.unwrap().state.open);
}

#[tokio::test]
async fn metadata_correlation_and_causation_stand_with_each_event() {
    let store = store_over(Arc::new(MemoryDriver::new())).await;
    let doors = store.entities::<Door>();
    doors.execute("front", true).await.unwrap();
    let options = ExecuteOptions::new()
        .metadata(&serde_json::json!({ "user": "ada" }))
        .correlation_id("request-7")
        .causation_id("event-3");
    doors.execute_with("front", true, options).await.unwrap();
    for event in &history(&store, "door/front").await[1..] {
        let metadata: serde_json::Value = event.metadata.as_ref().unwrap().json().unwrap();
        let expected = serde_json::json!({
            "user": "ada", "correlation_id": "request-7", "causation_id": "event-3"
        });
        assert_eq!(metadata, expected);
    }
}

#[tokio::test]
async fn metadata_that_is_no_object_is_refused_and_nothing_is_written() {
    let store = store_over(Arc::new(MemoryDriver::new())).await;
    let accounts = store.entities::<Account>();
    let options = ExecuteOptions::new().metadata(&5);
    let error = accounts.execute_with("1", Command::Deposit(1), options).await.unwrap_err();
    let ExecuteError::Append(AppendError::InvalidEvent { source, .. }) = &error else {
        panic!("{error}")
    };
    assert_eq!(*source, EventError::MetadataNotAnObject);
    assert_says(&error, &["account/1"]);
    assert!(!store.exists("account/1").await.unwrap());
}
