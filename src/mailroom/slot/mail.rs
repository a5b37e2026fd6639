//! An append on its way: what was asked, who waits for the answer, and what it holds until then.
//!
//! A mail is one pointer, and returns to the caller with its answer, so that the thread that
//! allocated it frees it. Freed on the actor's thread, all threads would contend for the
//! allocator's locks.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::{AppendClosure, Slot, Ticket};
use crate::append::{Appended, CheckedAppend};
use crate::driver::{self, DriverError};
use crate::error::AppendError;
use crate::event::Sequence;
use crate::mailroom::entity_state::{BoxedCommand, BoxedState, CommandAnswer, Decision};
use crate::mailroom::figures::CountedAnswer;
use crate::mailroom::line::Place;
use crate::user_code::{self, Panicked};

pub(in crate::mailroom) type AppendAnswer = Result<Appended, AppendError>;

/// The answer to an append, with the mail, which the caller drops.
pub(in crate::mailroom) struct Reply {
    pub(in crate::mailroom) answer: AppendAnswer,
    mail: Option<Box<Envelope>>,
}

impl Reply {
    /// For the caller: drops what is its own here.
    pub(in crate::mailroom) fn into_answer(self) -> AppendAnswer {
        let closure = self.mail.and_then(|mut mail| mail.closure.take());
        if let Some(closure) = closure {
            closure.drop_here();
        }
        self.answer
    }
}

/// A mail is answered exactly once. If its owner dies, the drop answers: [`ActorFailed`] while the
/// mail was in no put, and so surely not written; [`Indeterminate`] after that.
///
/// [`ActorFailed`]: AppendError::ActorFailed
/// [`Indeterminate`]: AppendError::Indeterminate
pub(in crate::mailroom) struct Mail(Box<Envelope>);

impl Deref for Mail {
    type Target = Envelope;

    fn deref(&self) -> &Envelope {
        &self.0
    }
}

impl DerefMut for Mail {
    fn deref_mut(&mut self) -> &mut Envelope {
        &mut self.0
    }
}

/// What a [`Mail`] points to.
pub(in crate::mailroom) struct Envelope {
    /// The append. The events of a command or a closure are stored here once it has decided.
    pub(in crate::mailroom) append: CheckedAppend,
    /// What decides the append, if that is done in its turn.
    closure: Option<Box<AppendClosure>>,
    /// The bytes that it takes of those in flight, before they are capped.
    pub(super) wants_bytes: usize,
    /// Under which it can be withdrawn, if it had to wait for room.
    pub(in crate::mailroom) place: Option<Place>,
    /// When it was admitted.
    pub(in crate::mailroom) since: Instant,
    /// Whether the driver was asked for the latest sequence since the mail arrived. A command with
    /// a commit id of the caller's own must not be answered "nothing" before: another process may
    /// have executed it.
    pub(in crate::mailroom) up_to_date: bool,
    /// The driver failed to answer a question while the mail waited.
    pub(in crate::mailroom) waited_for_failure: bool,
    in_put: bool,
    ticket: Option<Ticket>,
    /// The answer, until it is delivered.
    answer: Option<MailAnswer>,
    reply_to: ReplyTo,
}

/// An answer to an append or to a command.
pub(in crate::mailroom) enum MailAnswer {
    Append(AppendAnswer),
    Command(CommandAnswer),
}

impl MailAnswer {
    fn counted(&self) -> CountedAnswer {
        match self {
            MailAnswer::Append(answer) => CountedAnswer::of(answer),
            MailAnswer::Command(answer) => match answer {
                CommandAnswer::Committed(appended) => CountedAnswer::of_appended(appended),
                CommandAnswer::Repeated(..) => CountedAnswer::Repeated,
                CommandAnswer::NotAppended(error) => CountedAnswer::of_error(error),
                CommandAnswer::Nothing(_)
                | CommandAnswer::NotLoaded(_)
                | CommandAnswer::Panicked => CountedAnswer::Nothing,
            },
        }
    }
}

/// Where the answer goes.
pub(in crate::mailroom) enum ReplyTo {
    Append(oneshot::Sender<Reply>),
    Command(Box<dyn BoxedCommand>),
    Answered,
}

impl Mail {
    pub(in crate::mailroom) fn new(
        append: CheckedAppend,
        wants_bytes: usize,
        reply_to: ReplyTo,
    ) -> Self {
        Mail(Box::new(Envelope {
            append,
            closure: None,
            wants_bytes,
            place: None,
            since: Instant::now(),
            up_to_date: false,
            waited_for_failure: false,
            in_put: false,
            ticket: None,
            answer: None,
            reply_to,
        }))
    }

    /// Lets a closure decide the append.
    pub(in crate::mailroom) fn decided_by(mut self, closure: AppendClosure) -> Self {
        self.0.closure = Some(Box::new(closure));
        self
    }

    pub(in crate::mailroom) fn has_closure(&self) -> bool {
        self.closure.is_some()
    }

