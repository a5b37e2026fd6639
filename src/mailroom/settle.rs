//! A put on its way: sent until its fate is known, then everybody in it is answered.
//!
//! ```text
//! put_events ── committed ─▶ advance the latest sequence · answer all
//!            ── conflict ──▶ read back from the put's first sequence, look for each append by its commit id:
//!            │                found → answered; not found → back to the actor, to be decided anew
//!            ── refused ───▶ surely not written: answer the failure
//!            ── unknown ───▶ send the same put again, until the deadline; then Indeterminate
//! ```
//!
//! It is a task of the store's own: the actor may die meanwhile, and nothing is lost. How its fate is sought,
//! where the first sending leaves it open, stands in [`sending`](super::sending).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::Mailroom;
use super::aggregate_actor::Undecided;
use super::decide::{Item, Items, Refusal, repeated_command, repeated_or};
use super::entity::CommandAnswer;
use super::mail::{Answer, Mail};
use super::sending::{Fate, Found, Sending, not_answered, panicked};
use super::slot::{PutPermit, Slot};
use crate::append::Appended;
use crate::driver::{DriverError, Put, PutDone, PutReceipt};
use crate::error::AppendError;
use crate::event::{KeyedEvent, Sequence};

/// A frozen put with the mails in it and the right to have it in flight.
pub(super) struct Batch {
    pub(super) put: Arc<Put>,
    pub(super) items: Items,
    pub(super) permit: PutPermit,
    /// From here the deadline runs.
    pub(super) formed: std::time::Instant,
}

/// Sends the batch off, from its actor.
///
/// A driver that answers by itself calls [`answered`] from wherever it knows, and no task waits
/// meanwhile; any other is awaited by a task of the store's own.
pub(super) fn send_off(slot: &Arc<Slot>, batch: Batch) {
    let put = batch.put.clone();
    let number = slot.watch(batch);
    let done: PutDone = {
        let slot = slot.clone();
        Box::new(move |answer| {
            if let Some(batch) = slot.unwatch(number) {
                answered(batch, answer);
            }
        })
    };
    let common = slot.common();
    let alone = common.admission.admitted() == 1;
    let driver = AssertUnwindSafe(|| common.driver.put_events_then(put, alone, done));
    match std::panic::catch_unwind(driver) {
        Ok(Ok(())) => {}
        Ok(Err(_unused)) => {
            if let Some(batch) = slot.unwatch(number) {
                let mut settling = Box::pin(settle(batch, None));
                // A driver that is ready at once costs no task.
                if settling.as_mut().now_or_never().is_none() {
                    actix_rt::spawn(settling);
                }
            }
        }
        Err(_panic) => {
            if let Some(batch) = slot.unwatch(number) {
                answered(batch, Err(panicked()));
            }
        }
    }
}

/// The first sending was answered, or is overdue.
fn answered(batch: Batch, answer: Result<PutReceipt, DriverError>) {
    match answer {
        Ok(receipt) => committed(batch, receipt),
        Err(error) => {
            let slot = batch.permit.slot().clone();
            slot.common().spawn(settle(batch, Some(error)));
        }
    }
}

/// Goes on with batches whose drivers have not answered for as long as one sending may take.
pub(super) fn send_overdue_again(mailroom: &Mailroom) {
    let timeout = mailroom.config.put_attempt_timeout.min(mailroom.config.put_deadline);
    let Some(moment) = std::time::Instant::now().checked_sub(timeout) else { return };
    for batch in mailroom.registry.overdue(Some(moment)) {
        answered(batch, Err(not_answered(timeout)));
    }
}

/// Sends the put, unless it was sent once and `failed`, until its fate is known, and answers everybody
/// in it.
async fn settle(mut batch: Batch, failed: Option<DriverError>) {
    let slot = batch.permit.slot().clone();
    let deadline = Instant::from_std(batch.formed) + slot.common().config.put_deadline;
    let sending = Sending { common: slot.common(), slot: &slot, put: batch.put.clone(), deadline };
    let fate = sending.fate(&mut batch.permit.known, failed).await;
    conclude(batch, fate);
}

fn conclude(mut batch: Batch, fate: Fate) {
    if !matches!(fate, Fate::Committed(_)) {
        batch.permit.known.failed_puts += 1;
    }
    match fate {
        Fate::Committed(receipt) => committed(batch, receipt),
        Fate::Conflicted(found) => conflicted(batch, &found),
        Fate::NotWritten(error) => not_written(batch, &error),
        Fate::Unknown(error) => undone(batch, |mail| {
            Err(AppendError::Indeterminate {
                key: mail.append.key.clone(),
                commit_id: mail.append.commit_id,
                cause: error.clone(),
            })
        }),
    }
}

