//! A put on its way: sent until its fate is known, then every caller in it is answered.
//!
//! ```text
//! put_events ── committed ─▶ raise the latest sequence · answer all
//!            ── conflict ──▶ read back from the put's first sequence, find each append by its id:
//!            │               found → answered; not found → back to the actor, decided again
//!            ── refused ───▶ surely not written: answer the failure
//!            ── unknown ───▶ send the same put again, until the deadline; then Indeterminate
//! ```
//!
//! A put is a task of the store's own: the actor may die meanwhile, and nothing is lost. If the
//! first sending leaves the fate open, [`resend`](super::resend) finds it out.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::entity_state::CommandAnswer;
use super::registry::Registry;
use super::repetition::{is_own_work, repeated_command, repeated_or};
use super::resend::{PutFate, ReadBack, Resend};
use super::shared::Shared;
use super::slot::{AppendAnswer, Batch, BatchItem, HeldRefusal, Mail, PutPermit, Slot, Undecided};
use crate::append::Appended;
use crate::driver::bounded::NoAnswer;
use crate::driver::{DriverError, PutDone, PutReceipt};
use crate::error::AppendError;
use crate::event::Sequence;

/// Whose turn it is to decide and to put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnOf {
    /// The aggregate's actor, on its arbiter.
    Actor {
        /// Mail that goes into a later put.
        mail_is_left: bool,
    },
    /// Whoever brought mail to an idle aggregate, in a thread of the application.
    Caller,
}

/// Sends the batch.
///
/// A driver that answers by callback calls [`answered`] from its own thread, and no task waits
/// meanwhile. Any other driver is awaited by a task of the store's own.
pub(super) fn send_off(slot: &Arc<Slot>, batch: Batch, turn: TurnOf) {
    let put = batch.put.clone();
    let number = slot.watch(batch, turn == TurnOf::Actor { mail_is_left: true });
    let shared = slot.shared();
    // Looked at after the batch is in its place: the end of the store either finds the batch there,
    // or is seen here.
    if shared.has_ended() {
        if let Some(batch) = slot.unwatch(number) {
            not_sent(batch);
        }
        return;
    }
    let awaited = AwaitedAnswer { slot: Some(slot.clone()), number };
    let done: PutDone = Box::new(move |answer| awaited.take(answer));
    let driver = AssertUnwindSafe(|| shared.driver.put_events_then(put, done));
    match std::panic::catch_unwind(driver) {
        Ok(Ok(())) => {}
        Ok(Err(unused)) => {
            // The batch is taken first: dropping `unused` then finds nothing to answer.
            let batch = slot.unwatch(number);
            drop(unused);
            if let Some(batch) = batch {
                let mut settling = Box::pin(settle(batch, None));
                match turn {
                    // A driver is polled on the store's own threads only.
                    TurnOf::Caller => drop(shared.spawn(settling)),
                    // A driver that is ready at once needs no task.
                    TurnOf::Actor { .. } => {
                        if settling.as_mut().now_or_never().is_none() {
                            actix_rt::spawn(settling);
                        }
                    }
                }
            }
        }
        Err(_panic) => {
            if let Some(batch) = slot.unwatch(number) {
                answered(batch, Err(NoAnswer::Panicked.to_put()));
            }
        }
    }
}

/// The answer of a driver that answers by callback. A driver that drops the callback has not said
/// what became of the put.
struct AwaitedAnswer {
    /// `None` once the driver has answered.
    slot: Option<Arc<Slot>>,
    number: u64,
}

impl AwaitedAnswer {
    fn take(mut self, answer: Result<PutReceipt, DriverError>) {
        if let Some(batch) = self.slot.take().and_then(|slot| slot.unwatch(self.number)) {
            answered(batch, answer);
        }
    }
}

impl Drop for AwaitedAnswer {
    fn drop(&mut self) {
        if let Some(batch) = self.slot.take().and_then(|slot| slot.unwatch(self.number)) {
            let dropped = DriverError::unknown("the driver dropped the put without an answer");
            answered(batch, Err(dropped));
        }
    }
}

