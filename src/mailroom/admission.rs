//! What bounds the mailroom as a whole: bytes in flight, and the door that closes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Notify, Semaphore};

use super::Wait;
use super::registry::Lease;
use super::slot::Slot;
use crate::error::AppendError;

/// The door of the mailroom. Cheap to pass while it is open.
pub(super) struct Admission {
    closed: AtomicBool,
    /// Tickets out.
    admitted: AtomicUsize,
    drained: Notify,
    bytes: Semaphore,
    bytes_total: u32,
}

/// What a mail carries until it is answered: its place in the aggregate's mailbox, its bytes, and the
/// lease that keeps the aggregate resident.
pub(super) struct Ticket {
    lease: Lease,
    bytes: u32,
}

impl Ticket {
    pub(super) fn slot(&self) -> &Arc<Slot> {
        self.lease.slot()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let slot = self.lease.slot();
        let admission = &slot.common().admission;
        admission.bytes.add_permits(self.bytes as usize);
        slot.permits().add_permits(1);
        admission.leave();
    }
}

impl Admission {
    pub(super) fn new(bytes_in_flight: usize) -> Self {
        let bytes_total = u32::try_from(bytes_in_flight).unwrap_or(u32::MAX);
        Admission {
            closed: AtomicBool::new(false),
            admitted: AtomicUsize::new(0),
            drained: Notify::new(),
            bytes: Semaphore::new(bytes_total as usize),
            bytes_total,
        }
    }

    /// A permit of the aggregate and the append's bytes; waits for both, or says that it would.
    pub(super) async fn ticket(
        &self,
        lease: Lease,
        size_bytes: usize,
        wait: Wait,
    ) -> Result<Ticket, AppendError> {
        let entered = self.enter()?;
        // An append larger than all room there is takes all of it, and so passes alone.
        let bytes = u32::try_from(size_bytes).unwrap_or(u32::MAX).min(self.bytes_total);
        let permits = lease.slot().permits();
        let (permit, byte_permits) = match (permits.try_acquire(), wait) {
            (Ok(permit), Wait::Never) => (permit, self.bytes.try_acquire_many(bytes).ok()),
            (Ok(permit), Wait::ForRoom) => (permit, self.bytes.acquire_many(bytes).await.ok()),
            (Err(_), Wait::Never) => return Err(busy(&lease)),
            (Err(_), Wait::ForRoom) => match permits.acquire().await {
                Ok(permit) => (permit, self.bytes.acquire_many(bytes).await.ok()),
                Err(_) => return Err(AppendError::Closed),
            },
        };
        let Some(byte_permits) = byte_permits else { return Err(busy(&lease)) };
        // From here on the ticket gives them back.
        permit.forget();
        byte_permits.forget();
        std::mem::forget(entered);
        Ok(Ticket { lease, bytes })
    }

    /// Counts first and looks at the door second, so that whoever closes it sees the count or the one
    /// who came sees it closed.
    fn enter(&self) -> Result<Entered<'_>, AppendError> {
        self.admitted.fetch_add(1, Ordering::SeqCst);
        let entered = Entered(self);
        if self.is_closed() { Err(AppendError::Closed) } else { Ok(entered) }
    }

    fn leave(&self) {
        if self.admitted.fetch_sub(1, Ordering::SeqCst) == 1 && self.is_closed() {
            self.drained.notify_waiters();
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.drained.notify_waiters();
    }

    /// How many appends are admitted and not answered.
    pub(super) fn admitted(&self) -> usize {
        self.admitted.load(Ordering::SeqCst)
    }

    /// Waits until everything admitted is answered. Only of use once closed.
    pub(super) async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            let mut drained = std::pin::pin!(drained);
            drained.as_mut().enable();
            if self.admitted() == 0 {
                return;
            }
            drained.await;
        }
    }
}

/// Somebody who came in and has no ticket yet.
struct Entered<'a>(&'a Admission);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

fn busy(lease: &Lease) -> AppendError {
    AppendError::Busy { key: lease.slot().key().clone() }
}
