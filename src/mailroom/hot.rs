//! Where writers were refused lately: a way to a hot aggregate's slot that passes no lock.
//!
//! Many writers that are refused on one aggregate would spend their time on the lock of its shard of the
//! registry, whose cache line every look-up takes from the other cores. A place here is only read, as long as
//! nothing changes.
//!
//! What must stay true: a slot is noted while it cannot leave the registry, and forgotten when it has left, so
//! that none is kept from being freed. Keys that share a place replace one another, and lose nothing but time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwapOption;
use dashmap::mapref::one::Ref;

use super::slot::Slot;
use crate::event::AggregateKey;

const PLACES: usize = 64;
/// Noting costs more than a look at the registry, so it is done once in so many refusals: writers who are refused
/// everywhere must not pay for it.
const REFUSALS_PER_NOTE: u32 = 64;

pub(super) struct HotSlots {
    places: [Place; PLACES],
}

#[derive(Default)]
struct Place {
    /// Of the key that is noted, so that others need not look at its slot.
    mark: AtomicU32,
    slot: ArcSwapOption<Slot>,
}

/// Keys mostly differ at their ends, and a bad spread costs only time.
fn mark(key: &AggregateKey) -> u32 {
    let end = key.as_str().bytes().rev().take(8);
    end.fold(1_u32, |mark, byte| mark.wrapping_mul(31).wrapping_add(u32::from(byte)))
}

impl HotSlots {
    pub(super) fn new() -> Self {
        HotSlots { places: std::array::from_fn(|_| Place::default()) }
    }

    fn place(&self, mark: u32) -> Option<&Place> {
        self.places.get(mark as usize % PLACES)
    }

    /// What `look` says of the aggregate's slot, if it is noted here.
    pub(super) fn look<T>(
        &self,
        key: &AggregateKey,
        look: impl FnOnce(&Slot) -> Option<T>,
    ) -> Option<T> {
        let mark = mark(key);
        let place = self.place(mark).filter(|place| place.mark.load(Ordering::Relaxed) == mark)?;
        let noted = place.slot.load();
        noted.as_ref().filter(|slot| slot.key() == key).and_then(|slot| look(slot))
    }

    /// A writer was refused on this aggregate, which stays in the registry as long as the caller looks at it.
    pub(super) fn note(&self, slot: &Ref<'_, AggregateKey, Arc<Slot>>) {
        if fastrand::u32(..REFUSALS_PER_NOTE) > 0 {
            return;
        }
        let mark = mark(slot.key());
        if let Some(place) = self.place(mark) {
            place.slot.store(Some(Arc::clone(slot)));
            place.mark.store(mark, Ordering::Relaxed);
        }
    }

    pub(super) fn forget(&self, slot: &Arc<Slot>) {
        if let Some(place) = self.place(mark(slot.key()))
            && place.slot.load().as_ref().is_some_and(|noted| Arc::ptr_eq(noted, slot))
        {
            place.slot.store(None);
        }
    }
}
