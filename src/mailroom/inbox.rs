//! Mail on its way to an aggregate's actor.
//!
//! ```text
//! callers ──▶ Inbox, in the slot ──▶ Reader, a future of the actor's ──▶ the actor's queue
//! ```
//!
//! A message wakes the actor only if it sleeps. The actor takes all that waits at once, and then lets the
//! other tasks of its arbiter run.
//!
//! What must stay true:
//!
//! - A reader leaves its waker in the same moment as it takes what is there, so whatever comes later wakes it.
//! - An inbox has one reader at most. Whatever ends that one (its actor panicked, its arbiter is gone) drops
//!   what is in the inbox, which is answered thereby, and the next message gets a fresh actor.
//! - Nobody is woken, and no mail is dropped, while the inbox is locked: mail that is dropped comes back to the
//!   slot, to give up its permit.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, Waker};

use actix::{ActorFuture, Context};

use super::aggregate_actor::{AggregateActor, Undecided};
use super::mail::Mail;
use super::queue::Queue;
use super::slot::Slot;

/// What waits for an aggregate's actor.
#[derive(Default)]
pub(super) struct Inbox {
    mails: Queue,
    /// One at most: it brings the put permit.
    undecided: Option<Box<Undecided>>,
    /// Of a reader that found no more.
    waker: Option<Waker>,
    has_reader: bool,
    /// The aggregate is passivated: the actor is to end once it has taken what is here.
    is_ending: bool,
}

/// What is to be done for a message once the inbox is no longer locked.
#[must_use]
pub(super) struct Notice {
    waker: Option<Waker>,
    wants_reader: bool,
}

impl Notice {
    /// Wakes the actor if it sleeps, and starts one where there is none.
    pub(super) fn give(self, slot: &Arc<Slot>) {
        if let Some(waker) = self.waker {
            slot.wake(waker);
        }
        if self.wants_reader {
            slot.common().arbiters.start_actor(slot);
        }
    }
}

impl Inbox {
    pub(super) fn push(&mut self, mail: Mail) -> Notice {
        self.mails.push_back(mail);
        self.notice()
    }

    pub(super) fn push_undecided(&mut self, undecided: Box<Undecided>) -> Notice {
        self.undecided = Some(undecided);
        self.notice()
    }

    /// The actor that the notice may start is counted as there from here on.
    fn notice(&mut self) -> Notice {
        let wants_reader = !std::mem::replace(&mut self.has_reader, true);
        Notice { waker: self.waker.take(), wants_reader }
    }

    /// The waker of an actor that sleeps, for what is no message.
    pub(super) fn waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }

    /// Lets the actor end after the mail it has.
    pub(super) fn end(&mut self) -> Option<Waker> {
        self.is_ending = true;
        self.waker.take()
    }
}

/// An inbox's reader: held by its actor, and dropped with it.
pub(super) struct Reader {
    slot: Arc<Slot>,
    /// It said that it reads no more, and there may be another one.
    is_done: bool,
}

impl Reader {
    /// For an inbox that has none.
    pub(super) fn new(slot: Arc<Slot>) -> Self {
        Reader { slot, is_done: false }
    }
}

impl ActorFuture<AggregateActor> for Reader {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut AggregateActor,
        ctx: &mut Context<AggregateActor>,
        task: &mut Task<'_>,
    ) -> Poll<()> {
        let Reader { slot, is_done } = self.get_mut();
        slot.common().arbiters.heard(slot.place());
        let (mails, undecided, replaced) = {
            let mut desk = slot.desk();
            let inbox = &mut desk.inbox;
            let replaced = match &inbox.waker {
                Some(waker) if waker.will_wake(task.waker()) => None,
                _ => inbox.waker.replace(task.waker().clone()),
            };
            // If so, the next message needs another reader from here on.
            *is_done = std::mem::take(&mut inbox.is_ending);
            inbox.has_reader = !*is_done;
            (std::mem::take(&mut inbox.mails), inbox.undecided.take(), replaced)
        };
        drop(replaced);
        if let Some(undecided) = undecided {
            actor.take_back(*undecided);
        }
        actor.receive(mails, ctx);
        if *is_done { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !self.is_done {
            let left = std::mem::take(&mut self.slot.desk().inbox);
            drop(left);
        }
    }
}
