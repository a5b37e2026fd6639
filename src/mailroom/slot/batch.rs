//! A put on its way with the mail in it, and what comes back undecided.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::{Mail, PutPermit};
use crate::driver::Put;
use crate::event::Sequence;

/// A frozen put with the mail in it, and the right to have it in flight.
pub(in crate::mailroom) struct Batch {
    pub(in crate::mailroom) put: Arc<Put>,
    pub(in crate::mailroom) items: BatchItems,
    pub(in crate::mailroom) permit: PutPermit,
    /// The deadline runs from here.
    pub(in crate::mailroom) formed: Instant,
}

/// The mail of a put. Mostly it is one, which is stored inline: another thread would free a heap
/// block.
pub(in crate::mailroom) type BatchItems = SmallVec<[BatchItem; 1]>;

/// One mail of a put.
pub(in crate::mailroom) enum BatchItem {
    /// Its events are in the put, from this sequence on.
    Accepted { mail: Mail, first: Sequence },
    /// A repetition of the accepted append with this index among the items.
    Repetition { mail: Mail, of: usize },
    /// Refused because of an append of the put: right only if the put is committed.
    Refused { mail: Mail, because: HeldRefusal },
}

impl BatchItem {
    pub(in crate::mailroom) fn mail_mut(&mut self) -> &mut Mail {
        match self {
            BatchItem::Accepted { mail, .. }
            | BatchItem::Repetition { mail, .. }
            | BatchItem::Refused { mail, .. } => mail,
        }
    }

    pub(in crate::mailroom) fn into_mail(self) -> Mail {
        match self {
            BatchItem::Accepted { mail, .. }
            | BatchItem::Repetition { mail, .. }
            | BatchItem::Refused { mail, .. } => mail,
        }
    }
}

/// A refusal that is held until the put that it rests on is settled.
#[derive(Clone, Copy)]
pub(in crate::mailroom) enum HeldRefusal {
    Conflict,
    CommitIdReused,
    /// A command with nothing to append, decided on a state of this sequence.
    Nothing(Sequence),
}

impl BatchItem {
    /// The mail whose events are in the put.
    pub(in crate::mailroom) fn accepted(&self) -> Option<&Mail> {
        match self {
            BatchItem::Accepted { mail, .. } => Some(mail),
            _ => None,
        }
    }

    /// The first sequence of an accepted append.
    pub(in crate::mailroom) fn first(&self) -> Option<Sequence> {
        match self {
            BatchItem::Accepted { first, .. } => Some(*first),
            _ => None,
        }
    }
}

/// Mail that came back from a put which surely did not write it, with the put permit, so that it is
/// decided before later mail.
pub(in crate::mailroom) struct Undecided {
    pub(in crate::mailroom) mails: Vec<Mail>,
    pub(in crate::mailroom) permit: PutPermit,
    /// The driver refused it together: each mail gets a put of its own.
    pub(in crate::mailroom) alone: bool,
}

impl Undecided {
    pub(in crate::mailroom) fn deliver(mut self) {
        if self.mails.is_empty() {
            return;
        }
        for mail in &mut self.mails {
            mail.leaves_put();
        }
        let slot = self.permit.slot().clone();
        let wake = slot.lock().inbox.push_undecided(Box::new(self));
        wake.wake(&slot);
    }
}
