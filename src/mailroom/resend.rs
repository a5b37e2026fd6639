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

use super::shared::Shared;
use super::slot::{AggregateFacts, Slot};
use crate::driver::bounded::{NoAnswer, bounded};
use crate::driver::{DriverError, Fetch, Put, PutReceipt};
use crate::event::{KeyedEvent, Sequence};

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What became of a put.
pub(super) enum PutFate {
    Committed(PutReceipt),
    /// Not written as a whole; what is stored from its first sequence on.
    Conflicted(ReadBack),
    /// Surely not written.
    NotWritten(DriverError),
    Unknown(DriverError),
}

/// What was read back after a conflict.
pub(super) struct ReadBack {
    /// The stored events of each append of the put.
    pub(super) by_commit: HashMap<Uuid, Vec<KeyedEvent>>,
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
        let mut answer = failed.map(Err);
        loop {
            let answer = match answer.take() {
                Some(answer) => answer,
                None => self.put_once().await,
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

    /// Reads from the put's first sequence to the end, and keeps the events of the put's own
    /// appends.
    ///
    /// A conflict with nothing stored is an error, like a read that fails.
    async fn read_back(&self, facts: &mut AggregateFacts) -> Result<ReadBack, DriverError> {
        let first = self.put.events().first().map_or(Sequence::NONE, |event| event.sequence);
        let by_commit =
            self.put.events().iter().map(|event| (event.commit_id, Vec::new())).collect();
        let mut found = ReadBack { by_commit };
        let reading = async {
            let (mut latest, mut of_another) = (Sequence::NONE, false);
            let mut pages = self
                .shared
                .driver
                .fetch_events(self.slot.key(), Fetch::ALL.after(first.previous()));
            while let Some(page) = pages.next().await {
                let page = page?;
                // Without this the window would stay behind, and be read again as a whole.
                if let Some(window) = &mut facts.window {
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
        found.by_commit.retain(|_, events: &mut Vec<KeyedEvent>| !events.is_empty());
        Ok(found)
    }
}
