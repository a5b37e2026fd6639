//! What a running consumer shares with its handles: its position, its end, and their requests.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{Notify, mpsc, oneshot};

use super::error::ConsumerError;
use crate::driver::LogBell;
use crate::event::{AggregateKey, Position};
use crate::mailroom::{Mailroom, RunningConsumer};

/// The exclusive right of a running consumer to its name.
pub(super) struct Claim {
    mailroom: Arc<Mailroom>,
    name: Arc<str>,
}

impl Claim {
    pub(super) fn of(progress: &Arc<ConsumerProgress>) -> Result<Self, ConsumerError> {
        let (mailroom, name) = (&progress.mailroom, &progress.name);
        match mailroom.consumers.claim(name, progress.clone()) {
            true => Ok(Claim { mailroom: mailroom.clone(), name: name.clone() }),
            false => Err(ConsumerError::Owned { name: name.to_string() }),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.mailroom.consumers.release(&self.name);
    }
}

thread_local! {
    /// The address of the progress whose handler this thread polls; 0 for none.
    static HANDLING: Cell<usize> = const { Cell::new(0) };
}

/// Sets [`HANDLING`], and sets it back however the poll ends.
struct HandlingMark(usize);

impl HandlingMark {
    fn set(address: usize) -> Self {
        HandlingMark(HANDLING.replace(address))
    }
}

impl Drop for HandlingMark {
    fn drop(&mut self) {
        HANDLING.set(self.0);
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

/// What a handle wants done about parked aggregates.
pub(super) enum ParkedAction {
    RetryAll,
    Retry(AggregateKey),
    Discard(AggregateKey),
}

/// A handle's request about parked aggregates.
pub(super) struct ParkedRequest {
    pub(super) action: ParkedAction,
    pub(super) answer: oneshot::Sender<Result<Retried, ConsumerError>>,
}

/// The state of a running consumer that its handles see.
pub(super) struct ConsumerProgress {
    pub(super) name: Arc<str>,
    pub(super) mailroom: Arc<Mailroom>,
    position: AtomicU64,
    ended: AtomicBool,
    stopped: AtomicBool,
    paused: AtomicBool,
    parked: AtomicU64,
    retries: AtomicU64,
    /// Rings when the position moves, and at the end.
    pub(super) moved: LogBell,
    /// Notified when the consumer stops, pauses or resumes.
    pub(super) stop: Notify,
    pub(super) requests: mpsc::UnboundedSender<ParkedRequest>,
}

impl ConsumerProgress {
    pub(super) fn new(
        mailroom: Arc<Mailroom>,
        name: Arc<str>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<ParkedRequest>) {
        let (requests, received) = mpsc::unbounded_channel();
        let progress = ConsumerProgress {
            name,
            mailroom,
            position: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            parked: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            moved: LogBell::default(),
            stop: Notify::new(),
            requests,
        };
        (Arc::new(progress), received)
    }

    /// Awaits a handler's future. Calls from within it can be told from others.
    pub(super) async fn handle<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            let _mark = HandlingMark::set(self.address());
            future.as_mut().poll(cx)
        })
        .await
    }

    /// Calls a handler, or polls its futures. Calls from within can be told from others.
    pub(super) fn handle_now<T>(&self, call: impl FnOnce() -> T) -> T {
        let _mark = HandlingMark::set(self.address());
        call()
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
        self.stop.notify_one();
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
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

    /// So many aggregates are parked.
    pub(super) fn set_parked(&self, aggregates: usize) {
        self.parked.store(aggregates as u64, Ordering::Relaxed);
    }

    /// A delivery is repeated, because it failed.
    pub(super) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.moved.ring();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

impl RunningConsumer for ConsumerProgress {
    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.stop.notify_one();
    }

    fn position(&self) -> Position {
        Position::new(self.position.load(Ordering::Acquire))
    }

    fn parked_and_retries(&self) -> (u64, u64) {
        (self.parked.load(Ordering::Relaxed), self.retries.load(Ordering::Relaxed))
    }

    fn is_handling_here(&self) -> bool {
        HANDLING.get() == self.address()
    }
}
