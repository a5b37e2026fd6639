//! Reading: the tail first, then redb as it was committed last.
//!
//! An event is in the tail until a snapshot that shows it is in place, and leaves the tail only
//! after. So whoever looks at the tail first and takes the snapshot then sees every event, and what is in
//! both is taken from the tail. A page costs one look into the index and one into the log for each run of
//! neighbouring events; no other aggregate's history is read, though its events may share a segment.

use bytes::Bytes;
use redb::{AccessGuard, Database, ReadOnlyTable};

use super::block::{Block, Run};
use super::core::{Core, begin_read};
use super::page::Page;
use super::redb_failed;
use super::segment::{Entry, Segment};
use super::tables::{EARLIER, LATEST, LOG, earlier_key};
use crate::driver::{DriverError, EventPage, Fetch};
use crate::event::{AggregateKey, KeyedEvent, Position, Sequence};

const PAGE_EVENTS: usize = 1_000;
pub(super) const PAGE_BYTES: usize = 1 << 20;

/// redb as of one commit. Kept and shared until the next, because opening tables costs more than
/// reading from them.
pub(super) struct Snapshot {
    pub(super) log: ReadOnlyTable<u64, &'static [u8]>,
    pub(super) latest: ReadOnlyTable<&'static str, &'static [u8]>,
    pub(super) earlier: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl Snapshot {
    pub(super) fn take(database: &Database) -> Result<Self, DriverError> {
        let transaction = begin_read(database)?;
        Ok(Snapshot {
            log: transaction.open_table(LOG).map_err(redb_failed)?,
            latest: transaction.open_table(LATEST).map_err(redb_failed)?,
            earlier: transaction.open_table(EARLIER).map_err(redb_failed)?,
        })
    }

    /// The block with the aggregate's latest events.
    fn latest_block(&self, key: &AggregateKey) -> Result<Option<Block>, DriverError> {
        let stored = self.latest.get(key.as_str()).map_err(redb_failed)?;
        stored.map(|stored| decode_block(key.as_str(), stored.value())).transpose()
    }

    /// The aggregate's latest sequence in redb.
    pub(super) fn latest_sequence(&self, key: &AggregateKey) -> Result<u64, DriverError> {
        Ok(self.latest_block(key)?.map_or(0, |block| block.next_sequence() - 1))
    }

    /// Where the aggregate's events with the sequences `low..=high` stand, in the order of reading and
    /// no more than `limit` events; and whether that is all of them.
    fn runs(
        &self,
        key: &AggregateKey,
        (low, high): (u64, u64),
        backwards: bool,
        limit: usize,
    ) -> Result<(Vec<Run>, bool), DriverError> {
        let Some(latest) = self.latest_block(key)? else { return Ok((Vec::new(), true)) };
        let mut found = Runs { runs: Vec::new(), wanted: limit as u64 };
        if backwards && !found.take(&latest, (low, high), true) {
            return Ok((found.runs, false));
        }
        if low < latest.first_sequence() {
            let (mut from, mut to) = (Vec::new(), Vec::new());
            earlier_key(key.as_str(), 0, &mut from);
            earlier_key(key.as_str(), low, &mut to);
            let mut before =
                self.earlier.range::<&[u8]>(&from[..]..=&to[..]).map_err(redb_failed)?;
            if let Some(entry) = before.next_back() {
                from = entry.map_err(redb_failed)?.0.value().to_vec();
            }
            earlier_key(key.as_str(), high, &mut to);
            let mut blocks =
                self.earlier.range::<&[u8]>(&from[..]..=&to[..]).map_err(redb_failed)?;
            while let Some(entry) = if backwards { blocks.next_back() } else { blocks.next() } {
                let block = decode_block(key.as_str(), entry.map_err(redb_failed)?.1.value())?;
                if !found.take(&block, (low, high), backwards) {
                    return Ok((found.runs, false));
                }
            }
        }
        let all = backwards || found.take(&latest, (low, high), false);
        Ok((found.runs, all))
    }

    /// The segment that holds `position`.
    pub(super) fn segment(
        &self,
        position: u64,
    ) -> Result<(u64, AccessGuard<'static, &'static [u8]>), DriverError> {
        let mut range = self.log.range(..=position).map_err(redb_failed)?;
        match range.next_back() {
            Some(entry) => {
                let (first, bytes) = entry.map_err(redb_failed)?;
                Ok((first.value(), bytes))
            }
            None => Err(missing(position)),
        }
    }
}

struct Runs {
    runs: Vec<Run>,
    wanted: u64,
}

impl Runs {
    /// Takes the block's runs as long as events are wanted; whether all were taken.
    fn take(&mut self, block: &Block, (low, high): (u64, u64), backwards: bool) -> bool {
        if !backwards {
            return block.positions(low, high).all(|run| self.take_run(run, false));
        }
        let inside: Vec<Run> = block.positions(low, high).collect();
        inside.into_iter().rev().all(|run| self.take_run(run, true))
    }

