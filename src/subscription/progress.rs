//! What a running consumer shares with its handles: its position, its end, and their requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{Notify, mpsc, oneshot};

use super::error::ConsumerError;
use crate::driver::LogBell;
use crate::event::Position;
use crate::mailroom::Mailroom;

/// The exclusive right of a running consumer to its name.
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

/// The outcome of a retry of parked events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retried {
    /// Events that were handled.
    pub events: u64,
    /// Aggregates that are still parked.
    pub still_parked: usize,
}

/// A handle's request to retry what is parked.
pub(super) type RetryRequest = oneshot::Sender<Result<Retried, ConsumerError>>;

/// The state of a running consumer that its handles see.
pub(super) struct Progress {
    pub(super) name: Arc<str>,
    pub(super) mailroom: Arc<Mailroom>,
    position: AtomicU64,
    ended: AtomicBool,
    stopped: AtomicBool,
    /// Rings when the position moves, and at the end.
    pub(super) moved: LogBell,
    pub(super) stop: Notify,
    pub(super) retry: mpsc::UnboundedSender<RetryRequest>,
}

impl Progress {
    pub(super) fn new(
        mailroom: Arc<Mailroom>,
        name: Arc<str>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<RetryRequest>) {
        let (retry, retries) = mpsc::unbounded_channel();
        let progress = Progress {
            name,
            mailroom,
            position: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            moved: LogBell::default(),
            stop: Notify::new(),
            retry,
        };
        (Arc::new(progress), retries)
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.stop.notify_one();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Records that everything up to here is handled. The position never moves back: parked events
    /// that are retried have earlier positions.
    pub(super) fn reached(&self, position: Position) {
        self.position.fetch_max(position.get(), Ordering::AcqRel);
        self.moved.ring();
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.moved.ring();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn position(&self) -> Position {
        Position::new(self.position.load(Ordering::Acquire))
    }
}
