//! Finding a put's fate: it is sent again, and what a conflict means is read back.
//!
//! What must stay true: the put never changes. An unknown put is never resolved by reading alone,
//! because an absent write can still land. Once a put is unknown, it stays so through later
//! failures, until a commit or a conflict tells more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;
use uuid::Uuid;

use super::repetition::StoredAppend;
use super::shared::Shared;
use super::slot::{AggregateFacts, Slot};
use crate::driver::bounded::{NoAnswer, bounded};
use crate::driver::{DriverError, Fetch, Put, PutReceipt};
use crate::event::Sequence;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// So many events are read beyond the put's place. A store that lost a race learns the latest
/// sequence from the same read, unless more were written.
const EVENTS_BEYOND: usize = 128;

/// What became of a put.
pub(super) enum PutFate {
    Committed(PutReceipt),
    /// Not written as a whole; what stands in its place.
    Conflicted(ReadBack),
    /// Surely not written.
    NotWritten(DriverError),
    Unknown(DriverError),
}

/// What was read back after a conflict.
pub(super) struct ReadBack {
    /// What is stored of each append of the put.
    pub(super) by_commit: HashMap<Uuid, StoredAppend>,
}

/// A put whose fate is sought. Its mail is not touched until the fate is known.
pub(super) struct Resend<'a> {
    pub(super) shared: &'a Shared,
    pub(super) slot: &'a Slot,
    pub(super) put: Arc<Put>,
    pub(super) deadline: Instant,
}

impl Resend<'_> {
    /// Sends until the fate is known; `failed` is the result of a first sending.
    pub(super) async fn fate(
        &self,
        facts: &mut AggregateFacts,
        failed: Option<DriverError>,
    ) -> PutFate {
        let mut unknown: Option<DriverError> = None;
        let mut pause = FIRST_PAUSE;
        let mut was_sent = failed.is_some();
        let mut answer = failed.map(Err);
        loop {
            let answer = match answer.take() {
                Some(answer) => answer,
                None => {
                    if std::mem::replace(&mut was_sent, true) {
                        self.shared.figures.resent();
                    }
                    self.put_once().await
                }
            };
            match answer {
                Ok(receipt) => return PutFate::Committed(receipt),
                Err(error) if error.is_conflict() => match self.read_back(facts).await {
                    Ok(found) => return PutFate::Conflicted(found),
                    Err(error) => unknown = Some(error),
                },
                Err(error) if error.may_have_been_written() => unknown = Some(error),
                Err(error) => match unknown {
                    // This sending wrote nothing; an earlier one may have, or still may.
                    Some(earlier) if !error.is_retryable() => return PutFate::Unknown(earlier),
                    Some(_) => {}
                    None => return PutFate::NotWritten(error),
                },
            }
            if Instant::now() + pause >= self.deadline {
                return PutFate::Unknown(
                    unknown.unwrap_or_else(|| DriverError::unknown("no answer until the deadline")),
                );
            }
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One sending. A driver that panics, or does not answer in time, may have written.
    async fn put_once(&self) -> Result<PutReceipt, DriverError> {
        let timeout = self.shared.config.put_attempt_timeout;
        let limit = timeout.min(self.deadline.saturating_duration_since(Instant::now()));
        let answered = bounded(limit, || self.shared.driver.put_events(self.put.clone())).await;
        answered.unwrap_or_else(|no_answer| {
            Err(match no_answer {
                NoAnswer::TimedOut(_) => NoAnswer::TimedOut(timeout).to_put(),
                NoAnswer::Panicked => no_answer.to_put(),
            })
        })
    }

    /// Reads what stands in the put's place, and keeps the events of the put's own appends.
    ///
    /// A bounded read: it ends some events after the last place of the put. An append that was
    /// written further on is found when it is decided again. A conflict with nothing stored is an
    /// error, like a read that fails.
    async fn read_back(&self, facts: &mut AggregateFacts) -> Result<ReadBack, DriverError> {
        let events = self.put.events();
        let first = events.first().map_or(Sequence::NONE, |event| event.sequence);
        let before = first.previous();
        let own = events.iter().map(|event| (event.commit_id, StoredAppend::default())).collect();
        let mut found = ReadBack { by_commit: own };
        let beyond = facts
            .window
            .as_ref()
            .map_or(0, |_| self.shared.config.commit_id_window)
            .max(EVENTS_BEYOND);
        let limit = events.len().saturating_add(beyond);
        let reading = async {
            let (mut latest, mut of_another) = (Sequence::NONE, false);
            let mut read = 0;
            let driver = &self.shared.driver;
            let fetch = Fetch::ALL.after(before).limit(limit);
            let mut pages = driver.fetch_events(self.slot.key(), fetch);
            while let Some(page) = pages.next().await {
                let page = page?;
                read += page.len();
                // Without this the window would stay behind, and be read again as a whole.
                if let Some(window) = &mut facts.window {
                    window.push_all(&page);
                }
                for event in page {
                    latest = event.sequence;
                    match found.by_commit.get_mut(&event.commit_id) {
                        Some(stored) => stored.events.push(event),
                        None => of_another = true,
                    }
                }
                // What was learned stays, even if the next page cannot be read.
                self.slot.raise_latest(latest);
            }
            if read >= limit {
                latest = latest.max(driver.latest_sequence(self.slot.key()).await?);
            }
            // An append that began before the put is not the put's own.
            let at_first = |stored: &&mut StoredAppend| {
                stored.events.first().is_some_and(|event| event.sequence == first)
            };
            if before > Sequence::NONE
                && let Some(stored) = found.by_commit.values_mut().find(at_first)
            {
                let fetch = Fetch::ALL.after(before.previous()).limit(1);
                stored.look_before(driver.fetch_events(self.slot.key(), fetch)).await?;
            }
            Ok::<_, DriverError>((latest, of_another))
        };
        let limit = self.deadline.saturating_duration_since(Instant::now());
        let (latest, of_another) = match bounded(limit, || reading).await {
            Ok(read) => read?,
            Err(NoAnswer::Panicked) => {
                return Err(DriverError::unknown("the driver panicked while reading"));
            }
            Err(NoAnswer::TimedOut(_)) => {
                return Err(DriverError::unknown("a conflict could not be read back in time"));
            }
        };
        if latest < first {
            return Err(DriverError::unknown("a conflict with events that cannot be read back"));
        }
        self.slot.raise_latest(latest);
        // While the latest sequence was not confirmed, the expectation itself may have been wrong.
        if std::mem::replace(&mut facts.is_latest_confirmed, true) && of_another {
            facts.fairness().met_another();
        }
        found.by_commit.retain(|_, stored: &mut StoredAppend| !stored.events.is_empty());
        Ok(found)
    }
}
