//! What the thread that writes a frame holds: the place in the journal, and the frame being made.

use std::time::Duration;

use uuid::Uuid;

use crate::driver::redb::format::tables::StoreState;
use crate::driver::redb::journal::files::{Cursor, Journal};
use crate::driver::redb::journal::frame::{self, ExpectedFrame};
use crate::event::Timestamp;
use crate::stats::{DistributionCells, Owner};

/// What is counted of flushes that puts waited for. Only whoever holds the [`Committer`] counts, so
/// the cells have one owner at a time.
#[derive(Default)]
pub(in crate::driver::redb) struct Flushes {
    pub(in crate::driver::redb) time: DistributionCells,
    pub(in crate::driver::redb) puts: DistributionCells,
}

impl Flushes {
    /// The frame of so many puts is written and flushed.
    pub(in crate::driver::redb) fn count(&self, _holder: &Committer, took: Duration, puts: u64) {
        self.time.record(took, Owner::Alone);
        self.puts.record(puts, Owner::Alone);
    }
}

/// What only whoever writes a frame touches.
pub(in crate::driver::redb) struct Committer {
    pub(in crate::driver::redb) cursor: Cursor,
    pub(in crate::driver::redb) frame: frame::FrameBuilder,
    /// The next frame's.
    pub(in crate::driver::redb) next: ExpectedFrame,
    pub(in crate::driver::redb) latest_time: Timestamp,
    pub(in crate::driver::redb) store: Uuid,
    pub(in crate::driver::redb) epoch: u64,
}

impl Committer {
    pub(in crate::driver::redb) fn new(journal: &Journal, state: &StoreState) -> Self {
        Committer {
            cursor: journal.cursor(),
            frame: frame::FrameBuilder::default(),
            next: ExpectedFrame { position: state.applied + 1, number: state.frame + 1 },
            latest_time: state.latest_time,
            store: state.store,
            epoch: state.epoch,
        }
    }
}