fn committed(batch: Batch, receipt: PutReceipt) {
    let Batch { put, items, mut permit, formed } = batch;
    let slot = permit.slot();
    let first_of_put = put.events().first().map_or(Sequence::NONE, |event| event.sequence);
    if let Some(last) = put.events().last() {
        slot.saw(last.sequence);
    }
    let latest = slot.latest();
    let is_exclusive = slot.common().is_exclusive;
    if let Some(window) = &mut permit.known.window {
        window.push_all(put.events());
    }
    // The next put may go while this one's callers are answered.
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
        _ => items.iter().map(Item::first).collect(),
    };
    for item in items {
        match item {
            Item::Accepted { mail, first } => {
                let answer = appended(&mail, first, false);
                mail.answer(Ok(answer));
            }
            Item::Repetition { mail, of } => {
                let first = firsts.get(of).copied().flatten().unwrap_or_default();
                let answer = appended(&mail, first, true);
                mail.answer(Ok(answer));
            }
            Item::Refused { mail, because } => refuse(mail, because, latest),
        }
    }
}

/// Gives the permit back, now or after a pause in which other stores may put.
fn give_way(mut permit: PutPermit, formed: std::time::Instant) {
    if let Some(pause) = permit.known.courtesy().pause_after(formed) {
        let common = permit.slot().common().clone();
        common.spawn(async move {
            tokio::time::sleep(pause).await;
            drop(permit);
        });
    }
}

impl Item {
    fn first(&self) -> Option<Sequence> {
        match self {
            Item::Accepted { first, .. } => Some(*first),
            _ => None,
        }
    }
}

fn refuse(mail: Mail, because: Refusal, latest: Sequence) {
    let key = mail.append.key.clone();
    let error = match because {
        Refusal::Conflict => {
            AppendError::Conflict { key, expected: mail.append.expected, actual: latest }
        }
        Refusal::CommitIdReused => {
            AppendError::CommitIdReused { key, commit_id: mail.append.commit_id }
        }
        Refusal::Nothing(at) => return mail.answer_command(CommandAnswer::Nothing(at)),
    };
    mail.answer(Err(error));
}

/// Each append by its own commit id: an earlier put with some of the same appends may have landed late,
/// so nothing is said of the put as a whole.
fn conflicted(batch: Batch, found: &Found) {
    let latest = batch.permit.slot().latest();
    let mut undecided = Vec::new();
    for item in batch.items {
        let (mail, accepted) = match item {
            Item::Accepted { mail, .. } => (mail, true),
            Item::Repetition { mail, .. } => (mail, false),
            Item::Refused { mail, .. } => {
                undecided.push(mail);
                continue;
            }
        };
        let events = found.by_commit.get(&mail.append.commit_id);
        // An exact append stands behind what it expects, or its id was used for another one.
        let exact = mail.append.expected.exact();
        let events = events.filter(|events| {
            let first = events.first().map(|event| event.sequence);
            exact.is_none_or(|expected| first == Some(expected.next()))
        });
        match events {
            None => undecided.push(mail),
            // Another process may have decided the same command otherwise; what it wrote counts.
            Some(events) if mail.command().is_some() && !is_own_work(&batch.put, events, found) => {
                let commit_id = mail.append.commit_id;
                if let Some(answer) = repeated_command(commit_id, events.clone()) {
                    mail.answer_command(answer);
                }
            }
            Some(events) => {
                let mut answer = repeated_or(&mail, events, latest);
                if let Ok(appended) = &mut answer {
                    appended.repeated = !accepted || !is_own_work(&batch.put, events, found);
                }
                mail.answer(answer);
            }
        }
    }
    Undecided { mails: undecided, permit: batch.permit, alone: false }.deliver();
}

/// Whether the events were written by this very put, rather than by an earlier append with the same
/// commit id. A driver with a log may have raised the time to keep it from decreasing.
fn is_own_work(put: &Put, stored: &[KeyedEvent], found: &Found) -> bool {
    let (Some(stored), Some(sent)) = (stored.first(), put.events().first()) else { return false };
    stored.recorded_at == sent.recorded_at
        || (found.sent_before && stored.recorded_at > sent.recorded_at)
}

fn not_written(batch: Batch, error: &DriverError) {
    let accepted = batch.items.iter().filter(|item| item.first().is_some()).count();
    if let DriverError::LimitExceeded(_) = error
        && accepted > 1
    {
        // One that the driver refuses for itself must not take its neighbours along.
        let mails = batch.items.into_iter().map(Item::into_mail).collect();
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

/// What the put failed to do is answered; what was refused because of it is decided anew.
fn undone(batch: Batch, answer: impl Fn(&Mail) -> Answer) {
    let mut undecided = Vec::new();
    for item in batch.items {
        match item {
            Item::Accepted { mail, .. } | Item::Repetition { mail, .. } => {
                let answer = answer(&mail);
                mail.answer(answer);
            }
            Item::Refused { mail, .. } => undecided.push(mail),
        }
    }
    Undecided { mails: undecided, permit: batch.permit, alone: false }.deliver();
}