/// The store has ended before the put was sent, so it is surely not written.
fn not_sent(batch: Batch) {
    for mut mail in batch.items.into_iter().map(BatchItem::into_mail) {
        mail.leaves_put();
        mail.answer(Err(AppendError::Closed));
    }
}

/// The first sending is answered, or overdue.
fn answered(batch: Batch, answer: Result<PutReceipt, DriverError>) {
    match answer {
        Ok(receipt) => committed(batch, receipt),
        Err(error) => {
            let slot = batch.permit.slot().clone();
            slot.shared().spawn(settle(batch, Some(error)));
        }
    }
}

/// Sends batches again whose driver has not answered within the time of one sending.
pub(super) fn send_overdue_again(shared: &Shared, registry: &Registry) {
    let timeout = shared.config.put_attempt_timeout.min(shared.config.put_deadline);
    let Some(moment) = std::time::Instant::now().checked_sub(timeout) else { return };
    for batch in registry.overdue(Some(moment)) {
        answered(batch, Err(NoAnswer::TimedOut(timeout).to_put()));
    }
}

/// Sends the put until its fate is known, and answers every caller in it. `failed` is the result of
/// a first sending.
async fn settle(mut batch: Batch, failed: Option<DriverError>) {
    let slot = batch.permit.slot().clone();
    let deadline = Instant::from_std(batch.formed) + slot.shared().config.put_deadline;
    let sending = Resend { shared: slot.shared(), slot: &slot, put: batch.put.clone(), deadline };
    let fate = sending.fate(&mut batch.permit.facts, failed).await;
    conclude(batch, fate);
}

fn conclude(mut batch: Batch, fate: PutFate) {
    if !matches!(fate, PutFate::Committed(_)) {
        batch.permit.facts.failed_puts += 1;
    }
    match fate {
        PutFate::Committed(receipt) => committed(batch, receipt),
        PutFate::Conflicted(found) => {
            batch.permit.slot().shared().figures.driver_conflict();
            conflicted(batch, &found);
        }
        PutFate::NotWritten(error) => not_written(batch, &error),
        PutFate::Unknown(error) => {
            batch.permit.slot().shared().figures.unknown_put();
            undone(batch, |mail| {
                Err(AppendError::Indeterminate {
                    key: mail.append.key.clone(),
                    commit_id: mail.append.commit_id,
                    cause: error.clone(),
                })
            });
        }
    }
}

fn committed(batch: Batch, receipt: PutReceipt) {
    let Batch { put, items, mut permit, formed } = batch;
    let slot = permit.slot();
    let accepted = items.iter().filter_map(BatchItem::accepted);
    slot.shared().figures.committed(formed, accepted.map(|mail| mail.since));
    let first_of_put = put.events().first().map_or(Sequence::NONE, |event| event.sequence);
    if let Some(last) = put.events().last() {
        slot.raise_latest(last.sequence);
    }
    let latest = slot.latest();
    let is_exclusive = slot.shared().is_exclusive;
    if let Some(window) = &mut permit.facts.window {
        window.push_all(put.events());
    }
    // The next put may be sent while the callers of this one are answered.
    match is_exclusive {
        true => drop(permit),
        false => give_way(permit, formed),
    }
    let appended = |mail: &Mail, first: Sequence, repeated| Appended {
        first,
        last: first.plus(mail.append.len() - 1),
        position: receipt
            .first_position
            .map(|position| position.plus(first.get() - first_of_put.get())),
        commit_id: mail.append.commit_id,
        repeated,
    };
    let firsts: Vec<Option<Sequence>> = match items.len() {
        1 => Vec::new(),
        _ => items.iter().map(BatchItem::first).collect(),
    };
    for item in items {
        match item {
            BatchItem::Accepted { mail, first } => {
                let answer = appended(&mail, first, false);
                mail.answer(Ok(answer));
            }
            BatchItem::Repetition { mail, of } => {
                let first = firsts.get(of).copied().flatten().unwrap_or_default();
                let answer = appended(&mail, first, true);
                mail.answer(Ok(answer));
            }
            BatchItem::Refused { mail, because } => refuse(mail, because, latest),
        }
    }
}

