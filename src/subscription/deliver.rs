//! To whom a consumer hands its events.

use std::fmt::Display;
use std::time::Instant;

use super::handle::Shared;
use super::projection::Projection;
use super::publish::Publisher;
use crate::driver::async_trait;
use crate::event::{KeyedEvent, Position};

/// Events that are delivered together, at least one.
pub(super) struct Chunk<'a> {
    pub(super) events: &'a [KeyedEvent],
    /// Everything up to here is handled when the events are.
    pub(super) through: Position,
    /// Events up to here may have been delivered before, in part or in whole, in an earlier life of the process.
    pub(super) earlier_to: Position,
    /// They may have been in this one.
    pub(super) retried: bool,
    pub(super) pace: Pace<'a>,
}

/// What came of a chunk.
#[derive(Default)]
pub(super) struct Delivered {
    /// So many of its events are handled, from the first on.
    pub(super) events: usize,
    /// Why the one behind them is not, if it was tried.
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

/// Between two events of a chunk: tells others how far the consumer is, and says whether it may go on.
#[derive(Clone, Copy)]
pub(super) struct Pace<'a> {
    pub(super) shared: &'a Shared,
    /// From then on there is a checkpoint to save.
    pub(super) due: Instant,
}

impl Pace<'_> {
    pub(super) fn handled(&self, event: &KeyedEvent) -> bool {
        self.shared.reached(event.position.unwrap_or_default());
        !self.shared.is_stopped() && Instant::now() < self.due
    }
}

/// Takes a consumer's events.
#[async_trait]
pub(super) trait Deliver: Send {
    /// Whether it takes one event after another, and so knows which one failed.
    fn one_by_one(&self) -> bool {
        false
    }

    /// The position it has kept itself, if it keeps one.
    async fn own_position(&mut self) -> Result<Option<Position>, String> {
        Ok(None)
    }

    /// Forgets everything.
    async fn reset(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Takes these events, as many of them as it can.
    async fn deliver(&mut self, chunk: Chunk<'_>) -> Delivered;
}

/// A handler of single events.
pub(super) struct Each<H>(pub(super) H);

#[async_trait]
impl<H, F, E> Deliver for Each<H>
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
            // Told at once: nothing of the error is held while the next event is handled.
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

pub(super) struct Projected<P>(pub(super) P);

#[async_trait]
impl<P: Projection> Deliver for Projected<P> {
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

pub(super) struct Published<P>(pub(super) P);

#[async_trait]
impl<P: Publisher> Deliver for Published<P> {
    async fn deliver(&mut self, chunk: Chunk<'_>) -> Delivered {
        let published = self.0.publish(chunk.events).await;
        Delivered::all_or_none(published, chunk.events.len())
    }
}
