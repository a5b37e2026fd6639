//! An append on its way: what was asked, who waits for the answer, and what it holds until then.

use std::time::Instant;

use tokio::sync::oneshot;

use super::admission::Ticket;
use crate::append::{Appended, CheckedAppend};
use crate::driver::DriverError;
use crate::error::AppendError;

pub(super) type Answer = Result<Appended, AppendError>;

/// A mail is answered exactly once. If whatever holds it dies, its drop answers: [`ActorFailed`] as
/// long as it was in no put, and so surely not written; [`Indeterminate`] from then on.
///
/// [`ActorFailed`]: AppendError::ActorFailed
/// [`Indeterminate`]: AppendError::Indeterminate
pub(super) struct Mail {
    pub(super) append: CheckedAppend,
    pub(super) since: Instant,
    in_put: bool,
    waiting: Option<Waiting>,
}

struct Waiting {
    ticket: Ticket,
    answer: oneshot::Sender<Answer>,
}

impl actix::Message for Mail {
    type Result = ();
}

impl Mail {
    pub(super) fn new(append: CheckedAppend, ticket: Ticket) -> (Self, oneshot::Receiver<Answer>) {
        let (answer, answered) = oneshot::channel();
        let waiting = Some(Waiting { ticket, answer });
        (Mail { append, since: Instant::now(), in_put: false, waiting }, answered)
    }

    /// Marks the moment from which nobody can say without asking whether it was written.
    pub(super) fn enters_put(&mut self) {
        self.in_put = true;
    }

    /// Marks that the put it was in surely did not write it.
    pub(super) fn leaves_put(&mut self) {
        self.in_put = false;
    }

    pub(super) fn answer(mut self, answer: Answer) {
        self.send(answer);
    }

    fn send(&mut self, result: Answer) {
        if let Some(Waiting { ticket, answer }) = self.waiting.take() {
            // First the room, then the answer: who was answered finds the permit free.
            drop(ticket);
            let _ = answer.send(result);
        }
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        if self.waiting.is_none() {
            return;
        }
        let key = self.append.key.clone();
        let answer = match self.in_put {
            false => AppendError::ActorFailed { key },
            true => AppendError::Indeterminate {
                key,
                commit_id: self.append.commit_id,
                cause: DriverError::unknown("the store ended before the driver answered"),
            },
        };
        self.send(Err(answer));
    }
}
