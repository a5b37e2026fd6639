//! Middleware wraps appends, commands and fetches in order of registration: it may add to a
//! request, look at its answer, and refuse it; a refused append changes nothing.

use std::sync::{Arc, Mutex};

use crate::support::append;
use serde::{Deserialize, Serialize};
use seriatim::driver::faults::FaultyDriver;
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{Driver, DriverError, EventPage, EventPages, Fetch, Put, PutReceipt};
use seriatim::middleware::{
    Execution, FetchRequest, Middleware, NextAppend, NextExecute, NextFetch, Outcome, Spans,
    async_trait,
};
use seriatim::{
    Aggregate, AggregateKey, Append, AppendError, Appended, Context, EventStore, ExecuteError,
    ReadError, Sequence,
};

#[derive(Clone)]
struct Named(&'static str, Arc<Mutex<Vec<String>>>);

impl Named {
    fn note(&self, what: &str) {
        self.1.lock().unwrap().push(format!("{} {what}", self.0));
    }
}

#[async_trait]
impl Middleware for Named {
    async fn append(&self, append: Append, next: NextAppend<'_>) -> Result<Appended, AppendError> {
        self.note("append");
        let answer = next.run(append.metadata_field(self.0, &true)).await;
        self.note("appended");
        answer
    }

    async fn execute(
        &self,
        mut execution: Execution,
        next: NextExecute<'_>,
    ) -> Result<Outcome, AppendError> {
        execution.options = execution.options.metadata_field(self.0, &true);
        let outcome = next.run(execution).await;
        self.note(&format!("{:?}", outcome.as_ref().map(|o| matches!(o, Outcome::Rejected))));
        outcome
    }

    async fn fetch(
        &self,
        request: FetchRequest,
        next: NextFetch<'_>,
    ) -> Result<EventPage, ReadError> {
        self.note("fetch");
        next.run(request).await
    }
}

/// Lets nothing through that touches a key of the category `secret`.
struct Guard;

#[async_trait]
impl Middleware for Guard {
    async fn append(&self, append: Append, next: NextAppend<'_>) -> Result<Appended, AppendError> {
        match append.key().cloned() {
            Ok(key) if key.category() == "secret" => {
                Err(AppendError::Refused { key, reason: "not yours".to_owned() })
            }
            _ => next.run(append).await,
        }
    }

    async fn execute(
        &self,
        execution: Execution,
        next: NextExecute<'_>,
    ) -> Result<Outcome, AppendError> {
        match execution.key.as_str().ends_with("/secret") {
            true => Err(AppendError::Refused { key: execution.key, reason: "no".to_owned() }),
            false => next.run(execution).await,
        }
    }

    async fn fetch(
        &self,
        request: FetchRequest,
        next: NextFetch<'_>,
    ) -> Result<EventPage, ReadError> {
        match request.key.category() {
            "secret" => Err(ReadError::Refused { key: request.key, reason: "no".to_owned() }),
            _ => next.run(request).await,
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Counter(u64);

#[derive(Serialize, Deserialize)]
enum Counted {
    Counted,
}

impl Aggregate for Counter {
    const KIND: &'static str = "counter";
    type Command = bool;
    type Event = Counted;
    type Error = &'static str;
    type Services = ();

    fn handle(&self, count: &bool, _: &Context<'_>) -> Result<Vec<Counted>, &'static str> {
        if *count { Ok(vec![Counted::Counted]) } else { Err("no") }
    }

    fn apply(&mut self, _: &Counted) {
        self.0 += 1;
    }
}

async fn store(notes: &Arc<Mutex<Vec<String>>>) -> EventStore {
    EventStore::builder()
        .url("memory:")
        .middleware(Named("outer", notes.clone()))
        .middleware(Spans)
        .middleware(Named("inner", notes.clone()))
        .middleware(Guard)
        .open()
        .await
        .unwrap()
}

fn taken(notes: &Arc<Mutex<Vec<String>>>) -> Vec<String> {
    std::mem::take(&mut *notes.lock().unwrap())
}

#[tokio::test]
async fn appends_and_fetches_pass_in_order_of_registration() {
    let notes = Arc::default();
    let store = store(&notes).await;
    store.append(append("a")).await.unwrap();
    assert_eq!(taken(&notes), ["outer append", "inner append", "inner appended", "outer appended"]);
    let events = store.read("a").collect().await.unwrap();
    assert_eq!(taken(&notes), ["outer fetch", "inner fetch"]);
    let metadata = events[0].metadata.as_ref().unwrap().as_str();
    assert_eq!(metadata, r#"{"inner":true,"outer":true}"#);
    for _ in 0..2_500 {
        store.append(append("a")).await.unwrap();
    }
    assert_eq!(store.read("a").collect().await.unwrap().len(), 2_501, "page by page");
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let notes = Arc::default();
    let store = store(&notes).await;
    let refused = store.append(append("secret/1")).await;
    assert!(matches!(refused, Err(AppendError::Refused { .. })), "{refused:?}");
    assert!(!store.exists("secret/1").await.unwrap());
    let refused = store.read("secret/1").collect().await;
    assert!(matches!(refused, Err(ReadError::Refused { .. })), "{refused:?}");
    let counters = store.entities::<Counter>();
    let refused = counters.execute("secret", true).await;
    assert!(matches!(refused, Err(ExecuteError::Append(AppendError::Refused { .. }))));
    assert!(!store.exists("counter/secret").await.unwrap());
}

#[tokio::test]
async fn commands_pass_too_and_keep_their_own_answers() {
    let notes = Arc::default();
    let store = store(&notes).await;
    let counters = store.entities::<Counter>();
    let executed = counters.execute("1", true).await.unwrap();
    assert_eq!(executed.sequence, 1);
    assert!(matches!(counters.execute("1", false).await, Err(ExecuteError::Rejected("no"))));
    let wanted = ["inner Ok(false)", "outer Ok(false)", "inner Ok(true)", "outer Ok(true)"];
    assert_eq!(taken(&notes), wanted);
    let events = store.read("counter/1").collect().await.unwrap();
    let metadata = events[0].metadata.as_ref().unwrap().as_str();
    assert_eq!(metadata, r#"{"inner":true,"outer":true}"#);
}

/// Waits for a network, as the store sees it: no page is read in the caller's thread.
struct Remote(MemoryDriver);

#[async_trait]
impl Driver for Remote {
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        self.0.check_sequence(key, sequence).await
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        self.0.fetch_events(key, fetch)
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        self.0.put_events(put).await
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.0.close().await
    }
}

#[tokio::test]
async fn each_page_of_a_remote_read_is_fetched_once() {
    const EVENTS: usize = 10_500;
    let driver = FaultyDriver::around(Remote(MemoryDriver::new()));
    let store = EventStore::builder()
        .driver(driver.clone())
        .middleware(Named("outer", Arc::default()))
        .open()
        .await
        .unwrap();
    for _ in 0..EVENTS / 500 {
        let events = (0..500).map(crate::support::event);
        store.append(Append::to("a").events(events)).await.unwrap();
    }
    driver.take_counts();
    assert_eq!(store.read("a").collect().await.unwrap().len(), EVENTS);
    assert_eq!(driver.take_counts().events_fetched, EVENTS as u64);
}
