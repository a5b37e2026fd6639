//! The handle of a running consumer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::oneshot;

use super::checkpoint::{ConsumerRecords, Parked};
use super::error::{ConsumerError, WaitError};
use super::log::last_position;
use super::progress::{Progress, Retried};
use crate::event::Position;

/// A running consumer, as seen by those who stop it, wait for it or ask for its position. Cheap to
/// clone. The consumer runs on without it.
#[derive(Clone)]
pub struct ConsumerHandle {
    pub(super) progress: Arc<Progress>,
}

impl ConsumerHandle {
    /// The consumer's name.
    pub fn name(&self) -> &str {
        &self.progress.name
    }

    /// Tells the consumer to finish its current event (or batch), save its checkpoint and end. The
    /// [`Run`](super::Run) completes when it has.
    pub fn stop(&self) {
        self.progress.stop();
    }

    /// The position up to which every event was handled, parked, or not wanted.
    pub fn position(&self) -> Position {
        self.progress.position()
    }

    /// The number of events after that position, wanted or not.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`].
    pub fn lag(&self) -> Result<u64, ConsumerError> {
        let last = last_position(&self.progress.mailroom)?;
        Ok(last.get().saturating_sub(self.position().get()))
    }

    /// Waits until the consumer has handled everything up to this position, so that a request can
    /// read what it has just written. [`Appended::position`](crate::Appended::position) is the
    /// first position of an append.
    ///
    /// # Errors
    ///
    /// [`WaitError`].
    pub async fn wait_for(
        &self,
        position: impl Into<Position>,
        deadline: Duration,
    ) -> Result<(), WaitError> {
        let wanted = position.into();
        let progress = &self.progress;
        let is_over = || progress.position() >= wanted || progress.has_ended();
        if !is_over() {
            let mut moved = progress.moved.listen();
            let waiting = Box::pin(async move {
                loop {
                    moved.begin();
                    // This handle keeps the bell alive.
                    if is_over() || !moved.rung().await {
                        return;
                    }
                }
            });
            let sleep = Box::pin(progress.mailroom.sleep(deadline));
            let _: Either<_, _> = select(waiting, sleep).await;
        }
        let ended = progress.has_ended();
        let reached = progress.position();
        let name = self.name().to_owned();
        match (reached >= wanted, ended) {
            (true, _) => Ok(()),
            (false, true) => Err(WaitError::Ended { name, reached, wanted }),
            (false, false) => Err(WaitError::Timeout { name, reached, wanted, deadline }),
        }
    }

    /// The parked aggregates, in key order.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`].
    pub async fn parked(&self) -> Result<Vec<Parked>, ConsumerError> {
        let progress = &self.progress;
        let records = ConsumerRecords::new(progress.mailroom.clone(), progress.name.clone());
        Ok(records.parked().await?.into_values().collect())
    }

    /// Has the consumer handle the parked events again, in order within each aggregate. An
    /// aggregate whose events all succeed is no longer parked. One with an event that fails stays
    /// parked from that event on.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Ended`] when the consumer does not run.
    pub async fn retry_parked(&self) -> Result<Retried, ConsumerError> {
        let ended = || ConsumerError::Ended { name: self.name().to_owned() };
        let (answer, answered) = oneshot::channel();
        self.progress.retry.send(answer).map_err(|_| ended())?;
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}

impl std::fmt::Debug for ConsumerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerHandle")
            .field("name", &self.name())
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}
