//! The right to have a put in flight for an aggregate, and the facts that its decisions rest on.

use std::sync::Arc;

use super::Slot;
use crate::mailroom::commit_window::CommitWindow;
use crate::mailroom::entity_state::EntityState;
use crate::mailroom::fairness::Fairness;
use crate::mailroom::snapshot_saver::SnapshotSaver;

/// What is known of the aggregate besides its latest sequence.
#[derive(Default)]
pub(in crate::mailroom) struct AggregateFacts {
    /// The driver stated the latest sequence, so it may be built on even if it is 0.
    pub(in crate::mailroom) is_latest_confirmed: bool,
    /// How many puts failed. An entity's state that was folded before the last failure may hold
    /// events that were never written.
    pub(in crate::mailroom) failed_puts: u32,
    /// The latest commit ids, once an append needed them.
    pub(in crate::mailroom) window: Option<Box<CommitWindow>>,
    /// The entity's state, from the first command on.
    pub(in crate::mailroom) entity: Option<Box<EntityState>>,
    /// Once a snapshot was due.
    pub(in crate::mailroom) snapshots: Option<Arc<SnapshotSaver>>,
    /// Only where other stores may put too.
    fairness: Option<Box<Fairness>>,
}

impl AggregateFacts {
    pub(in crate::mailroom) fn fairness(&mut self) -> &mut Fairness {
        self.fairness.get_or_insert_default()
    }
}

/// The right to have a put in flight for one aggregate, with the facts that its decisions rest on.
/// Both return to the slot on drop, wherever that happens.
pub(in crate::mailroom) struct PutPermit {
    slot: Arc<Slot>,
    pub(in crate::mailroom) facts: AggregateFacts,
}

impl PutPermit {
    /// `facts` were taken out of the slot.
    pub(in crate::mailroom) fn new(slot: Arc<Slot>, facts: AggregateFacts) -> Self {
        PutPermit { slot, facts }
    }

    pub(in crate::mailroom) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }
}

impl Drop for PutPermit {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.slot.lock();
            debug_assert!(state.facts.is_none(), "a put permit too many");
            state.facts = Some(std::mem::take(&mut self.facts));
            match state.permit_is_awaited {
                true => state.inbox.waker(),
                false => None,
            }
        };
        if let Some(waker) = waker {
            self.slot.wake(waker);
        }
    }
}
