//! An append on its way: what was asked, who waits for the answer, and what it holds until then.
//!
//! A mail is one pointer, and goes home with its answer: whoever asked for the memory frees it. Freed on the
//! actor's thread it would make that one and all callers' meet at the allocator's locks.

use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use tokio::sync::oneshot;

use super::admission::Ticket;
use super::entity::{Command, CommandAnswer, Decision, State};
use crate::append::{Appended, CheckedAppend};
use crate::driver::{self, DriverError};
use crate::error::AppendError;

pub(super) type Answer = Result<Appended, AppendError>;

/// An answer, and the mail that it is the answer to, to be dropped.
pub(super) struct Reply {
    pub(super) answer: Answer,
    _mail: Option<Box<Letter>>,
}

/// A mail is answered exactly once. If whatever holds it dies, its drop answers: [`ActorFailed`] as
/// long as it was in no put, and so surely not written; [`Indeterminate`] from then on.
///
/// [`ActorFailed`]: AppendError::ActorFailed
/// [`Indeterminate`]: AppendError::Indeterminate
pub(super) struct Mail(Box<Letter>);

impl Deref for Mail {
    type Target = Letter;

    fn deref(&self) -> &Letter {
        &self.0
    }
}

impl DerefMut for Mail {
    fn deref_mut(&mut self) -> &mut Letter {
        &mut self.0
    }
}

/// What a [`Mail`] points to.
pub(super) struct Letter {
    /// What is to be appended; a command's events stand here once it is decided.
    pub(super) append: CheckedAppend,
    pub(super) since: Instant,
    /// Whether the driver was asked what is durable since the mail is here. A command with a commit id of
    /// the caller's own must not be told "nothing" before: another process may have executed it.
    pub(super) up_to_date: bool,
    in_put: bool,
    ticket: Option<Ticket>,
    /// What is said, from then until it leaves.
    said: Option<Said>,
    from: From,
}

/// An answer to an append or to a command.
pub(super) enum Said {
    Append(Answer),
    Command(CommandAnswer),
}

/// Who waits for the answer.
pub(super) enum From {
    Append(oneshot::Sender<Reply>),
    Command(Box<dyn Command>),
    Answered,
}

impl Mail {
    pub(super) fn new(append: CheckedAppend, ticket: Ticket, from: From) -> Self {
        Mail(Box::new(Letter {
            append,
            since: Instant::now(),
            up_to_date: false,
            in_put: false,
            ticket: Some(ticket),
            said: None,
            from,
        }))
    }

    pub(super) fn command(&self) -> Option<&dyn Command> {
        match &self.from {
            From::Command(command) => Some(&**command),
            _ => None,
        }
    }

    /// Lets the command decide; what it decided becomes what is to be appended.
    pub(super) fn decide_on(&mut self, state: &dyn State) -> Decided {
        let From::Command(command) = &mut self.0.from else { return Decided::Nothing };
        let decided = catch_unwind(AssertUnwindSafe(|| command.decide(state)));
        match decided {
            Err(_panic) => Decided::Panicked,
            Ok(Decision::Nothing) => Decided::Nothing,
            Ok(Decision::Unexpected) if self.up_to_date => Decided::Nothing,
            Ok(Decision::Unexpected) => Decided::Unexpected,
            Ok(Decision::Refused(error)) => Decided::Refused(error),
            Ok(Decision::Events(events)) => {
                self.append.set_events(events);
                Decided::Events
            }
        }
    }

    /// Marks the moment from which nobody can say without asking whether it was written.
    pub(super) fn enters_put(&mut self) {
        self.in_put = true;
    }

    /// Marks that the put it was in surely did not write it.
    pub(super) fn leaves_put(&mut self) {
        self.in_put = false;
    }

    pub(super) fn answer(self, answer: Answer) {
        self.say(Said::Append(answer));
    }

    /// Tells a command what has no counterpart among the answers to an append.
    pub(super) fn answer_command(self, answer: CommandAnswer) {
        self.say(Said::Command(answer));
    }

    pub(super) fn say(self, said: Said) {
        let Mail(mut letter) = self;
        // First the room, then the answer: who was answered finds the permit free.
        drop(letter.ticket.take());
        letter.said = Some(said);
        driver::leave(letter);
    }
}

impl driver::Answer for Letter {
    fn leave(mut self: Box<Self>) {
        let from = std::mem::replace(&mut self.from, From::Answered);
        match (from, self.said.take()) {
            (From::Append(waiting), Some(Said::Append(answer))) => {
                drop(waiting.send(Reply { answer, _mail: Some(self) }));
            }
            (From::Command(command), Some(Said::Command(answer))) => command.answer(answer),
            (From::Command(command), Some(Said::Append(answer))) => command.answer(match answer {
                Ok(appended) => CommandAnswer::Committed(appended),
                Err(error) => CommandAnswer::NotAppended(error),
            }),
            // Said or heard by nobody.
            (From::Append(_) | From::Command(_) | From::Answered, _) => {}
        }
    }
}

impl Drop for Letter {
    fn drop(&mut self) {
        let from = std::mem::replace(&mut self.from, From::Answered);
        if matches!(from, From::Answered) {
            return;
        }
        let key = self.append.key.clone();
        let error = match self.in_put {
            false => AppendError::ActorFailed { key },
            true => AppendError::Indeterminate {
                key,
                commit_id: self.append.commit_id,
                cause: DriverError::unknown("the store ended before the driver answered"),
            },
        };
        drop(self.ticket.take());
        match from {
            From::Append(waiting) => {
                drop(waiting.send(Reply { answer: Err(error), _mail: None }));
            }
            From::Command(command) => command.answer(CommandAnswer::NotAppended(error)),
            From::Answered => {}
        }
    }
}

/// What came of letting a command decide.
pub(super) enum Decided {
    /// Its events are in the mail.
    Events,
    Nothing,
    /// Nothing, unless another process wrote meanwhile.
    Unexpected,
    Refused(AppendError),
    Panicked,
}
