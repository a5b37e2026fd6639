//! What others hold of a running consumer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::{Notify, mpsc, oneshot};

use super::checkpoint::{Checkpoints, Parked};
use super::error::{ConsumerError, WaitError};
use super::log::last_position;
use crate::driver::LogBell;
use crate::event::Position;
use crate::mailroom::Mailroom;

/// The one right to run under a name.
pub(super) struct Claim {
    mailroom: Arc<Mailroom>,
    name: Arc<str>,
}

impl Claim {
    pub(super) fn of(mailroom: &Arc<Mailroom>, name: &Arc<str>) -> Result<Self, ConsumerError> {
        match mailroom.consumers.insert(name.clone(), ()) {
            None => Ok(Claim { mailroom: mailroom.clone(), name: name.clone() }),
            Some(()) => Err(ConsumerError::Owned { name: name.to_string() }),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.mailroom.consumers.remove(&self.name);
    }
}

/// What came of retrying what was parked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retried {
    /// Events that were handled.
    pub events: u64,
    /// Aggregates that are parked still.
    pub still_parked: usize,
}

pub(super) type Answer = oneshot::Sender<Result<Retried, ConsumerError>>;

/// What a running consumer shares with its handles.
pub(super) struct Shared {
    name: Arc<str>,
    mailroom: Arc<Mailroom>,
    position: AtomicU64,
    ended: AtomicBool,
    stopped: AtomicBool,
    /// Rung when the position moved, and at the end.
    moved: LogBell,
    pub(super) stop: Notify,
    retry: mpsc::UnboundedSender<Answer>,
}

impl Shared {
    pub(super) fn new(
        mailroom: Arc<Mailroom>,
        name: Arc<str>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Answer>) {
        let (retry, retries) = mpsc::unbounded_channel();
        let shared = Shared {
            name,
            mailroom,
            position: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            moved: LogBell::default(),
            stop: Notify::new(),
            retry,
        };
        (Arc::new(shared), retries)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn reached(&self, position: Position) {
        // Parked events that are retried stand further back.
        self.position.fetch_max(position.get(), Ordering::AcqRel);
        self.moved.ring();
    }

    pub(super) fn ended(&self) {
        self.ended.store(true, Ordering::Release);
        self.moved.ring();
    }

    fn position(&self) -> Position {
        Position::new(self.position.load(Ordering::Acquire))
    }
}

/// A running consumer, for those who stop it, wait for it or ask how far it is. Cheap to clone; the consumer does
/// not need it to go on.
#[derive(Clone)]
pub struct ConsumerHandle {
    pub(super) shared: Arc<Shared>,
}

impl ConsumerHandle {
    /// The consumer's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Lets it finish the event (or the batch) it is at, save its checkpoint and end. The [`Run`](super::Run) says
    /// when it has.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.stop.notify_one();
    }

    /// The position up to which every event was handled, parked, or not wanted.
    pub fn position(&self) -> Position {
        self.shared.position()
    }

    /// How many events stand behind that, wanted or not.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`].
    pub fn lag(&self) -> Result<u64, ConsumerError> {
        let last = last_position(&self.shared.mailroom)?;
        Ok(last.get().saturating_sub(self.position().get()))
    }

    /// Waits until the consumer has handled everything up to this position: what a request does that must read
    /// what it has just written. [`Appended::position`](crate::Appended::position) says the first position of
    /// an append.
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
        let shared = &self.shared;
        let is_over = || shared.position() >= wanted || shared.ended.load(Ordering::Acquire);
        if !is_over() {
            let mut moved = shared.moved.listen();
            let waiting = Box::pin(async move {
                loop {
                    moved.begin();
                    // The bell lives in what this handle holds.
                    if is_over() || !moved.rung().await {
                        return;
                    }
                }
            });
            let sleep = Box::pin(shared.mailroom.sleep(deadline));
            let _: Either<_, _> = select(waiting, sleep).await;
        }
        let ended = shared.ended.load(Ordering::Acquire);
        let reached = shared.position();
        let name = self.name().to_owned();
        match (reached >= wanted, ended) {
            (true, _) => Ok(()),
            (false, true) => Err(WaitError::Ended { name, reached, wanted }),
            (false, false) => Err(WaitError::Timeout { name, reached, wanted, deadline }),
        }
    }

    /// The aggregates that are parked, in key order.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`].
    pub async fn parked(&self) -> Result<Vec<Parked>, ConsumerError> {
        let shared = &self.shared;
        let checkpoints = Checkpoints::new(shared.mailroom.clone(), shared.name.clone());
        Ok(checkpoints.parked().await?.into_values().collect())
    }

    /// Has the consumer handle the parked events again, each aggregate's in order. An aggregate whose events all
    /// succeed is not parked any more; one with an event that fails stays parked from there on.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Ended`] when it does not run.
    pub async fn retry_parked(&self) -> Result<Retried, ConsumerError> {
        let ended = || ConsumerError::Ended { name: self.name().to_owned() };
        let (answer, answered) = oneshot::channel();
        self.shared.retry.send(answer).map_err(|_| ended())?;
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
