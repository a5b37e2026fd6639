//! redb as of its last commit: the log's segments and the index, for readers.

use bytes::Bytes;
use redb::{AccessGuard, Database, ReadOnlyTable, ReadableDatabase, ReadableTableMetadata};

use crate::driver::DriverError;
use crate::driver::redb::failure::redb_failed;
use crate::driver::redb::format::block::{Block, PositionRun};
use crate::driver::redb::format::delta::MemberAdditions;
use crate::driver::redb::format::segment::{Entry, Segment};
use crate::driver::redb::format::tables::{EARLIER, LATEST, LOG, earlier_key};
use crate::driver::redb::read::unmerged_index::UnmergedIndex;
use crate::event::{AggregateKey, KeyedEvent, Position, Sequence};

/// redb as of one commit. Kept and shared until the next, because opening tables costs more than
/// reading from them.
pub(in crate::driver::redb) struct CommittedView {
    pub(in crate::driver::redb) log: ReadOnlyTable<u64, &'static [u8]>,
    pub(in crate::driver::redb) latest: ReadOnlyTable<&'static str, &'static [u8]>,
    pub(in crate::driver::redb) earlier: ReadOnlyTable<&'static [u8], &'static [u8]>,
    /// What the blocks do not have.
    pub(in crate::driver::redb) unmerged: UnmergedIndex,
}

impl CommittedView {
    /// `unmerged` is as of the same commit.
    pub(in crate::driver::redb) fn take(
        database: &Database,
        unmerged: UnmergedIndex,
    ) -> Result<Self, DriverError> {
        let transaction = begin_read(database)?;
        Ok(CommittedView {
            log: transaction.open_table(LOG).map_err(redb_failed)?,
            latest: transaction.open_table(LATEST).map_err(redb_failed)?,
            earlier: transaction.open_table(EARLIER).map_err(redb_failed)?,
            unmerged,
        })
    }

    /// The number of aggregates in the index.
    pub(in crate::driver::redb) fn aggregates(&self) -> Result<u64, DriverError> {
        Ok(self.latest.len().map_err(redb_failed)? + self.unmerged.new_aggregates)
    }

    /// The block with the aggregate's latest events.
    fn latest_block(&self, key: &AggregateKey) -> Result<Option<Block>, DriverError> {
        let stored = self.latest.get(key.as_str()).map_err(redb_failed)?;
        stored.map(|stored| decode_block(key.as_str(), stored.value())).transpose()
    }

    /// The aggregate's latest sequence in redb.
    pub(in crate::driver::redb) fn latest_sequence(
        &self,
        key: &AggregateKey,
    ) -> Result<u64, DriverError> {
        let stored = self.latest_block(key)?.map_or(1, |block| block.next_sequence());
        let unmerged = self.unmerged.next_sequence(key.as_str()).unwrap_or(1);
        Ok(stored.max(unmerged) - 1)
    }

