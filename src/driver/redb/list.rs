//! Listing: keys in order and events in commit order, the tail's and redb's as one.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::core::Core;
use super::read::{PAGE_BYTES, decode_event, missing, read_segment};
use super::redb_failed;
use crate::driver::DriverError;
use crate::event::{AggregateKey, KeyedEvent};

const PAGE_KEYS: usize = 1_000;

/// Keys page by page: those of the tail as of the beginning, merged into redb's.
pub(super) struct Keys {
    prefix: String,
    tail: Vec<AggregateKey>,
}

impl Keys {
    pub(super) fn begin(core: &Core, prefix: &str) -> Self {
        Keys { prefix: prefix.to_owned(), tail: core.tail.keys(prefix) }
    }

    pub(super) fn page(
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
                    return AggregateKey::new(key.value())
                        .map(Some)
                        .map_err(|e| DriverError::damaged(format!("a stored key is none: {e}")));
                }
            }
            Ok(None)
        };
        let start = self.tail.partition_point(|key| !behind(key.as_str()));
        let mut tail = self.tail.iter().skip(start).cloned().peekable();
        let mut stored = next_stored()?;
        let mut keys = Vec::new();
        while keys.len() < PAGE_KEYS {
            let key = match (stored.take(), tail.peek()) {
                (None, None) => break,
                (Some(key), next) if next.is_none_or(|next| key <= *next) => {
                    if next == Some(&key) {
                        tail.next();
                    }
                    stored = next_stored()?;
                    Some(key)
                }
                (kept, _) => {
                    stored = kept;
                    tail.next()
                }
            };
            keys.extend(key);
        }
        Ok(keys)
    }
}

/// The events from position `from` on, in order, at most `limit` and about 1 MiB.
pub(super) fn log_page(
    core: &Core,
    from: u64,
    limit: usize,
) -> Result<Vec<KeyedEvent>, DriverError> {
    core.open()?;
    let from = from.max(1);
    // Before the tail and the snapshot: whatever is applied by now must be found below.
    let applied = core.applied.load(Ordering::Acquire);
    let (tail_first, tail) = core.tail.behind(from, limit);
    let end = tail_first.unwrap_or(applied + 1);
    let mut events = Vec::new();
    if from < end {
        let snapshot = core.snapshot()?;
        let start = {
            let mut before = snapshot.log.range(..=from).map_err(redb_failed)?;
            match before.next_back() {
                Some(entry) => entry.map_err(redb_failed)?.0.value(),
                None => from,
            }
        };
        let mut bytes = 0;
        let mut next = from;
        for entry in snapshot.log.range(start..end).map_err(redb_failed)? {
            let (first, stored) = entry.map_err(redb_failed)?;
            let first = first.value();
            let segment = read_segment(first, stored.value())?;
            if first > next {
                return Err(missing(next));
            }
            let shared = Bytes::copy_from_slice(stored.value());
            while next < segment.next_position().min(end) {
                if events.len() >= limit || bytes >= PAGE_BYTES {
                    return Ok(events);
                }
                let entry = segment.at(next).ok_or_else(|| missing(next))?;
                let key = AggregateKey::new(entry.key).map_err(|e| {
                    DriverError::damaged(format!("the log at position {next}: {e}"))
                })?;
                let start = entry.record.as_ptr().addr() - stored.value().as_ptr().addr();
                let record = shared.slice(start..start + entry.record.len());
                bytes += record.len();
                events.push(decode_event(key, &entry, next, record)?);
                next += 1;
            }
        }
        if next < end {
            return Err(missing(next));
        }
    }
    let wanted = limit - events.len();
    events.extend(tail.into_iter().take(wanted));
    Ok(events)
}
