//! How many bytes the states of resident entities may have.
//!
//! Each turn tells the slot what the state weighs. When all together weigh too much, the supervisor
//! passivates the least recently used aggregates.
//!
//! # What must stay true
//!
//! - The bytes are those of slots that are not dropped; a slot that has left the registry, and is
//!   not dropped yet, counts as leaving too. So what is on its way out is not passivated for twice.
//! - A state that alone weighs more than the bound is not counted. The turn drops it that leaves
//!   no mail left: passivating all others would not help.

use crate::sync::atomic::{AtomicUsize, Ordering};

/// Small states count as so much, and bytes are counted in steps of it: that keeps a shared cache
/// line out of most turns.
const STEP: usize = 1 << 10;

/// The bytes of one store's resident states.
pub(super) struct ResidentStates {
    max: usize,
    bytes: AtomicUsize,
    leaving: AtomicUsize,
}

impl ResidentStates {
    pub(super) fn new(max: usize) -> Self {
        ResidentStates { max, bytes: AtomicUsize::new(0), leaving: AtomicUsize::new(0) }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What a state of so many bytes counts; `None` if it may not stay.
    pub(super) fn counted(&self, bytes: usize) -> Option<usize> {
        let counted = bytes.checked_next_multiple_of(STEP).unwrap_or(bytes);
        (bytes <= self.max).then_some(counted)
    }

    pub(super) fn change(&self, before: usize, now: usize) {
        match now >= before {
            true => self.bytes.fetch_add(now - before, Ordering::SeqCst),
            false => self.bytes.fetch_sub(before - now, Ordering::SeqCst),
        };
    }

    /// The aggregate of a state has left the registry.
    pub(super) fn leave(&self, bytes: usize) {
        self.leaving.fetch_add(bytes, Ordering::SeqCst);
    }

    /// The slot of that aggregate is dropped, and its state is gone.
    pub(super) fn have_left(&self, bytes: usize) {
        self.leaving.fetch_sub(bytes, Ordering::SeqCst);
    }

    fn staying(&self) -> usize {
        self.bytes.load(Ordering::SeqCst).saturating_sub(self.leaving.load(Ordering::SeqCst))
    }

    /// Whether the states weigh more than they may.
    pub(super) fn are_over(&self) -> bool {
        self.staying() > self.max
    }

    /// Whether more are to be passivated, once they weighed too much. A little more than needed, so
    /// that the supervisor is woken seldom.
    pub(super) fn are_too_many(&self) -> bool {
        self.staying() > self.max - self.max / 16
    }
}
