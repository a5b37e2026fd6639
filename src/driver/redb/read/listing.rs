//! Listing: keys in order and events in commit order, the tail's and redb's as one.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::driver::DriverError;
use crate::driver::redb::apply::tail::TailPage;
use crate::driver::redb::core::Core;
use crate::driver::redb::failure::redb_failed;
use crate::driver::redb::format::segment::Segment;
use crate::driver::redb::read::committed_view::{decode_event, missing, read_segment};
use crate::driver::redb::read::history_page::PAGE_BYTES;
use crate::event::{AggregateKey, KeyedEvent};

const PAGE_KEYS: usize = 1_000;
/// At most so many events are taken from the tail at once.
const PAGE_EVENTS: usize = 4_096;

/// Keys page by page: those that the tail had at the beginning, merged into those of the
/// index.
pub(in crate::driver::redb) struct KeyLister {
    prefix: String,
    tail: Vec<AggregateKey>,
}

impl KeyLister {
    pub(in crate::driver::redb) fn begin(core: &Core, prefix: &str) -> Self {
        KeyLister { prefix: prefix.to_owned(), tail: core.tail.aggregates.keys(prefix) }
    }

    pub(in crate::driver::redb) fn page(
        &self,
        core: &Core,
        after: Option<&AggregateKey>,
    ) -> Result<Vec<AggregateKey>, DriverError> {
        core.open()?;
        let snapshot = core.snapshot()?;
        let from = after.map_or(self.prefix.as_str(), |after| after.as_str().max(&self.prefix));
        let behind = |key: &str| after.is_none_or(|after| key > after.as_str());
        let mut stored = snapshot.latest.range::<&str>(from..).map_err(redb_failed)?;
        let mut next_stored = || -> Result<Option<AggregateKey>, DriverError> {
            for entry in stored.by_ref() {
                let (key, _) = entry.map_err(redb_failed)?;
                if !key.value().starts_with(&self.prefix) {
                    return Ok(None);
                }
                if behind(key.value()) {
                    return stored_key(key.value()).map(Some);
                }
            }
            Ok(None)
        };
        let start = self.tail.partition_point(|key| !behind(key.as_str()));
        let mut others: Vec<AggregateKey> =
            self.tail.iter().skip(start).take(PAGE_KEYS).cloned().collect();
        for key in snapshot.unmerged.new_keys(from, &self.prefix, PAGE_KEYS + 1) {
            others.extend(behind(key).then(|| stored_key(key)).transpose()?);
        }
        others.sort_unstable();
        others.dedup();
        let mut others = others.into_iter().peekable();
        let mut stored = next_stored()?;
        let mut keys = Vec::new();
        while keys.len() < PAGE_KEYS {
            let key = match (stored.take(), others.peek()) {
                (None, None) => break,
                (Some(key), next) if next.is_none_or(|next| key <= *next) => {
                    if next == Some(&key) {
                        others.next();
                    }
                    stored = next_stored()?;
                    Some(key)
                }
                (kept, _) => {
                    stored = kept;
                    others.next()
                }
            };
            keys.extend(key);
        }
        Ok(keys)
    }
}

fn stored_key(key: &str) -> Result<AggregateKey, DriverError> {
    AggregateKey::new(key).map_err(|e| DriverError::damaged(format!("a stored key is none: {e}")))
}

/// The events from position `from` on, in order, at most `limit` and about 1 MiB.
pub(in crate::driver::redb) fn log_page(
    core: &Core,
    from: u64,
    limit: usize,
) -> Result<Vec<KeyedEvent>, DriverError> {
    core.open()?;
    let from = from.max(1);
    let tail = core.tail.behind(from, limit.min(PAGE_EVENTS), PAGE_BYTES);
    let end = stored_end(core, tail.first);
    let mut page = KeyPage { events: Vec::new(), bytes: 0, limit };
    if from < end {
        let snapshot = core.snapshot()?;
        let start = {
            let mut before = snapshot.log.range(..=from).map_err(redb_failed)?;
            match before.next_back() {
                Some(entry) => entry.map_err(redb_failed)?.0.value(),
                None => from,
            }
        };
        let mut next = from;
        for entry in snapshot.log.range(start..end).map_err(redb_failed)? {
            let (first, stored) = entry.map_err(redb_failed)?;
            let segment = read_segment(first.value(), stored.value())?;
            if segment.first_position() > next {
                return Err(missing(next));
            }
            let last = segment.next_position().min(end);
            if next < last && !page.push_all(&segment, stored.value(), next..last)? {
                return Ok(page.events);
            }
            next = last.max(next);
        }
        if next < end {
            return Err(missing(next));
        }
    }
    page.push_tail(&tail);
    Ok(page.events)
}

