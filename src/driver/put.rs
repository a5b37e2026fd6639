//! What goes to a driver at once, all or nothing.

use std::collections::HashSet;
use std::sync::OnceLock;

use smallvec::SmallVec;
use uuid::Uuid;

use crate::append::CheckedAppend;
use crate::error::{DriverError, Limit, LimitExceeded};
use crate::event::{AggregateKey, KeyedEvent, Position, Sequence};

/// The events of one or more appends, to be written all or not at all.
///
/// A put never changes after it is made: each sending has the same id, events, bytes and times.
#[derive(Debug)]
pub struct Put {
    id: OnceLock<Uuid>,
    events: SmallVec<[KeyedEvent; 1]>,
    size_bytes: usize,
}

/// Why a list of events is not a put.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPut {
    /// A put has at least one event.
    #[error("a put needs at least one event")]
    Empty,
    /// An aggregate's events are adjacent, and their sequences follow one another without gaps.
    /// Checked here for every driver, because engines disagree about a sequence that occurs twice.
    #[error("{key}: sequence {sequence} is out of order in the put")]
    OutOfOrder {
        /// The aggregate.
        key: AggregateKey,
        /// The first sequence that is out of order.
        sequence: Sequence,
    },
}

impl Put {
    /// A put of these events: those of one aggregate adjacent, with sequences that follow one
    /// another.
    ///
    /// # Errors
    ///
    /// [`InvalidPut`] when they are not.
    pub fn new(events: Vec<KeyedEvent>) -> Result<Self, InvalidPut> {
        Self::of(events.into())
    }

    pub(crate) fn of(events: SmallVec<[KeyedEvent; 1]>) -> Result<Self, InvalidPut> {
        if events.is_empty() {
            return Err(InvalidPut::Empty);
        }
        let put = Put {
            id: OnceLock::new(),
            size_bytes: events.iter().map(KeyedEvent::size_bytes).sum(),
            events,
        };
        put.check()?;
        Ok(put)
    }

    fn check(&self) -> Result<(), InvalidPut> {
        let mut seen = HashSet::new();
        let has_several = self.aggregates().nth(1).is_some();
        for aggregate in self.aggregates() {
            let out_of_order = |event: &KeyedEvent| InvalidPut::OutOfOrder {
                key: event.key.clone(),
                sequence: event.sequence,
            };
            let Some(first) = aggregate.first() else { continue };
            let is_repeated = has_several && !seen.insert(&first.key);
            if first.sequence == Sequence::NONE || is_repeated {
                return Err(out_of_order(first));
            }
            for pair in aggregate.windows(2) {
                if let [before, event] = pair
                    && event.sequence != before.sequence.next()
                {
                    return Err(out_of_order(event));
                }
            }
        }
        Ok(())
    }

    /// The put's id, the same for each sending. It is made on first use; embedded drivers never use
    /// it.
    pub fn id(&self) -> Uuid {
        *self.id.get_or_init(Uuid::now_v7)
    }

    /// The events, in order.
    pub fn events(&self) -> &[KeyedEvent] {
        &self.events
    }

    /// The events aggregate by aggregate.
    pub fn aggregates(&self) -> impl Iterator<Item = &[KeyedEvent]> {
        self.events.chunk_by(|a, b| a.key == b.key)
    }

    /// The bytes of all its events, as [`KeyedEvent::size_bytes`] counts them.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}

/// A driver's answer to a put that it wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutReceipt {
    /// The position of the put's first event, where the driver has a log; the others follow it.
    pub first_position: Option<Position>,
}

impl PutReceipt {
    /// A receipt with the position of the put's first event.
    pub fn at(first_position: Position) -> Self {
        PutReceipt { first_position: Some(first_position) }
    }
}

/// What a driver accepts in one put. Sizes are in bytes, as [`KeyedEvent::size_bytes`] counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Events in one put.
    pub events_per_put: usize,
    /// Bytes of all events in one put.
    pub bytes_per_put: usize,
    /// Bytes of one event.
    pub bytes_per_event: usize,
    /// Bytes of one key.
    pub bytes_per_key: usize,
    /// Aggregates in one put. The mailroom sends one; higher limits are for appends over several.
    pub aggregates_per_put: usize,
}

impl Default for Limits {
    /// 10,000 events and 16 MiB a put, 8 MiB an event, 512 bytes a key, one aggregate.
    fn default() -> Self {
        Limits {
            events_per_put: 10_000,
            bytes_per_put: 16 << 20,
            bytes_per_event: 8 << 20,
            bytes_per_key: AggregateKey::MAX_BYTES,
            aggregates_per_put: 1,
        }
    }
}

impl Limits {
    /// Refuses a put that is over one of these limits.
    ///
    /// # Errors
    ///
    /// [`DriverError::LimitExceeded`], naming the limit.
    pub fn check(&self, put: &Put) -> Result<(), DriverError> {
        at_most(Limit::EventsPerPut, self.events_per_put, put.events().len())?;
        at_most(Limit::BytesPerPut, self.bytes_per_put, put.size_bytes())?;
        at_most(Limit::AggregatesPerPut, self.aggregates_per_put, put.aggregates().count())?;
        for event in put.events() {
            at_most(Limit::BytesPerKey, self.bytes_per_key, event.key.as_str().len())?;
            at_most(Limit::BytesPerEvent, self.bytes_per_event, event.size_bytes())?;
        }
        Ok(())
    }

    /// Refuses an append that no put could hold.
    pub(crate) fn check_append(&self, append: &CheckedAppend) -> Result<(), LimitExceeded> {
        let key = &append.key;
        at_most(Limit::BytesPerKey, self.bytes_per_key, key.as_str().len())?;
        at_most(Limit::EventsPerPut, self.events_per_put, append.events.len())?;
        for event in &append.events {
            at_most(Limit::BytesPerEvent, self.bytes_per_event, event.size_bytes(key))?;
        }
        at_most(Limit::BytesPerPut, self.bytes_per_put, append.size_bytes)
    }
}

fn at_most(limit: Limit, max: usize, actual: usize) -> Result<(), LimitExceeded> {
    if actual > max { Err(LimitExceeded::new(limit, max, actual)) } else { Ok(()) }
}

/// Accepts a put only if its first sequence follows the latest one: below is a conflict, above a
/// gap.
pub(crate) fn refuse_unless_next(
    key: &AggregateKey,
    first: Sequence,
    latest: Sequence,
) -> Result<(), DriverError> {
    if first <= latest {
        return Err(DriverError::Conflict { key: key.clone(), sequence: first });
    }
    if first > latest.next() {
        return Err(DriverError::Gap { key: key.clone(), first, latest });
    }
    Ok(())
}
