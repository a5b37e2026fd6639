//! Mail on its way to the aggregate's actor.
//!
//! ```text
//! callers ─▶ Inbox, in the slot ─▶ InboxReader, a future of the actor's ─▶ the actor's queue
//! ```
//!
//! A message wakes the actor only if the actor sleeps. The actor takes all that waits at once, and
//! then lets the other tasks of its thread run.
//!
//! # What must stay true
//!
//! - A reader leaves its waker in the same step in which it takes what is there, so whatever comes
//!   later wakes it.
//! - An inbox has at most one reader. When that one ends early (its actor panicked, or its thread
//!   is gone), it drops the content of the inbox and so answers it. The next message starts a new
//!   actor.

use std::sync::Arc;
use std::task::Waker;

use super::{Mail, MailQueue, Slot, Undecided};

/// What waits for an aggregate's actor.
#[derive(Default)]
pub(in crate::mailroom) struct Inbox {
    pub(in crate::mailroom) mails: MailQueue,
    /// At most one, because it brings the put permit.
    pub(in crate::mailroom) undecided: Option<Box<Undecided>>,
    /// Of a reader that found no more.
    pub(in crate::mailroom) waker: Option<Waker>,
    pub(in crate::mailroom) has_reader: bool,
    /// The aggregate is passivated: the actor ends once it has taken what is here.
    pub(in crate::mailroom) is_ending: bool,
}

/// What is left to do for a message once the slot is no longer locked.
#[must_use]
pub(in crate::mailroom) struct PendingWake {
    waker: Option<Waker>,
    wants_reader: bool,
}

impl PendingWake {
    /// Wakes the actor if it sleeps, and starts one if there is none.
    pub(in crate::mailroom) fn wake(self, slot: &Arc<Slot>) {
        if let Some(waker) = self.waker {
            slot.wake(waker);
        }
        if self.wants_reader {
            (slot.start_actor)(slot);
        }
    }
}

impl Inbox {
    pub(super) fn is_empty(&self) -> bool {
        self.mails.is_empty() && self.undecided.is_none()
    }

    pub(in crate::mailroom) fn push(&mut self, mail: Mail) -> PendingWake {
        self.mails.push_back(mail);
        self.pending_wake()
    }

    pub(in crate::mailroom) fn push_undecided(&mut self, undecided: Box<Undecided>) -> PendingWake {
        self.undecided = Some(undecided);
        self.pending_wake()
    }

    /// An actor that is still to be started counts as a reader from here on.
    fn pending_wake(&mut self) -> PendingWake {
        let wants_reader = !std::mem::replace(&mut self.has_reader, true);
        PendingWake { waker: self.waker.take(), wants_reader }
    }

    /// The waker of an actor that sleeps, for news that are not a message.
    pub(in crate::mailroom) fn waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }

    /// Lets the actor end after the mail it has.
    pub(in crate::mailroom) fn end(&mut self) -> Option<Waker> {
        self.is_ending = true;
        self.waker.take()
    }
}
