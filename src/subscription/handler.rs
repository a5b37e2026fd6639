//! What a consumer hands its events to.

use std::any::Any;
use std::fmt::Display;
use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Instant;

use futures_util::FutureExt;

use super::options::{ErrorAction, ErrorHook, FailedEvent};
use super::progress::ConsumerProgress;
use super::projection::Projection;
use super::publisher::Publisher;
use crate::driver::async_trait;
use crate::event::{AggregateKey, KeyedEvent, Position, Sequence};
use crate::user_code;

/// Events that are delivered together, at least one.
pub(super) struct Chunk<'a> {
    pub(super) events: &'a [KeyedEvent],
    /// When the events are handled, everything up to here is.
    pub(super) through: Position,
    /// Events up to here may have been delivered in an earlier run.
    pub(super) earlier_to: Position,
    /// The events may have been delivered in this run.
    pub(super) retried: bool,
    /// The event is parked, and retried alone.
    pub(super) parked: bool,
    pub(super) pace: Pace<'a>,
    pub(super) judge: Judge<'a>,
}

/// The outcome of a chunk.
#[derive(Default)]
pub(super) struct Delivered {
    /// How many of its events are handled, from the first on.
    pub(super) events: usize,
    /// Why the next one failed, if it was tried.
    pub(super) failed: Option<FailedAttempt>,
    /// The last handled event has an outcome that only the checkpoint records.
    pub(super) must_save: bool,
}

impl Delivered {
    fn all_or_none<E: Display + 'static>(
        result: Result<Result<(), E>, String>,
        chunk: &Chunk<'_>,
    ) -> Self {
        let failed = chunk.events.first().and_then(|first| chunk.judge.check(first, 0, result));
        let events = if failed.is_none() { chunk.events.len() } else { 0 };
        Delivered { events, failed, must_save: false }
    }
}

/// An attempt that failed, and what the error hook says about it.
pub(super) struct FailedAttempt {
    pub(super) reason: String,
    pub(super) action: ErrorAction,
}

/// Asks the error hook about failed attempts.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) hook: Option<&'a ErrorHook>,
    /// The number of this attempt at the first event of the chunk.
    pub(super) attempt: u32,
}

impl Judge<'_> {
    /// The failed attempt, if `result` is one. `handled` events of the chunk precede this one.
    pub(super) fn check<E: Display + 'static>(
        &self,
        event: &KeyedEvent,
        handled: usize,
        result: Result<Result<(), E>, String>,
    ) -> Option<FailedAttempt> {
        let attempt = if handled == 0 { self.attempt } else { 1 };
        let at = (&event.key, event.sequence, event.position.unwrap_or_default());
        match result {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(self.failed(at, attempt, error.to_string(), Some(&error))),
            Err(panic) => Some(self.failed(at, attempt, panic, None)),
        }
    }

    pub(super) fn failed(
        &self,
        (key, sequence, position): (&AggregateKey, Sequence, Position),
        attempt: u32,
        reason: String,
        error: Option<&dyn Any>,
    ) -> FailedAttempt {
        let failure = FailedEvent { key, sequence, position, attempt, reason: &reason, error };
        let action = self.hook.map(|hook| {
            // A hook that panics decides nothing.
            user_code::call(|| hook(&failure)).unwrap_or_default()
        });
        FailedAttempt { action: action.unwrap_or_default(), reason }
    }
}

/// Awaits what `call` makes. A panic of either is an error that tells its message.
pub(super) async fn guarded<F: Future>(call: impl FnOnce() -> F) -> Result<F::Output, String> {
    let guarded = AssertUnwindSafe(async { call().await }).catch_unwind();
    guarded.await.map_err(|panic| panic_text(&*panic))
}

/// Between two events of a chunk: reports the position, and decides whether to continue.
#[derive(Clone, Copy)]
pub(super) struct Pace<'a> {
    pub(super) progress: &'a ConsumerProgress,
    /// When the next checkpoint is due.
    pub(super) due: Instant,
}

impl Pace<'_> {
    pub(super) fn handled(&self, event: &KeyedEvent) -> bool {
        self.progress.reached(event.position.unwrap_or_default());
        !self.progress.is_stopped() && !self.progress.is_paused() && Instant::now() < self.due
    }
}

/// An event that is being handled. Its output is why that failed, if it did.
pub(super) type Handling = Pin<Box<dyn Future<Output = Option<FailedAttempt>> + Send>>;

