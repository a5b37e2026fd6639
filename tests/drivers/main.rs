//! Drivers of remote engines without an engine: what they make of answers that no engine here gives
//! (scripted servers say what a replica set, a router, a cluster with users, or a table of many
//! regions says), and of hostile URLs.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "../support/scripted/mod.rs"]
mod scripted;

#[cfg(feature = "azure-tables")]
mod azure_tables;
#[cfg(feature = "cassandra")]
mod cassandra;
#[cfg(feature = "dynamodb")]
mod dynamodb;
mod engine_is_down;
mod hostile_urls;
#[cfg(feature = "mongodb")]
mod mongo;
#[cfg(feature = "mongodb")]
mod mongo_sign_in;
mod out_of_order;
#[cfg(feature = "cassandra")]
mod partition_warning;

use std::sync::Arc;

use seriatim::driver::{Driver, DriverError, Put, PutReceipt};
use seriatim::{Append, AppendError, Appended, EventStore, KeyedEvent, NewEvent};
use uuid::Uuid;

/// A put of so many events of the aggregate `account/1`, from the first on.
fn put(count: u64) -> Arc<Put> {
    put_from(1, count)
}

/// The same from this sequence on.
fn put_from(first: u64, count: u64) -> Arc<Put> {
    let commit_id = Uuid::new_v4();
    let event = |sequence: u64| -> KeyedEvent {
        let json = serde_json::json!({
            "key": "account/1", "sequence": sequence, "type": "Tested", "data": {},
            "commit_id": commit_id, "recorded_at": "2026-01-02T03:04:05.000000Z",
        });
        serde_json::from_str(&json.to_string()).unwrap()
    };
    Arc::new(Put::new((first..first + count).map(event).collect()).unwrap())
}

/// What this ignored test says in a process of its own with these variables: it is the other half
/// of a test, and the environment of a process cannot be changed safely once it has threads.
#[cfg(any(feature = "dynamodb", feature = "azure-tables"))]
fn in_a_process(test: &str, variables: &[(&str, String)]) -> String {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture"]);
    for (name, _) in std::env::vars() {
        if name.starts_with("AWS_") || name.starts_with("AZURE_") || name.starts_with("IDENTITY_") {
            command.env_remove(name);
        }
    }
    let output =
        command.envs(variables.iter().map(|(name, value)| (name, value))).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("running 1 test"), "{said}");
    said
}

async fn open(url: &str) -> Result<Arc<dyn Driver>, DriverError> {
    seriatim::driver::open(url).await
}

/// What becomes of a put of one event on the engine at this URL.
async fn put_at(url: &str) -> Result<PutReceipt, DriverError> {
    open(url).await.unwrap().put_events(put(1)).await
}

/// An append of one event to a store with default options of its own.
async fn append_at(url: &str) -> Result<Appended, AppendError> {
    let store = EventStore::open(url).await.unwrap();
    let event = NewEvent::raw("Tested", "{}");
    let answer = store.append(Append::to("account/1").event(event)).await;
    let _ = store.close().await;
    answer
}
