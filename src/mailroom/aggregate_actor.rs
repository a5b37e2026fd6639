//! The actor behind one aggregate's mailbox: it decides, in order, what is put.
//!
//! Its own memory is the queue of mails that no put has taken yet. All else that is known of the
//! aggregate stands in the [`Slot`], so an actor that dies loses those mails only, and they were surely
//! not written.
//!
//! Whatever arrives (mail, the end of a put, the answer to a question) ends in [`advance`]: with the
//! put permit in hand and nothing being asked, decide all that waits, answer what can be answered, and
//! send one put.
//!
//! [`advance`]: AggregateActor::advance

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use futures_util::{FutureExt, StreamExt};
use smallvec::SmallVec;

use super::Common;
use super::decide::{
    Decided, Grounds, Item, Items, Question, decide, repeated_command, repeated_or,
};
use super::entity::{CommandAnswer, Entity};
use super::load::{load, save_snapshot};
use super::mail::{Answer, Mail};
use super::queue::Queue;
use super::settle::{Batch, send_off};
use super::slot::{Known, PutPermit, Slot};
use super::window::Window;
use crate::driver::{DriverError, Fetch, Put};
use crate::error::{AppendError, LoadError};
use crate::event::{AggregateKey, KeyedEvent, Sequence};

/// One aggregate's appends, one after another.
pub(super) struct AggregateActor {
    slot: Arc<Slot>,
    queue: Queue,
    /// The entity's state, from the first command on.
    entity: Option<Box<Entity>>,
    /// Held while the driver is asked something, and between a failed put and its successor.
    permit: Option<PutPermit>,
    asking: bool,
    /// So many at the front of the queue are put one by one.
    alone: usize,
}

/// Mails that came back from a put that surely wrote none of them, with its permit, so that they are
/// decided before what came after them.
pub(super) struct Undecided {
    pub(super) mails: Vec<Mail>,
    pub(super) permit: PutPermit,
    /// To be put one by one.
    pub(super) alone: bool,
}

impl Undecided {
    pub(super) fn deliver(mut self) {
        if self.mails.is_empty() {
            return;
        }
        for mail in &mut self.mails {
            mail.leaves_put();
        }
        let slot = self.permit.slot().clone();
        let notice = slot.desk().inbox.push_undecided(Box::new(self));
        notice.give(&slot);
    }
}

impl Actor for AggregateActor {
    type Context = Context<Self>;
}

impl AggregateActor {
    pub(super) fn new(slot: Arc<Slot>) -> Self {
        AggregateActor {
            slot,
            queue: Queue::default(),
            entity: None,
            permit: None,
            asking: false,
            alone: 0,
        }
    }