/// The events up to position `from` (all, for `None`), the last first, at most `limit` and about 1
/// MiB.
pub(in crate::driver::redb) fn log_page_backwards(
    core: &Core,
    from: Option<u64>,
    limit: usize,
) -> Result<Vec<KeyedEvent>, DriverError> {
    core.open()?;
    let from = from.unwrap_or(u64::MAX);
    let tail = core.tail.before(from, limit.min(PAGE_EVENTS), PAGE_BYTES);
    let mut last = from.min(stored_end(core, tail.first) - 1);
    let mut page = KeyPage { events: Vec::new(), bytes: 0, limit };
    page.push_tail(&tail);
    let reached = |page: &KeyPage| page.events.last().and_then(|event| event.position);
    if page.is_full() || reached(&page).is_some_and(|position| position.get() > last + 1) {
        return Ok(page.events);
    }
    let snapshot = core.snapshot()?;
    for entry in snapshot.log.range(..=last).map_err(redb_failed)?.rev() {
        let (first, stored) = entry.map_err(redb_failed)?;
        let segment = read_segment(first.value(), stored.value())?;
        if segment.next_position() <= last {
            return Err(missing(last));
        }
        let positions = (segment.first_position()..last + 1).rev();
        if !page.push_all(&segment, stored.value(), positions)? {
            return Ok(page.events);
        }
        last = segment.first_position() - 1;
    }
    if last > 0 { Err(missing(last)) } else { Ok(page.events) }
}

/// Behind the last position that is to be read from redb, when the tail was looked at before. An
/// event has left the tail only when `applied` says so, and a snapshot taken after this shows it.
fn stored_end(core: &Core, tail_first: Option<u64>) -> u64 {
    tail_first.unwrap_or_else(|| core.applied.load(Ordering::Acquire) + 1)
}

/// Events of the log on their way into a page.
struct KeyPage {
    events: Vec<KeyedEvent>,
    bytes: usize,
    limit: usize,
}

impl KeyPage {
    fn is_full(&self) -> bool {
        self.events.len() >= self.limit || self.bytes >= PAGE_BYTES
    }

    fn push(&mut self, event: KeyedEvent) {
        self.bytes += event.size_bytes();
        self.events.push(event);
    }

    /// Adds the tail's events as long as there is room.
    fn push_tail(&mut self, tail: &TailPage) {
        let mut events = tail.events();
        while !self.is_full()
            && let Some(event) = events.next()
        {
            self.push(event);
        }
    }

    /// Adds the events at these positions of a segment. Returns whether the page has room for more.
    fn push_all(
        &mut self,
        segment: &Segment<'_>,
        stored: &[u8],
        positions: impl Iterator<Item = u64>,
    ) -> Result<bool, DriverError> {
        let shared = Bytes::copy_from_slice(stored);
        for position in positions {
            if self.is_full() {
                return Ok(false);
            }
            let entry = segment.at(position).ok_or_else(|| missing(position))?;
            let key = AggregateKey::new(entry.key).map_err(|e| {
                DriverError::damaged(format!("the log at position {position}: {e}"))
            })?;
            let start = entry.record.as_ptr().addr() - stored.as_ptr().addr();
            let record = shared.slice(start..start + entry.record.len());
            self.push(decode_event(key, &entry, position, record)?);
        }
        Ok(!self.is_full())
    }
}
