//! The face that every store shows to a workload.
//!
//! A writer hands in what it has seen of an aggregate and gets back what it sees now. What that number
//! means is the contender's own affair: a sequence here, a position in the whole log there. Zero is "no
//! event yet" for all of them.

use std::future::Future;
use std::sync::Arc;

use super::Payload;

/// An aggregate key; shared, so that a queue can hold it without copying the text.
pub(crate) type Key = Arc<str>;

/// What a writer knows of an aggregate: 0, or what its latest append answered.
pub(crate) type Seen = u64;

/// What an append comes to. Anything else is a failure of the bench and panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Durable; and what the next append to this aggregate hands in.
    Appended(Seen),
    /// Something was appended to the aggregate since what was handed in.
    Conflict,
}

impl Outcome {
    /// What the writer sees now.
    pub(crate) fn seen(self) -> Seen {
        match self {
            Outcome::Appended(seen) => seen,
            Outcome::Conflict => panic!("a conflict on an aggregate with one writer"),
        }
    }
}

/// What a reader got: it owned every event, and looked at each payload's length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// Events read.
    pub(crate) events: u64,
    /// Bytes of their payloads.
    pub(crate) bytes: u64,
}

impl Replayed {
    /// Counts payloads by their lengths.
    pub(crate) fn count(lengths: impl Iterator<Item = usize>) -> Self {
        lengths.fold(Replayed::default(), |sum, length| Replayed {
            events: sum.events + 1,
            bytes: sum.bytes + length as u64,
        })
    }
}

/// A store under measurement. A clone is another handle to the same store.
pub(crate) trait Contender: Clone + Send + Sync + 'static {
    /// Appends the payloads as one append, all or nothing, if nothing was appended to the aggregate since
    /// `seen`. Its answer is durable, except in stores that are memory only.
    fn append(
        &self,
        key: &Key,
        seen: Seen,
        payloads: &'static [Payload],
    ) -> impl Future<Output = Outcome> + Send;

    /// Reads the aggregate's events from its first to its last.
    fn replay(&self, key: &Key) -> impl Future<Output = Replayed> + Send;

    /// Closes the store. This is the last handle.
    fn close(self) -> impl Future<Output = ()> + Send;
}
