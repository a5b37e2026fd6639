//! Slots on which writers were refused lately, found without a lock.
//!
//! Writers that are refused on one aggregate would contend for the lock of its shard of the
//! registry: each look-up takes the lock's cache line from the other cores. A row of this cache is
//! only read while nothing changes.
//!
//! What must stay true: a slot is noted only while it cannot leave the registry, and is forgotten
//! when it has left, so that no slot is kept in memory. Keys that share a row replace one another,
//! which costs only time.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::slot::Slot;
use crate::event::AggregateKey;
use crate::sync::Ref;
use crate::sync::atomic::{AtomicU32, Ordering};

const ROWS: usize = 64;
/// One refusal in so many is noted. Noting costs more than a look-up in the registry, and writers
/// that are refused on ever other aggregates must not pay for it.
const REFUSALS_PER_NOTE: u32 = 64;

pub(super) struct ConflictCache {
    rows: [CachedSlot; ROWS],
}

#[derive(Default)]
struct CachedSlot {
    /// Of the noted key, so that a look-up of another key does not touch the slot.
    hash: AtomicU32,
    slot: ArcSwapOption<Slot>,
}

/// Keys mostly differ at their ends. A bad spread costs only time.
fn hash(key: &AggregateKey) -> u32 {
    let end = key.as_str().bytes().rev().take(8);
    end.fold(1_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)))
}

impl ConflictCache {
    pub(super) fn new() -> Self {
        ConflictCache { rows: std::array::from_fn(|_| CachedSlot::default()) }
    }

    fn row(&self, hash: u32) -> Option<&CachedSlot> {
        self.rows.get(hash as usize % ROWS)
    }

    /// What `look` says of the aggregate's slot, if it is noted here.
    pub(super) fn look<T>(
        &self,
        key: &AggregateKey,
        look: impl FnOnce(&Slot) -> Option<T>,
    ) -> Option<T> {
        let hash = hash(key);
        let row = self.row(hash).filter(|row| row.hash.load(Ordering::Relaxed) == hash)?;
        let noted = row.slot.load();
        noted.as_ref().filter(|slot| slot.key() == key).and_then(|slot| look(slot))
    }

    /// A writer was refused on this aggregate. The reference into the registry keeps it there.
    pub(super) fn note(&self, slot: &Ref<'_, AggregateKey, Arc<Slot>>) {
        if fastrand::u32(..REFUSALS_PER_NOTE) > 0 {
            return;
        }
        let hash = hash(slot.key());
        if let Some(row) = self.row(hash) {
            row.slot.store(Some(Arc::clone(slot)));
            row.hash.store(hash, Ordering::Relaxed);
        }
    }

    pub(super) fn forget(&self, slot: &Arc<Slot>) {
        if let Some(row) = self.row(hash(slot.key()))
            && row.slot.load().as_ref().is_some_and(|noted| Arc::ptr_eq(noted, slot))
        {
            row.slot.store(None);
        }
    }
}