    fn take_run(&mut self, run: Run, backwards: bool) -> bool {
        let events = run.events.min(self.wanted);
        self.wanted -= events;
        if events > 0 {
            let first = if backwards { run.first + run.events - events } else { run.first };
            self.runs.push(Run { first, events });
        }
        events == run.events
    }
}

pub(super) fn decode_block(key: &str, stored: &[u8]) -> Result<Block, DriverError> {
    Block::decode(stored)
        .ok_or_else(|| DriverError::damaged(format!("{key}: its index is damaged: run reindex")))
}

pub(super) fn missing(position: u64) -> DriverError {
    DriverError::damaged(format!("the log at position {position}: the event is missing"))
}

/// Reads a segment, and names the position where it is damaged.
pub(super) fn read_segment(first: u64, bytes: &[u8]) -> Result<Segment<'_>, DriverError> {
    Segment::read(first, bytes)
        .map_err(|what| DriverError::damaged(format!("the log at position {first}: {what}")))
}

/// An event from its entry in a segment; `record` holds the entry's record.
pub(super) fn decode_event(
    key: AggregateKey,
    entry: &Entry<'_>,
    position: u64,
    record: Bytes,
) -> Result<KeyedEvent, DriverError> {
    let mut event = KeyedEvent::decode_record(key, Sequence::new(entry.sequence), record)
        .map_err(|e| DriverError::damaged(format!("the log at position {position}: {e}")))?;
    event.position = Some(Position::new(position));
    Ok(event)
}

pub(super) fn page(
    core: &Core,
    key: &AggregateKey,
    fetch: Fetch,
) -> Result<EventPage, DriverError> {
    core.open()?;
    let Some((low, high)) = fetch.bounds() else { return Ok(EventPage::default()) };
    let (low, mut high) = (low.get(), high.get());
    let view = core.tail.aggregates.view(key, low, high);
    if let Some(visible) = view.visible {
        high = high.min(visible);
    }
    if low > high {
        return Ok(EventPage::default());
    }
    let wanted = fetch.limit.unwrap_or(usize::MAX).min(PAGE_EVENTS);
    let mut page = Page::new(key, wanted);
    let stored = (low, high.min(view.first.map_or(u64::MAX, |first| first - 1)));
    let all = match fetch.backwards {
        false => {
            from_redb(core, &mut page, stored, false)?
                && from_tail(&view, &mut page, (low, high), false)
        }
        true => {
            from_tail(&view, &mut page, (low, high), true)
                && from_redb(core, &mut page, stored, true)?
        }
    };
    Ok(EventPage::new(page.into_events(), !all))
}

/// Whether the page took all there is.
fn from_tail(
    view: &super::known::View,
    page: &mut Page<'_>,
    (low, high): (u64, u64),
    backwards: bool,
) -> bool {
    for event in view.events(low, high, backwards) {
        if page.is_full() {
            return false;
        }
        page.push(event);
    }
    true
}

/// Whether the page took all there is.
fn from_redb(
    core: &Core,
    page: &mut Page<'_>,
    (low, high): (u64, u64),
    backwards: bool,
) -> Result<bool, DriverError> {
    if low > high {
        return Ok(true);
    }
    if page.is_full() {
        return Ok(false);
    }
    let snapshot = core.snapshot()?;
    let (runs, all) = snapshot.runs(page.key(), (low, high), backwards, page.room())?;
    Ok(page.push_runs((core, &snapshot), &runs, backwards)? && all)
}

/// The aggregate's latest sequence.
pub(super) fn latest(core: &Core, key: &AggregateKey) -> Result<u64, DriverError> {
    core.open()?;
    match core.tail.aggregates.visible(key) {
        Some(visible) => Ok(visible),
        None => core.snapshot()?.latest_sequence(key),
    }
}
