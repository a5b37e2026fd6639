//! What keeps a slot in the registry, and what a mail holds until it is answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Slot;
use crate::error::AppendError;
use crate::mailroom::admission::Wait;

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
            self.0.shared().seats.one_may_leave();
        }
    }
}

/// What a mail carries until it is answered: a permit of the aggregate, its bytes, and the lease
/// that keeps the aggregate resident.
pub(in crate::mailroom) struct Ticket {
    lease: Lease,
    bytes: u32,
}

impl Ticket {
    /// Takes a permit of the aggregate and the append's bytes. Waits for both, or answers that it
    /// would.
    pub(in crate::mailroom) async fn take(
        lease: Lease,
        size_bytes: usize,
        wait: Wait,
    ) -> Result<Ticket, AppendError> {
        let slot = lease.slot();
        let admission = &slot.shared().admission;
        let bytes = admission.bytes_of(size_bytes);
        let busy = || AppendError::Busy { key: slot.key().clone() };
        admission.acquire(slot.permits(), bytes, wait, busy).await?;
        Ok(Ticket { lease, bytes })
    }

    pub(in crate::mailroom) fn slot(&self) -> &Arc<Slot> {
        self.lease.slot()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let slot = self.lease.slot();
        slot.permits().add_permits(1);
        slot.shared().admission.leave(self.bytes);
    }
}
