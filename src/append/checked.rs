//! An append that passed its checks, ready for a decision.

use smallvec::SmallVec;
use uuid::Uuid;

use super::Expected;
use crate::event::{AggregateKey, CheckedEvents};

/// An [`Append`](super::Append) that passed its checks.
#[derive(Debug)]
pub(crate) struct CheckedAppend {
    pub(crate) key: AggregateKey,
    pub(crate) expected: Expected,
    pub(crate) events: CheckedEvents,
    pub(crate) commit_id: Uuid,
    /// Whether the caller chose the commit id, and so may repeat the append.
    pub(crate) own_commit_id: bool,
    /// Tells this call from others with the same commit id. `None` if the store made the id, which
    /// no other call has.
    pub(crate) attempt: Option<u64>,
    pub(crate) size_bytes: usize,
}

impl CheckedAppend {
    /// Holds the events that a command will decide, behind whatever event is the latest then.
    pub(crate) fn undecided(key: AggregateKey, commit_id: Option<Uuid>) -> Self {
        CheckedAppend {
            key,
            expected: Expected::Any,
            events: SmallVec::new(),
            own_commit_id: commit_id.is_some(),
            attempt: commit_id.map(|_| new_attempt()),
            commit_id: commit_id.unwrap_or_else(Uuid::now_v7),
            size_bytes: 0,
        }
    }

    pub(crate) fn set_events(&mut self, events: CheckedEvents) {
        self.size_bytes = events.iter().map(|event| event.size_bytes(&self.key)).sum();
        self.events = events;
    }

    pub(crate) fn len(&self) -> u64 {
        self.events.len() as u64
    }

    pub(crate) fn same_content(&self, other: &CheckedAppend) -> bool {
        self.events.len() == other.events.len()
            && self.events.iter().zip(&other.events).all(|(a, b)| a == b)
    }
}

/// A number for one call. Two calls with the same commit id have the same number by a chance of one
/// in 2^53: readers of JSON that know only floats keep such a number.
pub(super) fn new_attempt() -> u64 {
    fastrand::u64(..1 << 53)
}
