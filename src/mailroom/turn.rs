//! A turn of an aggregate: what waits is decided, and one put is formed and sent.
//!
//! The put permit says whose turn it is. The actor takes turns on its arbiter
//! ([`actor`](super::actor)). An idle aggregate, for which nothing waits, is served by whoever
//! brings the mail, in the caller's thread: that saves the change to the actor's thread. It is the
//! same turn, on the same grounds, by the same decision.
//!
//! # What must stay true
//!
//! - A turn of the caller's never waits: it asks only what the driver tells here and now, and takes
//!   no lock that is held during a flush. Mail that cannot be decided at once goes to the actor,
//!   with the permit, so that nothing overtakes it.
//! - What the application's code does in a turn (a command's decision, the folding of events, the
//!   store's clock) harms no other caller when it panics.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::decide::{Grounds, PutPlan, decide};
use super::driver_question::DriverQuestion;
use super::settle::{TurnOf, send_off};
use super::slot::{Batch, BatchItem, BatchItems, Mail, MailQueue, PutPermit, Slot, Undecided};
use crate::driver::{DriverError, Put};
use crate::error::AppendError;
use crate::event::Sequence;
use crate::user_code;

/// Brings mail to its aggregate, and takes the turn if the aggregate is idle.
pub(super) fn of_caller(slot: &Arc<Slot>, mail: Mail) {
    match slot.bring(mail) {
        Ok((mail, permit)) => take(slot, mail, permit),
        Err(wake) => wake.wake(slot),
    }
}

fn take(slot: &Arc<Slot>, mail: Mail, mut permit: PutPermit) {
    let formed = Instant::now();
    let mut queue = MailQueue::default();
    queue.push_back(mail);
    let mut plan = plan(&mut permit, &mut queue, formed, false);
    if let Some(question) = plan.question
        && let Some(latest) = answer_now(slot, question)
    {
        slot.raise_latest(latest);
        permit.facts.is_latest_confirmed = true;
        if let Some(mail) = queue.front_mut() {
            mail.up_to_date = true;
        }
        plan = self::plan(&mut permit, &mut queue, formed, false);
    }
    let PutPlan { items, answers, question: _ } = plan;
    for (mail, answer) in answers {
        mail.reply(answer);
    }
    if !items.is_empty() {
        debug_assert!(queue.is_empty(), "one mail, and more than one verdict");
        drop(put(permit, items, formed, TurnOf::Caller));
    } else if let Some(mail) = queue.pop_front() {
        Undecided { mails: vec![mail], permit, alone: false }.deliver();
    }
}

/// The latest sequence, if that is what is asked and the driver tells it here and now. Whatever
/// else it says, the actor is told when it asks again.
fn answer_now(slot: &Slot, question: DriverQuestion) -> Option<Sequence> {
    match question {
        DriverQuestion::Has(_) | DriverQuestion::Latest => {
            let driver = &slot.shared().driver;
            let told = user_code::call(|| driver.latest_sequence_now(slot.key()));
            told.ok().flatten()?.ok()
        }
        _ => None,
    }
}

/// Decides what waits, on the facts that came with the permit.
pub(super) fn plan(
    permit: &mut PutPermit,
    queue: &mut MailQueue,
    now: Instant,
    alone: bool,
) -> PutPlan {
    let slot = permit.slot().clone();
    let (shared, facts) = (slot.shared(), &mut permit.facts);
    let failed_puts = facts.failed_puts;
    // Out of the facts: a state is gone if deciding on it does not end well.
    let mut entity = facts.entity.take().filter(|entity| entity.failed_puts == failed_puts);
    if let Some(entity) = &mut entity {
        // Everything folded is durable here, and no put is in flight.
        if shared.driver.snapshots().is_some()
            && let Some(snapshot) = entity.due_snapshot()
        {
            facts.snapshots.get_or_insert_default().save(shared, slot.key(), snapshot);
        }
    }
    let latest = slot.latest();
    let grounds = Grounds {
        latest,
        is_latest_confirmed: facts.is_latest_confirmed || latest > Sequence::NONE,
        window: facts.window.as_deref(),
        limits: &shared.limits,
        folds_raw_events: shared.config.upcasters.is_empty(),
        now,
        put_deadline: shared.config.put_deadline,
        is_exclusive: shared.is_exclusive,
        alone,
    };
    let plan = decide(queue, &grounds, &mut entity);
    let bytes = entity.as_mut().map_or(0, |entity| entity.resident_bytes());
    let counted = shared.states.counted(bytes);
    if counted.is_none() && queue.is_empty() {
        // It weighs more than all may, and nobody waits for it.
        tracing::debug!(key = %slot.key(), bytes, "a state is too large to stay resident");
        entity = None;
    }
    slot.set_state_bytes(counted.unwrap_or(0));
    facts.entity = entity;
    plan
}

/// Freezes the put and sends it off. Returns the permit if there is nothing to send.
pub(super) fn put(
    mut permit: PutPermit,
    mut items: BatchItems,
    formed: Instant,
    turn: TurnOf,
) -> Option<PutPermit> {
    let slot = permit.slot().clone();
    let Ok(recorded_at) = slot.shared().now() else {
        // None of it was sent: dropped, the mail says so. A state that is ahead is folded again.
        permit.facts.failed_puts += 1;
        return Some(permit);
    };
    let mut events = SmallVec::with_capacity(items.len());
    for item in &mut items {
        if let BatchItem::Accepted { mail, first } = item {
            for (offset, event) in mail.append.events.iter().enumerate() {
                let sequence = first.plus(offset as u64);
                let id = mail.append.commit_id;
                let mut event = event.place(slot.key(), sequence, id, recorded_at);
                event.attempt = mail.append.attempt;
                events.push(event);
            }
        }
    }
    let put = match Put::of(events) {
        Ok(put) => Arc::new(put),
        // Decided in order from the latest sequence on, it cannot be out of order; if it were,
        // nobody's append was sent.
        Err(error) => {
            permit.facts.failed_puts += 1;
            let error = DriverError::failed(error.to_string());
            for mail in items.into_iter().map(BatchItem::into_mail) {
                let key = mail.append.key.clone();
                mail.answer(Err(AppendError::Driver { key, source: error.clone() }));
            }
            return Some(permit);
        }
    };
    for item in &mut items {
        item.mail_mut().enters_put();
    }
    send_off(&slot, Batch { put, items, permit, formed }, turn);
    None
}