    /// Lets the closure decide on this sequence; its events become the append.
    pub(in crate::mailroom) fn decide_after(&mut self, latest: Sequence) -> CommandOutcome {
        let Some(closure) = &mut self.0.closure else { return CommandOutcome::Nothing };
        match closure.decide(latest) {
            Err(Panicked) => CommandOutcome::Panicked,
            Ok(Err(error)) => CommandOutcome::Refused(error),
            Ok(Ok(events)) => {
                self.append.set_events(events);
                CommandOutcome::Events
            }
        }
    }

    pub(super) fn set_ticket(&mut self, ticket: Ticket) {
        self.ticket = Some(ticket);
    }

    pub(super) fn ticket_mut(&mut self) -> Option<&mut Ticket> {
        self.ticket.as_mut()
    }

    pub(super) fn into_envelope(self) -> Box<Envelope> {
        self.0
    }

    pub(super) fn from_envelope(envelope: Box<Envelope>) -> Self {
        Mail(envelope)
    }

    pub(in crate::mailroom) fn command(&self) -> Option<&dyn BoxedCommand> {
        match &self.reply_to {
            ReplyTo::Command(command) => Some(&**command),
            _ => None,
        }
    }

    /// Lets the command decide; its events become the append.
    pub(in crate::mailroom) fn decide_on(&mut self, state: &dyn BoxedState) -> CommandOutcome {
        let ReplyTo::Command(command) = &mut self.0.reply_to else {
            return CommandOutcome::Nothing;
        };
        match user_code::call(|| command.decide(state)) {
            Err(Panicked) => CommandOutcome::Panicked,
            Ok(Decision::Nothing) => CommandOutcome::Nothing,
            Ok(Decision::Unexpected) if self.up_to_date => CommandOutcome::Nothing,
            Ok(Decision::Unexpected) => CommandOutcome::Unexpected,
            Ok(Decision::Refused(error)) => CommandOutcome::Refused(error),
            Ok(Decision::Events(events)) => {
                self.append.set_events(events);
                CommandOutcome::Events
            }
        }
    }

    /// From here on, only the driver knows whether it was written.
    pub(in crate::mailroom) fn enters_put(&mut self) {
        self.in_put = true;
    }

    /// The put it was in surely did not write it.
    pub(in crate::mailroom) fn leaves_put(&mut self) {
        self.in_put = false;
    }

    pub(in crate::mailroom) fn answer(self, answer: AppendAnswer) {
        self.reply(MailAnswer::Append(answer));
    }

    /// Answers a command with what has no counterpart among the answers to an append.
    pub(in crate::mailroom) fn answer_command(self, answer: CommandAnswer) {
        self.reply(MailAnswer::Command(answer));
    }

    pub(in crate::mailroom) fn reply(self, answer: MailAnswer) {
        let Mail(mut envelope) = self;
        envelope.count(answer.counted());
        // The ticket first, then the answer: a caller that has its answer finds the permit free.
        drop(envelope.ticket.take());
        envelope.answer = Some(answer);
        driver::deliver(envelope);
    }
}

impl Envelope {
    /// Counts the answer. Mail without a ticket has entered no store.
    fn count(&self, answer: CountedAnswer) {
        let is_command = matches!(self.reply_to, ReplyTo::Command(_));
        if let Some(slot) = self.slot() {
            slot.shared().figures.answered(answer, is_command);
        }
    }

    /// Where it is going, once it has a ticket.
    pub(super) fn slot(&self) -> Option<&Arc<Slot>> {
        self.ticket.as_ref().map(Ticket::slot)
    }
}

impl driver::ReadyAnswer for Envelope {
    fn deliver(mut self: Box<Self>) {
        let reply_to = std::mem::replace(&mut self.reply_to, ReplyTo::Answered);
        match (reply_to, self.answer.take()) {
            (ReplyTo::Append(waiting), Some(MailAnswer::Append(answer))) => {
                drop(waiting.send(Reply { answer, mail: Some(self) }));
            }
            (ReplyTo::Command(command), Some(MailAnswer::Command(answer))) => {
                command.answer(answer)
            }
            (ReplyTo::Command(command), Some(MailAnswer::Append(answer))) => {
                command.answer(match answer {
                    Ok(appended) => CommandAnswer::Committed(appended),
                    Err(error) => CommandAnswer::NotAppended(error),
                })
            }
            // MailAnswer or heard by nobody.
            (ReplyTo::Append(_) | ReplyTo::Command(_) | ReplyTo::Answered, _) => {}
        }
    }
}

impl Drop for Envelope {
    fn drop(&mut self) {
        if matches!(self.reply_to, ReplyTo::Answered) {
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
        self.count(CountedAnswer::of_error(&error));
        let reply_to = std::mem::replace(&mut self.reply_to, ReplyTo::Answered);
        drop(self.ticket.take());
        // The caller's waker can be any code.
        let _reported = user_code::call(|| match reply_to {
            ReplyTo::Append(waiting) => {
                drop(waiting.send(Reply { answer: Err(error), mail: None }));
            }
            ReplyTo::Command(command) => command.answer(CommandAnswer::NotAppended(error)),
            ReplyTo::Answered => {}
        });
    }
}

/// The outcome of letting a command decide.
pub(in crate::mailroom) enum CommandOutcome {
    /// Its events are in the mail.
    Events,
    Nothing,
    /// Nothing, unless another process wrote meanwhile.
    Unexpected,
    Refused(AppendError),
    Panicked,
}