/// Calls a handler, and judges the outcome of the future that it makes.
pub(super) fn handling<F, E>(
    event: KeyedEvent,
    (attempt, hook): (u32, Option<ErrorHook>),
    call: impl FnOnce() -> F,
) -> Handling
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + 'static,
{
    let called = std::panic::catch_unwind(AssertUnwindSafe(call)).map_err(|it| panic_text(&*it));
    let judged = move |result: Result<Result<(), E>, String>| {
        Judge { hook: hook.as_ref(), attempt }.check(&event, 0, result)
    };
    match called {
        Ok(future) => {
            let guarded = AssertUnwindSafe(future).catch_unwind();
            // The error need not be `Send`: it is judged before anything else is awaited.
            Box::pin(guarded.map(move |done| judged(done.map_err(|it| panic_text(&*it)))))
        }
        Err(panic) => Box::pin(ready(judged(Err(panic)))),
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the handler panicked: {}", text.unwrap_or_default())
}

/// Takes a consumer's events.
#[async_trait]
pub(super) trait Handler: Send {
    /// Whether it takes one event at a time, and so knows which one failed.
    fn one_by_one(&self) -> bool {
        false
    }

    /// Whether it stores its position itself.
    fn is_projection(&self) -> bool {
        false
    }

    /// The position that it stores itself, if it does.
    async fn own_position(&mut self) -> Result<Option<Position>, String> {
        Ok(None)
    }

    /// The last parked event of this aggregate that it stores as handled.
    async fn parked_progress(&mut self, _key: &AggregateKey) -> Result<Option<Sequence>, String> {
        Ok(None)
    }

    /// Empties its state.
    async fn reset(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Handles one event, while others are being handled; for handlers of single events.
    fn start(&mut self, _event: KeyedEvent, _attempt: u32, _hook: Option<ErrorHook>) -> Handling {
        let reason = "this handler takes one event after another".to_owned();
        Box::pin(ready(Some(FailedAttempt { reason, action: ErrorAction::Stop })))
    }

    /// Handles these events or a prefix of them.
    async fn deliver(&mut self, chunk: Chunk<'_>) -> Delivered;
}

/// Hands single events to a closure.
pub(super) struct EventHandler<H>(pub(super) H);

#[async_trait]
impl<H, F, E> Handler for EventHandler<H>
where
    H: FnMut(KeyedEvent) -> F + Send,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + 'static,
{
    fn one_by_one(&self) -> bool {
        true
    }

    fn start(&mut self, event: KeyedEvent, attempt: u32, hook: Option<ErrorHook>) -> Handling {
        handling(event.clone(), (attempt, hook), || (self.0)(event))
    }

    async fn deliver(&mut self, chunk: Chunk<'_>) -> Delivered {
        let mut delivered = Delivered::default();
        for event in chunk.events {
            // The error is judged before anything else is awaited: it need not be `Send`.
            let judged = |result| chunk.judge.check(event, delivered.events, result);
            delivered.failed = guarded(|| (self.0)(event.clone())).map(judged).await;
            if delivered.failed.is_some() {
                break;
            }
            delivered.events += 1;
            if !chunk.pace.handled(event) {
                break;
            }
        }
        delivered
    }
}

/// Hands batches to a projection.
pub(super) struct ProjectionHandler<P>(pub(super) P);

/// Text for an answer of a projection.
fn told<T, E: Display>(answer: Result<Result<T, E>, String>) -> Result<T, String> {
    answer?.map_err(|error| error.to_string())
}

#[async_trait]
impl<P: Projection> Handler for ProjectionHandler<P> {
    fn is_projection(&self) -> bool {
        true
    }

    async fn own_position(&mut self) -> Result<Option<Position>, String> {
        told(guarded(|| self.0.position()).await).map(Some)
    }

    async fn parked_progress(&mut self, key: &AggregateKey) -> Result<Option<Sequence>, String> {
        told(guarded(|| self.0.parked_progress(key)).await)
    }

    async fn reset(&mut self) -> Result<(), String> {
        told(guarded(|| self.0.reset()).await)
    }

    async fn deliver(&mut self, chunk: Chunk<'_>) -> Delivered {
        let applied = match chunk.events {
            [event] if chunk.parked => guarded(|| self.0.apply_parked(event, chunk.through)).await,
            events => guarded(|| self.0.apply(events, chunk.through)).await,
        };
        Delivered::all_or_none(applied, &chunk)
    }
}

/// Hands batches to a publisher.
pub(super) struct PublisherHandler<P>(pub(super) P);

#[async_trait]
impl<P: Publisher> Handler for PublisherHandler<P> {
    async fn deliver(&mut self, chunk: Chunk<'_>) -> Delivered {
        let published = guarded(|| self.0.publish(chunk.events)).await;
        Delivered::all_or_none(published, &chunk)
    }
}
