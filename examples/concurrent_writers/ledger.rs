//! What the writers were told, kept compactly (24 bytes an append), so that it can be held against the
//! store afterwards. Each writer fills a book of its own; nothing is shared while they write.

use seriatim::Appended;
use uuid::Uuid;

use crate::payload::Origin;

/// What a writer was told of one append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is surely not there: refused, failed, or never sent.
    NotWritten,
    /// It is there, at the sequence told.
    Committed,
    /// It may be there or not.
    Indeterminate,
}

/// One append of a writer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// The lower half of the commit id told: of a version 7 id, the 62 random bits.
    pub(crate) commit: u64,
    /// The sequence told.
    pub(crate) sequence: u64,
    /// The index of its aggregate.
    pub(crate) aggregate: u32,
    pub(crate) fate: Fate,
}

/// All appends of one writer; the index of an entry is the append's counter.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) writer: u32,
    pub(crate) entries: Vec<Entry>,
}

impl Book {
    pub(crate) fn new(writer: u32) -> Self {
        Book { writer, entries: Vec::new() }
    }

    /// A new append to this aggregate; until its fate is known, it is one that is not written.
    pub(crate) fn begin(&mut self, aggregate: usize) -> Origin {
        let counter = self.entries.len() as u32;
        let aggregate = aggregate as u32;
        self.entries.push(Entry { commit: 0, sequence: 0, aggregate, fate: Fate::NotWritten });
        Origin { writer: self.writer, counter }
    }

    pub(crate) fn committed(&mut self, origin: Origin, appended: &Appended) {
        self.settle(origin, appended.commit_id, appended.first.get(), Fate::Committed);
    }

    pub(crate) fn indeterminate(&mut self, origin: Origin, commit_id: Uuid) {
        self.settle(origin, commit_id, 0, Fate::Indeterminate);
    }

    fn settle(&mut self, origin: Origin, commit_id: Uuid, sequence: u64, fate: Fate) {
        if let Some(entry) = self.entries.get_mut(origin.counter as usize) {
            entry.commit = lower_half(commit_id);
            entry.sequence = sequence;
            entry.fate = fate;
        }
    }
}

/// The books of all writers; a book's index is its writer.
pub(crate) type Ledger = Vec<Book>;

pub(crate) fn lower_half(commit_id: Uuid) -> u64 {
    commit_id.as_u64_pair().1
}