    /// Where the aggregate's events with the sequences `low..=high` stand, in the order of reading.
    /// Returns at most `limit` events, and true if these are all.
    pub(in crate::driver::redb) fn runs(
        &self,
        key: &AggregateKey,
        (low, high): (u64, u64),
        backwards: bool,
        limit: usize,
    ) -> Result<(Vec<PositionRun>, bool), DriverError> {
        let mut found = Runs { runs: Vec::new(), wanted: limit as u64 };
        let latest = self.latest_block(key)?;
        let behind = latest.as_ref().map_or(1, Block::next_sequence);
        let unmerged = (low.max(behind), high);
        let Some(latest) = latest else {
            let all = self.take_unmerged(key, unmerged, backwards, &mut found)?;
            return Ok((found.runs, all));
        };
        if backwards
            && !(self.take_unmerged(key, unmerged, true, &mut found)?
                && found.take(&latest, (low, high), true))
        {
            return Ok((found.runs, false));
        }
        let needs_latest = high >= latest.first_sequence();
        let mut joint = match (backwards, needs_latest) {
            (false, _) => Joint { sequence: low, is_end: false },
            (true, true) => Joint { sequence: latest.first_sequence(), is_end: true },
            (true, false) => Joint { sequence: high + 1, is_end: false },
        };
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
                let (place, stored) = entry.map_err(redb_failed)?;
                let block = decode_earlier(key.as_str(), place.value(), stored.value())?;
                joint = joint.pass(&block, backwards).ok_or_else(|| damaged_index(key.as_str()))?;
                if !found.take(&block, (low, high), backwards) {
                    return Ok((found.runs, false));
                }
            }
            let has_all = match (backwards, needs_latest) {
                (false, true) => joint.sequence == latest.first_sequence(),
                (false, false) => joint.sequence > high,
                (true, _) => joint.sequence <= low,
            };
            if !has_all {
                return Err(damaged_index(key.as_str()));
            }
        }
        let all = backwards
            || found.take(&latest, (low, high), false)
                && self.take_unmerged(key, unmerged, false, &mut found)?;
        Ok((found.runs, all))
    }

    /// Takes events that are in no block, as long as events are wanted. Returns whether all were
    /// taken.
    fn take_unmerged(
        &self,
        key: &AggregateKey,
        (low, high): (u64, u64),
        backwards: bool,
        found: &mut Runs,
    ) -> Result<bool, DriverError> {
        let parts: Vec<MemberAdditions<'_>> = self.unmerged.additions(key.as_str()).collect();
        let high = high.min(parts.last().map_or(0, |last| last.next_sequence() - 1));
        if low > high {
            return Ok(true);
        }
        let mut additions = parts.iter().flat_map(|part| part.between(low, high));
        // Forwards the next sequence that is wanted; backwards the one behind it.
        let mut at = if backwards { high + 1 } else { low };
        while let Some(next) = if backwards { additions.next_back() } else { additions.next() } {
            let (from, to) = (next.first_sequence, next.next_sequence());
            if at != if backwards { to } else { from } {
                return Err(damaged_index(key.as_str()));
            }
            at = if backwards { from } else { to };
            let run = PositionRun { first: next.first_position, events: next.events };
            if !found.take_run(run, backwards) {
                return Ok(false);
            }
        }
        let is_whole = at == if backwards { low } else { high + 1 };
        if is_whole { Ok(true) } else { Err(damaged_index(key.as_str())) }
    }

    /// The segment that holds `position`.
    pub(in crate::driver::redb) fn segment(
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

/// Where the blocks that were read so far end, in the direction of reading. An aggregate's blocks
/// follow one another without gaps.
#[derive(Clone, Copy)]
struct Joint {
    /// Forwards the next sequence that is wanted; backwards the one behind it.
    sequence: u64,
    /// Whether a block ends here.
    is_end: bool,
}

impl Joint {
    /// The end of `block`; `None` if it does not join.
    fn pass(self, block: &Block, backwards: bool) -> Option<Joint> {
        let (first, next) = (block.first_sequence(), block.next_sequence());
        let at = self.sequence;
        let joins = match (self.is_end, backwards) {
            (true, false) => first == at,
            (true, true) => next == at,
            (false, false) => first <= at && at < next,
            (false, true) => first < at && at <= next,
        };
        joins.then_some(Joint { sequence: if backwards { first } else { next }, is_end: true })
    }
}

struct Runs {
    runs: Vec<PositionRun>,
    wanted: u64,
}

impl Runs {
    /// Takes the block's runs as long as events are wanted. Returns whether all were taken.
    fn take(&mut self, block: &Block, (low, high): (u64, u64), backwards: bool) -> bool {
        if !backwards {
            return block.positions(low, high).all(|run| self.take_run(run, false));
        }
        let inside: Vec<PositionRun> = block.positions(low, high).collect();
        inside.into_iter().rev().all(|run| self.take_run(run, true))
    }

    fn take_run(&mut self, run: PositionRun, backwards: bool) -> bool {
        let events = run.events.min(self.wanted);
        self.wanted -= events;
        if events > 0 {
            let first = if backwards { run.first + run.events - events } else { run.first };
            self.runs.push(PositionRun { first, events });
        }
        events == run.events
    }
}

pub(in crate::driver::redb) fn decode_block(
    key: &str,
    stored: &[u8],
) -> Result<Block, DriverError> {
    Block::decode(key, stored).ok_or_else(|| damaged_index(key))
}

/// An earlier block, which must be the one of its place.
pub(in crate::driver::redb) fn decode_earlier(
    key: &str,
    place: &[u8],
    stored: &[u8],
) -> Result<Block, DriverError> {
    let block = decode_block(key, stored)?;
    let mut own = Vec::new();
    earlier_key(key, block.first_sequence(), &mut own);
    if own == place { Ok(block) } else { Err(damaged_index(key)) }
}

fn damaged_index(key: &str) -> DriverError {
    DriverError::damaged(format!("{key}: its index is damaged: run reindex"))
}

pub(in crate::driver::redb) fn missing(position: u64) -> DriverError {
    DriverError::damaged(format!("the log at position {position}: the event is missing"))
}

/// Reads a segment, and names the position where it is damaged.
pub(in crate::driver::redb) fn read_segment(
    first: u64,
    bytes: &[u8],
) -> Result<Segment<'_>, DriverError> {
    Segment::read(first, bytes)
        .map_err(|what| DriverError::damaged(format!("the log at position {first}: {what}")))
}

/// An event from its entry in a segment; `record` holds the entry's record.
pub(in crate::driver::redb) fn decode_event(
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

/// Opens a read transaction. Only this file needs redb's trait for it.
pub(in crate::driver::redb) fn begin_read(
    database: &Database,
) -> Result<redb::ReadTransaction, DriverError> {
    database.begin_read().map_err(redb_failed)
}
