//! What a consumer hands its events to.

use std::fmt::Display;
use std::time::Instant;

use super::progress::Progress;
use super::projection::Projection;
use super::publisher::Publisher;
use crate::driver::async_trait;
use crate::event::{KeyedEvent, Position};

/// Events that are delivered together, at least one.
pub(super) struct Chunk<'a> {
    pub(super) events: &'a [KeyedEvent],
    /// When the events are handled, everything up to here is.
    pub(super) through: Position,
    /// Events up to here may have been delivered in an earlier run.
    pub(super) earlier_to: Position,
    /// The events may have been delivered in this run.
    pub(super) retried: bool,
    pub(super) pace: Pace<'a>,
}

/// The outcome of a chunk.
#[derive(Default)]
pub(super) struct Delivered {
    /// How many of its events are handled, from the first on.
    pub(super) events: usize,
    /// Why the next one failed, if it was tried.
    pub(super) failed: Option<String>,
}

impl Delivered {
    fn all_or_none<E: Display>(result: Result<(), E>, events: usize) -> Self {
        match result {
            Ok(()) => Delivered { events, failed: None },
            Err(error) => Delivered { events: 0, failed: Some(error.to_string()) },
        }
    }
}

/// Between two events of a chunk: reports the position, and decides whether to continue.
#[derive(Clone, Copy)]
pub(super) struct Pace<'a> {
    pub(super) progress: &'a Progress,
    /// When the next checkpoint is due.
    pub(super) due: Instant,
}

impl Pace<'_> {
    pub(super) fn handled(&self, event: &KeyedEvent) -> bool {
        self.progress.reached(event.position.unwrap_or_default());
        !self.progress.is_stopped() && Instant::now() < self.due
    }
}

/// Takes a consumer's events.
#[async_trait]
pub(super) trait Handler: Send {
    /// Whether it takes one event at a time, and so knows which one failed.
    fn one_by_one(&self) -> bool {
        false
    }

    /// The position that it stores itself, if it does.
    async fn own_position(&mut self) -> Result<Option<Position>, String> {
        Ok(None)
    }

    /// Empties its state.
    async fn reset(&mut self) -> Result<(), String> {
        Ok(())
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
    F: Future<Output = Result<(), E>> + Send,
    E: Display,
{
    fn one_by_one(&self) -> bool {
        true
    }

    async fn deliver(&mut self, chunk: Chunk<'_>) -> Delivered {
        let mut delivered = Delivered::default();
        for event in chunk.events {
            // The error becomes text at once: it need not be `Send`.
            let handled = (self.0)(event.clone()).await.map_err(|error| error.to_string());
            if let Err(reason) = handled {
                delivered.failed = Some(reason);
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

#[async_trait]
impl<P: Projection> Handler for ProjectionHandler<P> {
    async fn own_position(&mut self) -> Result<Option<Position>, String> {
        self.0.position().await.map(Some).map_err(|error| error.to_string())
    }

    async fn reset(&mut self) -> Result<(), String> {
        self.0.reset().await.map_err(|error| error.to_string())
    }

    async fn deliver(&mut self, chunk: Chunk<'_>) -> Delivered {
        let applied = self.0.apply(chunk.events, chunk.through).await;
        Delivered::all_or_none(applied, chunk.events.len())
    }
}

/// Hands batches to a publisher.
pub(super) struct PublisherHandler<P>(pub(super) P);

#[async_trait]
impl<P: Publisher> Handler for PublisherHandler<P> {
    async fn deliver(&mut self, chunk: Chunk<'_>) -> Delivered {
        let published = self.0.publish(chunk.events).await;
        Delivered::all_or_none(published, chunk.events.len())
    }
}
