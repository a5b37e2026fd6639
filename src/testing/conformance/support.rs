//! What the checks share: keys of their own, events, puts, and expectations with words.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use futures_util::StreamExt;
use uuid::Uuid;

use super::harness::{CheckOutcome, Checked, Harness};
use crate::driver::{Driver, DriverError, EventPages, Fetch, Put, PutReceipt};
use crate::event::{AggregateKey, CheckedEvent, KeyedEvent, NewEvent, Sequence, Timestamp};

pub(super) const PASSED: Checked = Ok(CheckOutcome::Passed);

/// One check's surroundings.
pub(super) struct Bench<'a> {
    pub(super) harness: &'a dyn Harness,
    prefix: String,
}

impl<'a> Bench<'a> {
    /// Keys begin with a name of this run's own, so that a shared engine need not be empty.
    pub(super) fn new(harness: &'a dyn Harness, check: &str) -> Self {
        let run = Uuid::new_v4().simple().to_string();
        Bench { harness, prefix: format!("{check}-{}", &run[..12]) }
    }

    pub(super) async fn open(&self) -> Result<Arc<dyn Driver>, String> {
        self.harness.open().await.map_err(|e| format!("the driver did not open: {e}"))
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn key(&self, name: &str) -> Result<AggregateKey, String> {
        AggregateKey::new(&format!("{}{name}", self.prefix)).map_err(|e| e.to_string())
    }
}

/// Ends a check, and closes the driver for the next one.
pub(super) async fn done(driver: Arc<dyn Driver>) -> Checked {
    driver.close().await.map_err(|e| format!("the driver did not close: {e}"))?;
    PASSED
}

pub(super) fn new_event(data: &str) -> Result<CheckedEvent, String> {
    let event = NewEvent::raw("Tested", data.to_owned());
    event.check().map_err(|e| format!("the suite's own event is not one: {e}"))
}

/// `count` events from this sequence on, of one append.
pub(super) fn events(
    key: &AggregateKey,
    first: u64,
    count: u64,
) -> Result<Vec<KeyedEvent>, String> {
    let commit_id = Uuid::now_v7();
    (first..first + count)
        .map(|sequence| {
            let event = new_event(&format!("{{\"n\":{sequence}}}"))?;
            Ok(event.place(key, Sequence::new(sequence), commit_id, Timestamp::now()))
        })
        .collect()
}

pub(super) fn put_of(events: Vec<KeyedEvent>) -> Result<Arc<Put>, String> {
    Put::new(events).map(Arc::new).map_err(|e| format!("the suite's own put is none: {e}"))
}

/// Puts events and expects that they are written.
pub(super) async fn write(
    driver: &dyn Driver,
    events: Vec<KeyedEvent>,
) -> Result<PutReceipt, String> {
    let put = put_of(events)?;
    let (key, first) = match put.events().first() {
        Some(event) => (event.key.clone(), event.sequence),
        None => return Err("an empty put".to_owned()),
    };
    let written = driver.put_events(put).await;
    written.map_err(|e| format!("a put from sequence {first} of {key:?} failed: {e}"))
}

pub(super) async fn all(mut pages: EventPages) -> Result<Vec<KeyedEvent>, DriverError> {
    let mut events = Vec::new();
    while let Some(page) = pages.next().await {
        events.extend(page?);
    }
    Ok(events)
}

/// The aggregate's events by `fetch_events`; where the driver also reads at once, by that too, and
/// both must say the same.
pub(super) async fn read(
    driver: &dyn Driver,
    key: &AggregateKey,
    fetch: Fetch,
) -> Result<Vec<KeyedEvent>, String> {
    let failed = |e: DriverError| format!("{key:?} could not be read ({fetch:?}): {e}");
    let events = all(driver.fetch_events(key, fetch)).await.map_err(failed)?;
    let mut at_once = Vec::new();
    let mut next = fetch;
    loop {
        let Some(page) = driver.fetch_page_now(key, next) else { return Ok(events) };
        let page = page.map_err(failed)?;
        let Some(last) = page.events.last() else { break };
        next.after = Some(last.sequence);
        next.limit = next.limit.map(|limit| limit.saturating_sub(page.events.len()));
        at_once.extend(page.events);
        if !page.more || next.limit == Some(0) {
            break;
        }
    }
    same("events read at once, and page by page", &at_once, &events)?;
    Ok(events)
}

pub(super) fn same<T: PartialEq + Debug>(what: &str, seen: &T, wanted: &T) -> Result<(), String> {
    if seen == wanted {
        return Ok(());
    }
    Err(format!("{what}: {}, not {}", shortened(seen), shortened(wanted)))
}

pub(super) fn sequences(events: &[KeyedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.sequence.get()).collect()
}

pub(super) fn conflicts<T: Debug>(what: &str, seen: Result<T, DriverError>) -> Result<(), String> {
    match seen {
        Err(error) if error.is_conflict() => Ok(()),
        other => Err(format!("{what}: {}, not a conflict", shortened(&other))),
    }
}

pub(super) fn told(context: impl Display) -> impl FnOnce(DriverError) -> String {
    move |error| format!("{context}: {error}")
}

fn shortened(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
