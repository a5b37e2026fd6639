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
//! It is a task of the store's own: the actor may die meanwhile, and nothing is lost. The put never
//! changes. An unknown put is never resolved by reading alone, for an absent write can still land; and
//! once unknown it stays so through later failures, until a commit or a conflict says more.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;
use uuid::Uuid;

use super::aggregate_actor::Undecided;
use super::decide::{Item, Refusal, repeated_command, repeated_or};
use super::entity::CommandAnswer;
use super::mail::{Answer, Mail};
use super::slot::{Known, PutPermit, Slot};
use super::{Common, Mailroom};
use crate::append::Appended;
use crate::driver::{DriverError, Fetch, Put, PutDone, PutReceipt};
use crate::error::AppendError;
use crate::event::{KeyedEvent, Sequence};

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A frozen put with the mails in it and the right to have it in flight.
pub(super) struct Batch {
    pub(super) put: Arc<Put>,
    pub(super) items: Vec<Item>,
    pub(super) permit: PutPermit,
    /// From here the deadline runs.
    pub(super) formed: std::time::Instant,
}

enum Fate {
    Committed(PutReceipt),
    /// Not written as a whole; what stands from its first sequence on.
    Conflicted(Found),
    /// Surely not written.
    NotWritten(DriverError),
    Unknown(DriverError),
}

/// What was read back after a conflict.
struct Found {
    /// The events of each append of the put that is there.
    by_commit: HashMap<Uuid, Vec<KeyedEvent>>,
    /// Some earlier sending of the put had no answer, so what is found may be its own work.
    sent_before: bool,
}

/// Sends the batch off, from its actor.
///
/// A driver that answers by itself calls [`answered`] from wherever it knows, and no task waits
/// meanwhile; any other is awaited by a task of the store's own.
pub(super) fn send_off(batch: Batch) {
    let put = batch.put.clone();
    let slot = batch.permit.slot().clone();
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

fn panicked() -> DriverError {
    DriverError::unknown("the driver panicked while putting")
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

fn not_answered(timeout: Duration) -> DriverError {
    DriverError::unknown(format!("the driver did not answer a put within {timeout:?}"))
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

/// What seeking a put's fate takes; its mails are not touched until it is known.
struct Sending<'a> {
    common: &'a Common,
    slot: &'a Slot,
    put: Arc<Put>,
    deadline: Instant,
}

impl Sending<'_> {
    async fn fate(&self, known: &mut Known, failed: Option<DriverError>) -> Fate {
        let mut unknown: Option<DriverError> = None;
        let mut pause = FIRST_PAUSE;
        let mut answer = failed.map(Err);
        loop {
            let answer = match answer.take() {
                Some(answer) => answer,
                None => self.put_once().await,
            };
            match answer {
                Ok(receipt) => return Fate::Committed(receipt),
                Err(error) if error.is_conflict() => {
                    match self.read_back(known, unknown.is_some()).await {
                        Ok(found) => return Fate::Conflicted(found),
                        Err(error) => unknown = Some(error),
                    }
                }
                Err(error) if error.may_have_been_written() => unknown = Some(error),
                Err(error) => match unknown {
                    // This sending wrote nothing; an earlier one may have, or may yet.
                    Some(earlier) if !error.is_retryable() => return Fate::Unknown(earlier),
                    Some(_) => {}
                    None => return Fate::NotWritten(error),
                },
            }
            if Instant::now() + pause >= self.deadline {
                return Fate::Unknown(
                    unknown.unwrap_or_else(|| DriverError::unknown("no answer until the deadline")),
                );
            }
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One sending. A driver that panics, or does not answer in time, may have written.
    async fn put_once(&self) -> Result<PutReceipt, DriverError> {
        let timeout = self.common.config.put_attempt_timeout;
        let attempt_ends = self.deadline.min(Instant::now() + timeout);
        let sending = async { self.common.driver.put_events(self.put.clone()).await };
        match tokio::time::timeout_at(attempt_ends, AssertUnwindSafe(sending).catch_unwind()).await
        {
            Ok(Ok(answer)) => answer,
            Ok(Err(_panic)) => Err(panicked()),
            Err(_elapsed) => Err(not_answered(timeout)),
        }
    }

    /// Reads from the put's first sequence to the end, and keeps the events of the put's own appends.
    ///
    /// A conflict with nothing there to conflict with is no answer to build on: an error, like a read that
    /// fails.
    async fn read_back(&self, known: &mut Known, sent_before: bool) -> Result<Found, DriverError> {
        let first = self.put.events().first().map_or(Sequence::NONE, |event| event.sequence);
        let by_commit =
            self.put.events().iter().map(|event| (event.commit_id, Vec::new())).collect();
        let mut found = Found { by_commit, sent_before };
        let reading = async {
            let (mut latest, mut of_another) = (Sequence::NONE, false);
            let mut pages = self
                .common
                .driver
                .fetch_events(self.slot.key(), Fetch::ALL.after(first.previous()));
            while let Some(page) = pages.next().await {
                let page = page?;
                // Or the window would stay behind, and be read anew at the price of all it covers.
                if let Some(window) = &mut known.window {
                    window.push_all(&page);
                }
                for event in page {
                    latest = event.sequence;
                    match found.by_commit.get_mut(&event.commit_id) {
                        Some(events) => events.push(event),
                        None => of_another = true,
                    }
                }
            }
            Ok::<_, DriverError>((latest, of_another))
        };
        let reading = AssertUnwindSafe(reading).catch_unwind();
        let reading = tokio::time::timeout_at(self.deadline, reading).await;
        let (latest, of_another) = match reading {
            Ok(Ok(read)) => read?,
            Ok(Err(_panic)) => {
                return Err(DriverError::unknown("the driver panicked while reading"));
            }
            Err(_elapsed) => {
                return Err(DriverError::unknown("a conflict could not be read back in time"));
            }
        };
        if latest < first {
            return Err(DriverError::unknown("a conflict with events that cannot be read back"));
        }
        self.slot.saw(latest);
        // An append that expects something of an aggregate nobody knew here may have been wrong by itself.
        if std::mem::replace(&mut known.learned, true) && of_another {
            known.courtesy().met_another();
        }
        found.by_commit.retain(|_, events: &mut Vec<KeyedEvent>| !events.is_empty());
        Ok(found)
    }
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
    let slot = permit.slot().clone();
    let first_of_put = put.events().first().map_or(Sequence::NONE, |event| event.sequence);
    if let Some(last) = put.events().last() {
        slot.saw(last.sequence);
    }
    if let Some(window) = &mut permit.known.window {
        window.push_all(put.events());
    }
    let pause = match slot.common().is_exclusive {
        true => None,
        false => permit.known.courtesy().pause_after(formed),
    };
    // The next put may go while this one's callers are answered.
    match pause {
        None => drop(permit),
        Some(pause) => {
            slot.common().spawn(async move {
                tokio::time::sleep(pause).await;
                drop(permit);
            });
        }
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
            Item::Refused { mail, because } => refuse(mail, because, slot.latest()),
        }
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

impl Item {
    fn into_mail(self) -> Mail {
        match self {
            Item::Accepted { mail, .. }
            | Item::Repetition { mail, .. }
            | Item::Refused { mail, .. } => mail,
        }
    }
}
