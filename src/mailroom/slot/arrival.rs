//! Mail on its way into the inbox: a permit of the aggregate, room for its bytes, then the inbox.
//!
//! ```text
//! arrive ─▶ permit? ──────────────────────▶ bytes? ── had both at once ─▶ a turn of its caller's,
//!              │                              │                           or the inbox
//!              └─ none: in the slot's line ──▶┴─ none: in the store's line ─▶ inbox
//! ```
//!
//! Mail waits by itself: its caller need not poll. Whoever gives back a permit or bytes brings it
//! to its next place. That one never takes a turn for it, because it may hold locks.

use std::sync::Arc;
use std::time::Instant;

use super::inbox::PendingWake;
use super::mail::Envelope;
use super::{Lease, Mail, Slot, Ticket};
use crate::driver::answer_together;
use crate::error::AppendError;
use crate::mailroom::admission::{Wait, WaitsForBytes};
use crate::mailroom::line::{Place, take_one};
use crate::sync::atomic::Ordering;

/// Where mail is that was brought to its aggregate.
#[must_use]
pub(in crate::mailroom) enum Arrival {
    /// It has a permit and its bytes, and is at the slot's door.
    Admitted(Arc<Slot>, Mail),
    Waits(Place),
    /// It was refused.
    Answered,
}

impl Arrival {
    /// Sends on what is admitted, to the actor. Returns the mail's place if it waits in a line.
    pub(in crate::mailroom) fn go_on(self) -> Option<Place> {
        match self {
            Arrival::Admitted(slot, mail) => {
                finish(deliver(&slot, mail));
                None
            }
            Arrival::Waits(place) => Some(place),
            Arrival::Answered => None,
        }
    }
}

/// What is left to do for a mail that went on, when no line is locked.
type Rest = Option<(PendingWake, Arc<Slot>)>;

fn finish(rest: Rest) {
    if let Some((wake, slot)) = rest {
        wake.wake(&slot);
    }
}

/// Brings mail to the aggregate. With [`Wait::Never`] it is answered if it would have to wait.
pub(in crate::mailroom) fn arrive(lease: Lease, mut mail: Mail, wait: Wait) -> Arrival {
    let slot = lease.slot().clone();
    let admission = &slot.shared().admission;
    let bytes = admission.bytes_of(mail.wants_bytes);
    let ticket = match Ticket::take(lease, bytes) {
        Ok(ticket) => ticket,
        Err(closed) => {
            mail.answer(Err(closed));
            return Arrival::Answered;
        }
    };
    let (has_permit, is_whole) = (ticket.has_permit(), ticket.is_whole(bytes));
    mail.set_ticket(ticket);
    if is_whole {
        return Arrival::Admitted(slot, mail);
    }
    if wait == Wait::Never {
        let key = slot.key().clone();
        mail.answer(Err(AppendError::Busy { key }));
        return Arrival::Answered;
    }
    let place = mail.place.unwrap_or_else(|| admission.next_place());
    mail.place = Some(place);
    match has_permit {
        true => finish(take_bytes(&slot, mail)),
        false => match slot.permit_line.join(place, mail) {
            Ok(()) => slot.let_in(),
            Err(refused) => refused.answer(Err(AppendError::Closed)),
        },
    }
    Arrival::Waits(place)
}

/// For mail that has its permit.
fn take_bytes(slot: &Arc<Slot>, mut mail: Mail) -> Rest {
    let admission = &slot.shared().admission;
    let bytes = admission.bytes_of(mail.wants_bytes);
    if admission.take_bytes(bytes) {
        if let Some(ticket) = mail.ticket_mut() {
            ticket.add_bytes(bytes);
        }
        return deliver(slot, mail);
    }
    let place = mail.place.unwrap_or_else(|| admission.next_place());
    admission.wait_for_bytes(place, mail.into_envelope());
    None
}

fn deliver(slot: &Arc<Slot>, mut mail: Mail) -> Rest {
    if mail.place.is_some() {
        // The deadline is for what the store does with it.
        mail.since = Instant::now();
    }
    Some((slot.lock().inbox.push(mail), slot.clone()))
}

impl Slot {
    /// A permit, if one is free and nobody waits for one.
    pub(super) fn try_permit(&self) -> bool {
        self.permit_line.is_empty() && self.take_permit()
    }

    pub(super) fn give_permit_back(self: &Arc<Self>) {
        self.free_permits.fetch_add(1, Ordering::SeqCst);
        if !self.permit_line.is_empty() {
            self.let_in();
        }
    }

    fn take_permit(&self) -> bool {
        take_one(&self.free_permits)
    }

    fn let_in(self: &Arc<Self>) {
        let enter = |mut mail: Mail| {
            if let Some(ticket) = mail.ticket_mut() {
                ticket.add_permit();
            }
            take_bytes(self, mail)
        };
        // No caller is woken while the line is locked.
        let entered = answer_together(|| self.permit_line.let_in(|_| self.take_permit(), enter));
        entered.into_iter().for_each(finish);
    }

    /// Takes out mail that no longer waits for its permit.
    pub(in crate::mailroom) fn withdraw(&self, place: Place) -> Option<Mail> {
        self.permit_line.withdraw(place)
    }

    /// The close deadline has passed: answers who waits for a permit that the store is closed.
    pub(in crate::mailroom) fn refuse_waiting(&self) {
        for mail in self.permit_line.close() {
            mail.answer(Err(AppendError::Closed));
        }
    }
}

impl WaitsForBytes for Envelope {
    fn bytes(&self) -> u32 {
        self.slot().map_or(0, |slot| slot.shared().admission.bytes_of(self.wants_bytes))
    }

    fn enter(self: Box<Self>) -> Box<dyn FnOnce()> {
        let mut mail = Mail::from_envelope(self);
        let Some(slot) = mail.slot().cloned() else { return Box::new(|| {}) };
        let bytes = mail.bytes();
        if let Some(ticket) = mail.ticket_mut() {
            ticket.add_bytes(bytes);
        }
        let rest = deliver(&slot, mail);
        Box::new(move || finish(rest))
    }

    fn refuse(self: Box<Self>) {
        Mail::from_envelope(self).answer(Err(AppendError::Closed));
    }
}
