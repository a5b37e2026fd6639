//! To whom a consumer hands its events.

use std::fmt::Display;

use crate::driver::async_trait;
use crate::event::{KeyedEvent, Position};

use super::projection::Projection;
use super::publish::Publisher;

/// Takes a consumer's events.
#[async_trait]
pub(super) trait Deliver: Send {
    /// Whether it takes one event at a time.
    fn one_by_one(&self) -> bool;

    /// The position it has kept itself, if it keeps one.
    async fn own_position(&mut self) -> Result<Option<Position>, String> {
        Ok(None)
    }

    /// Forgets everything.
    async fn reset(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Takes these events, at least one; everything up to `through` is then handled. `again`: they may have
    /// been delivered before, in part or in whole, in this life of the process or an earlier one.
    async fn deliver(
        &mut self,
        events: &[KeyedEvent],
        through: Position,
        again: bool,
    ) -> Result<(), String>;
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

    async fn deliver(&mut self, events: &[KeyedEvent], _: Position, _: bool) -> Result<(), String> {
        for event in events {
            let handled = (self.0)(event.clone());
            handled.await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

pub(super) struct Projected<P>(pub(super) P);

#[async_trait]
impl<P: Projection> Deliver for Projected<P> {
    fn one_by_one(&self) -> bool {
        false
    }

    async fn own_position(&mut self) -> Result<Option<Position>, String> {
        self.0.position().await.map(Some).map_err(|error| error.to_string())
    }

    async fn reset(&mut self) -> Result<(), String> {
        self.0.reset().await.map_err(|error| error.to_string())
    }

    async fn deliver(
        &mut self,
        events: &[KeyedEvent],
        through: Position,
        _: bool,
    ) -> Result<(), String> {
        self.0.apply(events, through).await.map_err(|error| error.to_string())
    }
}

pub(super) struct Published<P>(pub(super) P);

#[async_trait]
impl<P: Publisher> Deliver for Published<P> {
    fn one_by_one(&self) -> bool {
        false
    }

    async fn deliver(&mut self, events: &[KeyedEvent], _: Position, _: bool) -> Result<(), String> {
        self.0.publish(events).await.map_err(|error| error.to_string())
    }
}