/// Gives the permit back, at once or after a pause in which other stores can put.
fn give_way(mut permit: PutPermit, formed: std::time::Instant) {
    if let Some(pause) = permit.facts.fairness().pause_after(formed) {
        let shared = permit.slot().shared().clone();
        shared.spawn(async move {
            tokio::time::sleep(pause).await;
            drop(permit);
        });
    }
}

fn refuse(mail: Mail, because: HeldRefusal, latest: Sequence) {
    let key = mail.append.key.clone();
    let error = match because {
        HeldRefusal::Conflict => {
            AppendError::Conflict { key, expected: mail.append.expected, actual: latest }
        }
        HeldRefusal::CommitIdReused => {
            AppendError::CommitIdReused { key, commit_id: mail.append.commit_id }
        }
        HeldRefusal::Nothing(at) => return mail.answer_command(CommandAnswer::Nothing(at)),
    };
    mail.answer(Err(error));
}

/// Judges each append by its own commit id. An earlier put with some of the same appends may have
/// landed late, so nothing is concluded about the put as a whole.
fn conflicted(batch: Batch, found: &ReadBack) {
    let latest = batch.permit.slot().latest();
    let mut undecided = Vec::new();
    for item in batch.items {
        let mail = match item {
            BatchItem::Accepted { mail, .. } | BatchItem::Repetition { mail, .. } => mail,
            BatchItem::Refused { mail, .. } => {
                undecided.push(mail);
                continue;
            }
        };
        let stored = found.by_commit.get(&mail.append.commit_id);
        // An exact append follows what it expects; elsewhere, its id was used for another append.
        let stored = stored.filter(|stored| stored.first_after(mail.append.expected).is_some());
        match stored {
            None => undecided.push(mail),
            // Another process may have decided the same command differently; what it wrote counts.
            Some(stored)
                if mail.command().is_some() && !is_own_work(&mail, stored.events.first()) =>
            {
                let commit_id = mail.append.commit_id;
                if let Some(answer) = repeated_command(commit_id, stored.clone()) {
                    mail.answer_command(answer);
                }
            }
            Some(stored) => {
                let answer = repeated_or(&mail, stored, latest);
                mail.answer(answer);
            }
        }
    }
    Undecided { mails: undecided, permit: batch.permit, alone: false }.deliver();
}

fn not_written(batch: Batch, error: &DriverError) {
    let accepted = batch.items.iter().filter(|item| item.first().is_some()).count();
    if let DriverError::LimitExceeded(_) = error
        && accepted > 1
    {
        // An append that the driver refuses by itself must not fail the others.
        let mails = batch.items.into_iter().map(BatchItem::into_mail).collect();
        Undecided { mails, permit: batch.permit, alone: true }.deliver();
        return;
    }
    undone(batch, |mail| {
        let key = mail.append.key.clone();
        Err(match error {
            DriverError::LimitExceeded(exceeded) => {
                AppendError::TooLarge { key, exceeded: *exceeded }
            }
            _ => AppendError::Driver { key, source: error.clone() },
        })
    });
}

/// Answers what the put did not write. What was refused because of the put is decided again.
fn undone(batch: Batch, answer: impl Fn(&Mail) -> AppendAnswer) {
    let mut undecided = Vec::new();
    for item in batch.items {
        match item {
            BatchItem::Accepted { mail, .. } | BatchItem::Repetition { mail, .. } => {
                let answer = answer(&mail);
                mail.answer(answer);
            }
            BatchItem::Refused { mail, .. } => undecided.push(mail),
        }
    }
    Undecided { mails: undecided, permit: batch.permit, alone: false }.deliver();
}
