//! The actor behind one aggregate's mailbox: it decides, in order, what is put.
//!
//! Its own memory is the queue of mail that no put has taken yet, and the entity's state.
//! Everything else that is known of the aggregate stands in the [`Slot`]. An actor that dies
//! therefore loses only mail that was surely not written.
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
use smallvec::SmallVec;

use super::commit_window::CommitWindow;
use super::decide::{Grounds, PutPlan, decide};
use super::driver_question::{DriverQuestion, DriverReply, ask};
use super::entity_state::{CommandAnswer, EntityState};
use super::load::save_snapshot;
use super::repetition::{repeated_command, repeated_or};
use super::settle::send_off;
use super::slot::{
    AggregateFacts, AppendAnswer, Batch, BatchItem, BatchItems, Mail, MailQueue, PutPermit, Slot,
    Undecided,
};
use crate::driver::{DriverError, Put};
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
    /// The entity's state, from the first command on.
    entity: Option<Box<EntityState>>,
    /// Held while the driver is asked something, and between a failed put and its successor.
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

impl Drop for AggregateActor {
    fn drop(&mut self) {
        self.entity = None;
        self.slot.set_state_bytes(0);
    }
}

impl AggregateActor {
    pub(super) fn new(slot: Arc<Slot>) -> Self {
        AggregateActor {
            slot,
            queue: MailQueue::default(),
            entity: None,
            permit: None,
            asking: false,
            failed_question: None,
            alone: 0,
        }
    }

    /// New mail, in order. The first mail of an idle aggregate gets a put of its own, so that what
    /// a put holds does not depend on how long the actor slept.
    pub(super) fn receive(&mut self, mut mails: MailQueue, ctx: &mut Context<Self>) {
        if self.queue.is_empty()
            && let Some(first) = mails.pop_front()
        {
            self.queue.push_back(first);
            self.advance(ctx);
        }
        self.queue.append(mails);
        self.advance(ctx);
    }

    pub(super) fn take_back(&mut self, undecided: Undecided) {
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
            let Some(permit) = self.permit.take().or_else(|| self.slot.take_put_permit()) else {
                return;
            };
            let now = Instant::now();
            let PutPlan { items, answers, question } = self.decide(&permit.facts, now);
            for (mail, answer) in answers {
                mail.reply(answer);
            }
            if !items.is_empty() {
                self.put(items, permit, now);
            } else if let Some(question) = question {
                self.ask(question, permit, ctx);
            }
        }
        if self.queue.is_empty() {
            self.permit = None;
        }
    }

    fn decide(&mut self, facts: &AggregateFacts, now: Instant) -> PutPlan {
        let shared = self.slot.shared();
        let latest = self.slot.latest();
        self.entity.take_if(|entity| entity.failed_puts != facts.failed_puts);
        let grounds = Grounds {
            latest,
            is_latest_confirmed: facts.is_latest_confirmed || latest > Sequence::NONE,
            window: facts.window.as_deref(),
            limits: &shared.limits,
            folds_raw_events: shared.config.upcasters.is_empty(),
            now,
            put_deadline: shared.config.put_deadline,
            is_exclusive: shared.is_exclusive,
            alone: self.alone > 0,
        };
        if let Some(entity) = &mut self.entity {
            // Everything folded is durable here, and no put is in flight.
            save_snapshot(shared, self.slot.key(), entity);
        }
        let before = self.queue.len();
        let decided = decide(&mut self.queue, &grounds, &mut self.entity);
        self.alone = self.alone.saturating_sub(before - self.queue.len());
        self.weigh();
        decided
    }

    /// Tells what the state weighs. One that weighs more than all may goes when no mail is left.
    fn weigh(&mut self) {
        let bytes = self.entity.as_mut().map_or(0, |entity| entity.resident_bytes());
        let counted = self.slot.shared().states.counted(bytes);
        if counted.is_none() && self.queue.is_empty() {
            tracing::debug!(key = %self.slot.key(), bytes, "a state is too large to stay resident");
            self.entity = None;
        }
        self.slot.set_state_bytes(counted.unwrap_or(0));
    }

    /// Freezes the put and sends it off.
    fn put(&mut self, mut items: BatchItems, mut permit: PutPermit, formed: Instant) {
        let Ok(recorded_at) = self.slot.shared().now() else {
            // None of it was sent: dropped, the mail says so. A state that is ahead is folded
            // again.
            permit.facts.failed_puts += 1;
            return;
        };
        let mut events = SmallVec::with_capacity(items.len());
        for item in &mut items {
            if let BatchItem::Accepted { mail, first } = item {
                for (offset, event) in mail.append.events.iter().enumerate() {
                    let sequence = first.plus(offset as u64);
                    let id = mail.append.commit_id;
                    let mut event = event.place(self.slot.key(), sequence, id, recorded_at);
                    event.attempt = mail.append.attempt;
                    events.push(event);
                }
            }
        }
        let put = match Put::of(events) {
            Ok(put) => Arc::new(put),
            // PutPlan in order from the latest sequence on, it cannot be out of order; if it were,
            // nobody's append was sent.
            Err(error) => {
                permit.facts.failed_puts += 1;
                let error = DriverError::failed(error.to_string());
                for mail in items.into_iter().map(BatchItem::into_mail) {
                    let key = mail.append.key.clone();
                    mail.answer(Err(AppendError::Driver { key, source: error.clone() }));
                }
                return;
            }
        };
        for item in &mut items {
            item.mail_mut().enters_put();
        }
        send_off(&self.slot, Batch { put, items, permit, formed });
    }

    fn ask(&mut self, question: DriverQuestion, permit: PutPermit, ctx: &mut Context<Self>) {
        if let Some((asked, error)) = self.failed_question.as_deref()
            && *asked == discriminant(&question)
            && self.queue.front().is_some_and(|mail| mail.waited_for_failure)
        {
            let error = error.clone();
            self.permit = Some(permit);
            self.fail_front(error);
            return;
        }
        let entity = match (question, self.entity.take()) {
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
                self.entity = entity;
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
                self.entity = Some(Box::new(entity));
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
        let (mails, undecided, replaced) = {
            let mut state = slot.lock();
            let inbox = &mut state.inbox;
            let replaced = match &inbox.waker {
                Some(waker) if waker.will_wake(task.waker()) => None,
                _ => inbox.waker.replace(task.waker().clone()),
            };
            // If it ends here, the next message needs another reader.
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

impl Drop for InboxReader {
    fn drop(&mut self) {
        if !self.is_done {
            // Dropped outside the lock: dropped mail returns to the slot.
            let left = std::mem::take(&mut self.slot.lock().inbox);
            drop(left);
        }
    }
}
