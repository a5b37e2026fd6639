//! Reading: one transaction per page.
//!
//! An aggregate's events stand side by side under (key, sequence), so a page reads nothing else.

use bytes::Bytes;
use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, TableError};

use super::{EVENTS, redb_failed};
use crate::driver::{DriverError, EventPage, Fetch};
use crate::event::{AggregateKey, KeyedEvent, Position, Sequence};

const PAGE_EVENTS: usize = 1_000;
const PAGE_BYTES: usize = 1 << 20;
const PAGE_KEYS: usize = 1_000;

type Events = ReadOnlyTable<(&'static str, u64), &'static [u8]>;

/// The events as of now; `None` before the first put made the table.
fn events(database: &Database) -> Result<Option<Events>, DriverError> {
    let transaction: ReadTransaction = database.begin_read().map_err(redb_failed)?;
    match transaction.open_table(EVENTS) {
        Ok(events) => Ok(Some(events)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(redb_failed(error)),
    }
}

pub(super) fn has(
    database: &Database,
    key: &AggregateKey,
    sequence: Sequence,
) -> Result<bool, DriverError> {
    let Some(events) = events(database)? else { return Ok(false) };
    let found = events.get((key.as_str(), sequence.get())).map_err(redb_failed)?;
    Ok(found.is_some())
}

pub(super) fn latest(database: &Database, key: &AggregateKey) -> Result<Sequence, DriverError> {
    let Some(events) = events(database)? else { return Ok(Sequence::NONE) };
    let mut range =
        events.range((key.as_str(), 0)..=(key.as_str(), u64::MAX)).map_err(redb_failed)?;
    match range.next_back() {
        None => Ok(Sequence::NONE),
        Some(entry) => Ok(Sequence::new(entry.map_err(redb_failed)?.0.value().1)),
    }
}

pub(super) fn page(
    database: &Database,
    key: &AggregateKey,
    fetch: Fetch,
) -> Result<EventPage, DriverError> {
    let (Some(events), Some((low, high))) = (events(database)?, fetch.bounds()) else {
        return Ok(EventPage::default());
    };
    let mut range = events
        .range((key.as_str(), low.get())..=(key.as_str(), high.get()))
        .map_err(redb_failed)?;
    let wanted = fetch.limit.unwrap_or(usize::MAX).min(PAGE_EVENTS);
    let mut page = Vec::new();
    let mut bytes = 0;
    while page.len() < wanted && bytes < PAGE_BYTES {
        let entry = if fetch.backwards { range.next_back() } else { range.next() };
        let Some(entry) = entry else { return Ok(EventPage::new(page, false)) };
        let (place, stored) = entry.map_err(redb_failed)?;
        let sequence = Sequence::new(place.value().1);
        bytes += stored.value().len();
        page.push(decode(key, sequence, stored.value())?);
    }
    Ok(EventPage::new(page, true))
}

/// The stored form: the position as a little-endian u64, then the record.
fn decode(
    key: &AggregateKey,
    sequence: Sequence,
    stored: &[u8],
) -> Result<KeyedEvent, DriverError> {
    let damaged =
        |what: &dyn std::fmt::Display| DriverError::damaged(format!("{key} at {sequence}: {what}"));
    let Some((position, record)) = stored.split_first_chunk::<8>() else {
        return Err(damaged(&"the stored event is too short"));
    };
    let record = Bytes::copy_from_slice(record);
    let mut event =
        KeyedEvent::decode_record(key.clone(), sequence, record).map_err(|e| damaged(&e))?;
    event.position = Some(Position::new(u64::from_le_bytes(*position)));
    Ok(event)
}

/// The next page of keys with this prefix. Each key costs one look into the tree, however long its
/// history: from its first event straight to the next key.
pub(super) fn keys(
    database: &Database,
    prefix: &str,
    after: Option<&AggregateKey>,
) -> Result<Vec<AggregateKey>, DriverError> {
    let Some(events) = events(database)? else { return Ok(Vec::new()) };
    let mut keys: Vec<AggregateKey> = Vec::new();
    let mut from = match after {
        Some(after) if after.as_str() >= prefix => (after.as_str().to_owned(), u64::MAX),
        _ => (prefix.to_owned(), 0),
    };
    while keys.len() < PAGE_KEYS {
        let next = events.range((from.0.as_str(), from.1)..).map_err(redb_failed)?.next();
        let Some(entry) = next else { break };
        let entry = entry.map_err(redb_failed)?;
        let key = entry.0.value().0;
        if !key.starts_with(prefix) {
            break;
        }
        let key = AggregateKey::new(key)
            .map_err(|e| DriverError::damaged(format!("a stored key is none: {e}")))?;
        from = (key.as_str().to_owned(), u64::MAX);
        keys.push(key);
    }
    Ok(keys)
}
