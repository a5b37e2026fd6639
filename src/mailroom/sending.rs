//! Seeking a put's fate: it is sent again and again, and what a conflict means is read back.
//!
//! What must stay true: the put never changes. An unknown put is never resolved by reading alone, for an absent
//! write can still land; and once unknown it stays so through later failures, until a commit or a conflict says
//! more.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;
use uuid::Uuid;

use super::Common;
use super::slot::{Known, Slot};
use crate::driver::{DriverError, Fetch, Put, PutReceipt};
use crate::event::{KeyedEvent, Sequence};

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What became of a put.
pub(super) enum Fate {
    Committed(PutReceipt),
    /// Not written as a whole; what stands from its first sequence on.
    Conflicted(Found),
    /// Surely not written.
    NotWritten(DriverError),
    Unknown(DriverError),
}

/// What was read back after a conflict.
pub(super) struct Found {
    /// The events of each append of the put that is there.
    pub(super) by_commit: HashMap<Uuid, Vec<KeyedEvent>>,
    /// Some earlier sending of the put had no answer, so what is found may be its own work.
    pub(super) sent_before: bool,
}

/// What seeking a put's fate takes; its mails are not touched until it is known.
pub(super) struct Sending<'a> {
    pub(super) common: &'a Common,
    pub(super) slot: &'a Slot,
    pub(super) put: Arc<Put>,
    pub(super) deadline: Instant,
}

impl Sending<'_> {
    /// Sends until it is known; `failed` is what came of a first sending.
    pub(super) async fn fate(&self, known: &mut Known, failed: Option<DriverError>) -> Fate {
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

pub(super) fn panicked() -> DriverError {
    DriverError::unknown("the driver panicked while putting")
}

pub(super) fn not_answered(timeout: Duration) -> DriverError {
    DriverError::unknown(format!("the driver did not answer a put within {timeout:?}"))
}
