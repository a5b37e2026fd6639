//! The actor behind one aggregate's mailbox: it decides, in order, what is put.
//!
//! Its own memory is the queue of mail that no put has taken yet. Everything else that is known of
//! the aggregate stands in the [`Slot`], or goes with its put permit. An actor that dies therefore
//! loses only mail that was surely not written.
//!
//! Whatever arrives (mail, the end of a put, the driver's reply to a question) ends in [`advance`]:
//! if the put permit is free and nothing is being asked, it decides all that waits, answers what
//! can be answered, and sends one put.
//!
//! [`advance`]: AggregateActor::advance

use std::mem::{Discriminant, discriminant};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use actix::{Actor, ActorFuture, ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::commit_window::CommitWindow;
use super::decide::PutPlan;
use super::driver_question::{DriverQuestion, DriverReply, ask};
use super::entity_state::{CommandAnswer, EntityState};
use super::repetition::{repeated_command, repeated_or};
use super::settle::TurnOf;
use super::slot::{AggregateFacts, AppendAnswer, Mail, MailQueue, PutPermit, Slot, Undecided};
use super::turn::{plan, put};
use crate::driver::DriverError;
use crate::error::AppendError;
use crate::event::Sequence;
use crate::user_code::{self, Panicked};

/// Starts an actor for this aggregate on the aggregate's thread. It takes over from one that died:
/// it learns from the driver what it needs, and the slot's put permit makes it wait for a put that
/// is still in flight.
pub(super) fn start(slot: &Arc<Slot>) {
    let actor = AggregateActor::new(slot.clone());
    // If the thread is gone, the reader is dropped, and answers what is in the inbox.
    let reader = InboxReader { slot: slot.clone(), is_done: false };
    slot.shared().arbiters.start_on(slot.thread(), |arbiter| {
        AggregateActor::start_in_arbiter(arbiter, |ctx| {
            ctx.spawn(reader);
            actor
        });
    });
}

/// The actor as a future, which a thread of a model runs.
#[cfg(all(test, seriatim_models))]
pub(super) fn in_model(slot: Arc<Slot>) -> impl Future<Output = ()> {
    let mut ctx = Context::new();
    ctx.spawn(InboxReader { slot: slot.clone(), is_done: false });
    ctx.into_future(AggregateActor::new(slot))
}

/// Takes one aggregate's appends and commands, one after another.
pub(super) struct AggregateActor {
    slot: Arc<Slot>,
    queue: MailQueue,
    /// Held while there is mail to decide, while the driver is asked something, and between a
    /// failed put and its successor.
    permit: Option<PutPermit>,
    asking: bool,
    /// The last question that the driver did not answer. Mail that waited meanwhile does not ask it
    /// again.
    failed_question: Option<Box<(Discriminant<DriverQuestion>, DriverError)>>,
    /// So much mail at the front of the queue gets a put each.
    alone: usize,
}

impl Actor for AggregateActor {
    type Context = Context<Self>;
}

impl AggregateActor {
    pub(super) fn new(slot: Arc<Slot>) -> Self {
        AggregateActor {
            slot,
            queue: MailQueue::default(),
            permit: None,
            asking: false,
            failed_question: None,
            alone: 0,
        }
    }

    /// New mail, in order.
    fn receive(&mut self, mails: MailQueue, ctx: &mut Context<Self>) {
        self.queue.append(mails);
        self.advance(ctx);
    }

    fn take_back(&mut self, undecided: Undecided) {
        debug_assert!(self.permit.is_none(), "two put permits");
        if undecided.alone {
            self.alone = undecided.mails.len();
        }
        for mail in undecided.mails.into_iter().rev() {
            self.queue.push_front(mail);
        }
        self.permit = Some(undecided.permit);
    }

    fn advance(&mut self, ctx: &mut Context<Self>) {
        while !self.asking && !self.queue.is_empty() {
            let Some(mut permit) = self.permit.take().or_else(|| self.slot.take_put_permit())
            else {
                return;
            };
            let now = Instant::now();
            let PutPlan { items, answers, question } = self.plan(&mut permit, now);
            for (mail, answer) in answers {
                mail.reply(answer);
            }
            if !items.is_empty() {
                let turn = TurnOf::Actor { mail_is_left: !self.queue.is_empty() };
                self.permit = put(permit, items, now, turn);
            } else if let Some(question) = question {
                self.ask(question, permit, ctx);
            } else {
                self.permit = Some(permit);
            }
        }
        if self.queue.is_empty() {
            self.permit = None;
        }
    }

    fn plan(&mut self, permit: &mut PutPermit, now: Instant) -> PutPlan {
        let before = self.queue.len();
        let plan = plan(permit, &mut self.queue, now, self.alone > 0);
        self.alone = self.alone.saturating_sub(before - self.queue.len());
        plan
    }

    fn ask(&mut self, question: DriverQuestion, mut permit: PutPermit, ctx: &mut Context<Self>) {
        if let Some((asked, error)) = self.failed_question.as_deref()
            && *asked == discriminant(&question)
            && self.queue.front().is_some_and(|mail| mail.waited_for_failure)
        {
            let error = error.clone();
            self.permit = Some(permit);
            self.fail_front(error);
            return;
        }
        let entity = match (question, permit.facts.entity.take()) {
            (DriverQuestion::State, None) => match self.blank_entity(&permit.facts) {
                Ok(blank) => blank,
                Err(Panicked) => {
                    self.permit = Some(permit);
                    if let Some(mail) = self.queue.pop_front() {
                        mail.answer_command(CommandAnswer::Panicked);
                    }
                    return;
                }
            },
            (DriverQuestion::State, entity) => entity,
            (_, entity) => {
                permit.facts.entity = entity;
                None
            }
        };
        self.asking = true;
        self.permit = Some(permit);
        let asking = ask(self.slot.shared().clone(), self.slot.key().clone(), question, entity);
        ctx.spawn(asking.into_actor(self).map(move |reply, actor, ctx| {
            actor.asking = false;
            match reply {
                Ok(reply) => actor.take_reply(reply),
                Err(error) => actor.question_failed(&question, error),
            }
            actor.advance(ctx);
        }));
    }

    /// Nothing of the first mail was sent, so it is answered the failure. Mail behind it that needs
    /// no answer of the driver is decided all the same. Mail that needs this answer too gets the
    /// same failure: if each asked a driver that hangs, the last would wait for all the others.
    fn question_failed(&mut self, question: &DriverQuestion, error: DriverError) {
        for mail in self.queue.iter_mut() {
            mail.waited_for_failure = true;
        }
        self.failed_question = Some(Box::new((discriminant(question), error.clone())));
        self.fail_front(error);
    }

    fn take_reply(&mut self, reply: DriverReply) {
        match reply {
            DriverReply::Has(sequence) => self.slot.raise_latest(sequence),
            DriverReply::HasNot { latest } => {
                self.confirm_latest(latest);
                // The two answers are of two moments: if the event has come meanwhile, the append
                // is decided again, and may be found written.
                let is_beyond = |mail: &Mail| mail.append.expected.exact() > Some(latest);
                if self.queue.front().is_some_and(is_beyond) {
                    self.answer_front(|mail| {
                        Err(AppendError::Conflict {
                            key: mail.append.key.clone(),
                            expected: mail.append.expected,
                            actual: latest,
                        })
                    });
                }
            }
            DriverReply::Latest(latest) => {
                self.confirm_latest(latest);
                self.front_is_up_to_date();
            }
            DriverReply::Whose(stored) => {
                let latest = self.slot.latest();
                match self.queue.pop_front() {
                    Some(mail) if mail.command().is_some() => {
                        // The window says that it is there, and what is durable stays so.
                        if let Some(answer) = repeated_command(mail.append.commit_id, stored) {
                            mail.answer_command(answer);
                        }
                    }
                    Some(mail) => {
                        let answer = repeated_or(&mail, &stored, latest);
                        mail.answer(answer);
                    }
                    None => {}
                }
            }
            DriverReply::State(Ok(entity)) => {
                self.confirm_latest(entity.at);
                if let Some(permit) = &mut self.permit {
                    permit.facts.entity = Some(Box::new(entity));
                }
            }
            DriverReply::State(Err(error)) => {
                // Each further command would fold the same history with the same result.
                for mail in std::mem::take(&mut self.queue) {
                    match mail.command() {
                        Some(_) => mail.answer_command(CommandAnswer::NotLoaded(error.clone())),
                        None => self.queue.push_back(mail),
                    }
                }
            }
            DriverReply::Window(backwards) => {
                let latest = backwards.first().map_or(Sequence::NONE, |(sequence, _)| *sequence);
                self.confirm_latest(latest);
                let window =
                    CommitWindow::new(self.slot.shared().config.commit_id_window, &backwards);
                if let Some(permit) = &mut self.permit {
                    permit.facts.window = Some(Box::new(window));
                }
                self.front_is_up_to_date();
            }
        }
    }

    /// A state without events, of the type that the first command is for.
    ///
    /// # Errors
    ///
    /// When making it panics.
    fn blank_entity(&self, facts: &AggregateFacts) -> Result<Option<Box<EntityState>>, Panicked> {
        let Some(command) = self.queue.front().and_then(|mail| mail.command()) else {
            return Ok(None);
        };
        let state = user_code::call(|| command.blank())?;
        Ok(Some(Box::new(EntityState::blank(state, facts.failed_puts))))
    }

    fn confirm_latest(&mut self, latest: Sequence) {
        self.slot.raise_latest(latest);
        if let Some(permit) = &mut self.permit {
            permit.facts.is_latest_confirmed = true;
        }
    }

    fn front_is_up_to_date(&mut self) {
        if let Some(mail) = self.queue.front_mut() {
            mail.up_to_date = true;
        }
    }

    fn fail_front(&mut self, source: DriverError) {
        self.answer_front(|mail| Err(AppendError::Driver { key: mail.append.key.clone(), source }));
    }

    fn answer_front(&mut self, answer: impl FnOnce(&Mail) -> AppendAnswer) {
        if let Some(mail) = self.queue.pop_front() {
            let answer = answer(&mail);
            mail.answer(answer);
        }
    }
}

/// Reads the inbox for its actor: held by the actor, and dropped with it.
struct InboxReader {
    slot: Arc<Slot>,
    /// It has ended in good order, and the inbox may have another reader.
    is_done: bool,
}

impl ActorFuture<AggregateActor> for InboxReader {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut AggregateActor,
        ctx: &mut Context<AggregateActor>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let InboxReader { slot, is_done } = self.get_mut();
        slot.shared().arbiters.wake_is_taken(slot.thread());
        let (mails, undecided, facts, replaced) = {
            let mut state = slot.lock();
            let inbox = &mut state.inbox;
            let replaced = match &inbox.waker {
                Some(waker) if waker.will_wake(task.waker()) => None,
                _ => inbox.waker.replace(task.waker().clone()),
            };
            // If it ends here, the next message needs another reader.
            *is_done = std::mem::take(&mut inbox.is_ending);
            inbox.has_reader = !*is_done;
            let (mails, undecided) = (std::mem::take(&mut inbox.mails), inbox.undecided.take());
            let mut facts = None;
            if undecided.is_some() {
                state.permit_came_back();
            } else if actor.permit.is_none() && !(mails.is_empty() && actor.queue.is_empty()) {
                facts = state.take_facts_or_await();
            }
            (mails, undecided, facts, replaced)
        };
        drop(replaced);
        if let Some(facts) = facts {
            actor.permit = Some(PutPermit::new(slot.clone(), facts));
        }
        if let Some(undecided) = undecided {
            actor.take_back(*undecided);
        }
        actor.receive(mails, ctx);
        if *is_done { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for InboxReader {
    fn drop(&mut self) {
        if !self.is_done {
            // Dropped outside the lock: dropped mail returns to the slot.
            let left = std::mem::take(&mut self.slot.lock().inbox);
            drop(left);
        }
    }
}
