//! The door: another process of this machine reads a store that is open. One module per behaviour.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../support/mod.rs"]
mod support;

mod hostile_peers_harm_only_themselves;
mod only_the_owner_of_the_store_has_a_socket;
mod readers_see_what_the_owner_sees;
mod versions_must_match;

use std::path::Path;
use std::time::Duration;

use seriatim::{Append, EventStore, NewEvent};

const PATIENCE: Duration = Duration::from_secs(60);

/// A store with a door.
async fn owner(directory: &Path) -> EventStore {
    let url = format!("redb:{}", directory.display());
    EventStore::builder().url(url).serve_local().open().await.unwrap()
}

async fn append(store: &EventStore, key: &str, data: &str) {
    let event = NewEvent::raw("Happened", data.to_owned());
    store.append(Append::to(key).event(event)).await.unwrap();
}