    /// New mail, in order. What the first of several is put with must not depend on how long the actor slept: it
    /// goes at once, as if nobody had come behind it.
    pub(super) fn receive(&mut self, mut mails: Queue, ctx: &mut Context<Self>) {
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
            let Decided { items, answers, question } = self.decide(&permit.known, now);
            for (mail, answer) in answers {
                mail.say(answer);
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

    fn decide(&mut self, known: &Known, now: Instant) -> Decided {
        let common = self.slot.common();
        let latest = self.slot.latest();
        self.entity.take_if(|entity| entity.failed_puts != known.failed_puts);
        let grounds = Grounds {
            latest,
            learned: known.learned || latest > Sequence::NONE,
            window: known.window.as_deref(),
            limits: &common.limits,
            now,
            put_deadline: common.config.put_deadline,
            alone: self.alone > 0,
        };
        if let Some(entity) = &mut self.entity {
            // All that is folded is durable now, and nothing else is under way.
            save_snapshot(common, self.slot.key(), entity);
        }
        let before = self.queue.len();
        let decided = decide(&mut self.queue, &grounds, &mut self.entity);
        self.alone = self.alone.saturating_sub(before - self.queue.len());
        decided
    }

    /// Freezes the put and sends it off.
    fn put(&mut self, mut items: Items, permit: PutPermit, formed: Instant) {
        let recorded_at = self.slot.common().now();
        let mut events = SmallVec::with_capacity(items.len());
        for item in &mut items {
            if let Item::Accepted { mail, first } = item {
                for (offset, event) in mail.append.events.iter().enumerate() {
                    let sequence = first.plus(offset as u64);
                    let id = mail.append.commit_id;
                    events.push(event.place(self.slot.key(), sequence, id, recorded_at));
                }
            }
        }
        let put = match Put::of(events) {
            Ok(put) => Arc::new(put),
            // Decided in order from the latest sequence on, it cannot be out of order; if it were, nobody's
            // append was sent.
            Err(error) => {
                let error = DriverError::failed(error.to_string());
                for mail in items.into_iter().map(Item::into_mail) {
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

    fn ask(&mut self, question: Question, permit: PutPermit, ctx: &mut Context<Self>) {
        self.asking = true;
        let entity = match question {
            Question::State => self.entity.take().or_else(|| self.blank_entity(&permit.known)),
            _ => None,
        };
        self.permit = Some(permit);
        let asking = ask(self.slot.common().clone(), self.slot.key().clone(), question, entity);
        ctx.spawn(asking.into_actor(self).map(|said, actor, ctx| {
            actor.asking = false;
            actor.hear(said);
            actor.advance(ctx);
        }));
    }

    fn hear(&mut self, said: Result<Said, DriverError>) {
        let said = match said {
            Ok(said) => said,
            Err(error) => {
                // Whoever waits would ask the same driver again, one after the other, each until the
                // deadline; none of them was sent.
                for mail in std::mem::take(&mut self.queue) {
                    let key = mail.append.key.clone();
                    mail.answer(Err(AppendError::Driver { key, source: error.clone() }));
                }
                return;
            }
        };
        match said {
            Said::Has(sequence) => self.slot.saw(sequence),
            Said::HasNot { latest } => {
                self.learned(latest);
                self.answer_front(|mail| {
                    Err(AppendError::Conflict {
                        key: mail.append.key.clone(),
                        expected: mail.append.expected,
                        actual: latest,
                    })
                });
            }
            Said::Latest(latest) => {
                self.learned(latest);
                self.front_is_up_to_date();
            }
            Said::Whose(events) => {
                let latest = self.slot.latest();
                match self.queue.pop_front() {
                    Some(mail) if mail.command().is_some() => {
                        // The window said that it is there, and what was durable stays so.
                        if let Some(answer) = repeated_command(mail.append.commit_id, events) {
                            mail.answer_command(answer);
                        }
                    }
                    Some(mail) => {
                        let answer = repeated_or(&mail, &events, latest);
                        mail.answer(answer);
                    }
                    None => {}
                }
            }
            Said::State(Ok(entity)) => {
                self.learned(entity.at);
                self.entity = Some(Box::new(entity));
            }
            Said::State(Err(error)) => {
                // Each further command would fold the same history to the same end.
                for mail in std::mem::take(&mut self.queue) {
                    match mail.command() {
                        Some(_) => mail.answer_command(CommandAnswer::NotLoaded(error.clone())),
                        None => self.queue.push_back(mail),
                    }
                }
            }
            Said::Window(backwards) => {
                let latest = backwards.first().map_or(Sequence::NONE, |event| event.sequence);
                self.learned(latest);
                let window = Window::new(self.slot.common().config.commit_id_window, &backwards);
                if let Some(permit) = &mut self.permit {
                    permit.known.window = Some(Box::new(window));
                }
                self.front_is_up_to_date();
            }
        }
    }

    /// A state to fold from the beginning, of the type that the first command is for.
    fn blank_entity(&self, known: &Known) -> Option<Box<Entity>> {
        let command = self.queue.front()?.command()?;
        Some(Box::new(Entity::blank(command.blank(), known.failed_puts)))
    }

    fn learned(&mut self, latest: Sequence) {
        self.slot.saw(latest);
        if let Some(permit) = &mut self.permit {
            permit.known.learned = true;
        }
    }

    fn front_is_up_to_date(&mut self) {
        if let Some(mail) = self.queue.front_mut() {
            mail.up_to_date = true;
        }
    }

    fn answer_front(&mut self, answer: impl FnOnce(&Mail) -> Answer) {
        if let Some(mail) = self.queue.pop_front() {
            let answer = answer(&mail);
            mail.answer(answer);
        }
    }
}

/// What the driver said to a [`Question`].
enum Said {
    Has(Sequence),
    HasNot { latest: Sequence },
    Latest(Sequence),
    Whose(Vec<KeyedEvent>),
    Window(Vec<KeyedEvent>),
    State(Result<Entity, LoadError>),
}

async fn ask(
    common: Arc<Common>,
    key: AggregateKey,
    question: Question,
    entity: Option<Box<Entity>>,
) -> Result<Said, DriverError> {
    let driver = &common.driver;
    let deadline = common.config.read_deadline;
    if let (Question::State, Some(entity)) = (question, entity) {
        let loading = AssertUnwindSafe(load(&common, &key, *entity)).catch_unwind().await;
        let source = DriverError::failed("the driver panicked while reading");
        let panicked = |_| Err(LoadError::Driver { key: key.clone(), source });
        return Ok(Said::State(loading.unwrap_or_else(panicked)));
    }
    let asking = async {
        Ok(match question {
            Question::Has(sequence) => match driver.check_sequence(&key, sequence).await? {
                true => Said::Has(sequence),
                false => Said::HasNot { latest: driver.latest_sequence(&key).await? },
            },
            Question::Latest => Said::Latest(driver.latest_sequence(&key).await?),
            Question::Whose { after, events } => {
                let limit = usize::try_from(events).unwrap_or(usize::MAX).saturating_add(1);
                let fetch = Fetch::ALL.after(after).limit(limit);
                Said::Whose(fetch_all(driver.fetch_events(&key, fetch)).await?)
            }
            Question::Window => {
                let fetch = Fetch::ALL.backwards().limit(common.config.commit_id_window);
                Said::Window(fetch_all(driver.fetch_events(&key, fetch)).await?)
            }
            Question::State => return Err(DriverError::failed("no command waits for a state")),
        })
    };
    answered_in_time(deadline, asking).await
}

/// A read of the driver that hangs or panics is a failure like any other.
async fn answered_in_time<T>(
    deadline: Duration,
    reading: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, DriverError> {
    match tokio::time::timeout(deadline, AssertUnwindSafe(reading).catch_unwind()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_panic)) => Err(DriverError::failed("the driver panicked while reading")),
        Err(_elapsed) => Err(DriverError::unavailable(format!(
            "the driver did not answer a read within {deadline:?}"
        ))),
    }
}

async fn fetch_all(mut pages: crate::driver::EventPages) -> Result<Vec<KeyedEvent>, DriverError> {
    let mut events = Vec::new();
    while let Some(page) = pages.next().await {
        events.extend(page?);
    }
    Ok(events)
}
