//! The resident aggregates in the order of their last use, as passivation needs it: without a scan.
//!
//! ```text
//! becomes resident ─▶ row of its tick … ◀─ put back, where its last use belongs ── used, or leased
//!                      oldest row first ─▶ looked at ─▶ not used since: passivated
//! ```
//!
//! A row holds the slots that were last used in one tick, as far as was known when they were put
//! there. A use only writes the slot's own tick. Whoever looks for slots to passivate takes the
//! first of the oldest row, and puts it where it belongs if it was used meanwhile. So each use
//! costs at most one look, and the order is that of last use, exact to a tick.
//!
//! # What must stay true
//!
//! - Every slot of the registry is in one row, except while it is looked at.
//! - Rows without slots are removed: the least row is the oldest use.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError};

use super::slot::Slot;
use crate::sync::{Mutex, MutexGuard};

type Rows = BTreeMap<u64, VecDeque<Arc<Slot>>>;

#[derive(Default)]
pub(super) struct Recency {
    rows: Mutex<Rows>,
}

impl Recency {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a slot where its last use belongs.
    pub(super) fn put(&self, slot: Arc<Slot>) {
        let used = slot.last_used();
        self.rows().entry(used).or_default().push_back(slot);
    }

    /// Takes a slot out of the oldest row, with the row's tick, if that is before `tick`.
    pub(super) fn take_oldest(&self, tick: u64) -> Option<(u64, Arc<Slot>)> {
        let mut rows = self.rows();
        let mut oldest = rows.first_entry().filter(|row| *row.key() < tick)?;
        let slot = oldest.get_mut().pop_front();
        let used = *oldest.key();
        if oldest.get().is_empty() {
            oldest.remove();
        }
        Some((used, slot?))
    }

    /// Forgets all slots.
    pub(super) fn clear(&self) {
        let rows = std::mem::take(&mut *self.rows());
        // Dropped without the lock.
        drop(rows);
    }
}
