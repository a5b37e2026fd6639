//! What keeps a slot in the registry, and what a mail holds until it is answered.

use std::sync::Arc;

use super::Slot;
use crate::error::AppendError;
use crate::sync::atomic::Ordering;

/// Keeps an aggregate resident.
pub(crate) struct Lease(Arc<Slot>);

impl Lease {
    pub(in crate::mailroom) fn new(slot: &Arc<Slot>) -> Self {
        slot.leases.fetch_add(1, Ordering::SeqCst);
        slot.mark_used();
        Lease(slot.clone())
    }

    pub(in crate::mailroom) fn slot(&self) -> &Arc<Slot> {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.0.leases.fetch_sub(1, Ordering::SeqCst) == 1 {
            let shared = self.0.shared();
            shared.seats.one_may_leave();
            if shared.states.are_over() {
                shared.seats.ask_for_more();
            }
        }
    }
}

/// What a mail carries from the door to its answer: the lease that keeps the aggregate resident,
/// and what it has so far of a permit of the aggregate and its bytes.
pub(in crate::mailroom) struct Ticket {
    lease: Lease,
    has_permit: bool,
    bytes: u32,
}

impl Ticket {
    /// Takes a permit and bytes in one step, if nobody waits for either. Otherwise enters with what
    /// can be had now.
    ///
    /// # Errors
    ///
    /// [`AppendError::Closed`].
    pub(super) fn take(lease: Lease, bytes: u32) -> Result<Ticket, AppendError> {
        let slot = lease.slot();
        let admission = &slot.shared().admission;
        let has_permit = slot.try_permit();
        let entered = match has_permit {
            true => admission.enter_with(bytes),
            false => Ok(false),
        };
        let entered = match entered {
            Ok(false) => admission.enter().map(|()| false),
            all => all,
        };
        match entered {
            Ok(true) => Ok(Ticket { lease, has_permit, bytes }),
            Ok(false) => Ok(Ticket { lease, has_permit, bytes: 0 }),
            Err(closed) => {
                if has_permit {
                    slot.give_permit_back();
                }
                Err(closed)
            }
        }
    }

    pub(super) fn slot(&self) -> &Arc<Slot> {
        self.lease.slot()
    }

    pub(super) fn has_permit(&self) -> bool {
        self.has_permit
    }

    pub(super) fn is_whole(&self, bytes: u32) -> bool {
        self.has_permit && self.bytes == bytes
    }

    /// The permit was taken.
    pub(super) fn add_permit(&mut self) {
        self.has_permit = true;
    }

    /// The bytes were taken.
    pub(super) fn add_bytes(&mut self, bytes: u32) {
        self.bytes = bytes;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let slot = self.lease.slot();
        if self.has_permit {
            slot.give_permit_back();
        }
        slot.shared().admission.leave(self.bytes);
    }
}
