//! The handle of one entity: [`Entities`] with the id said once.

use std::fmt;
use std::sync::Arc;

use super::Aggregate;
use super::entities::Entities;
use super::error::{ExecuteError, TransactError};
use super::executed::{Executed, Loaded};
use crate::append::ExecuteOptions;
use crate::error::LoadError;
use crate::event::{AggregateKey, KeyError, Sequence, Timestamp};

/// One entity: [`Entities`] with an id. Cheap to clone.
///
/// ```
/// # use seriatim::{Aggregate, Context, EventStore};
/// # #[derive(Default, serde::Serialize, serde::Deserialize)]
/// # struct Tally { n: u64 }
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum Event { Counted }
/// # impl Aggregate for Tally {
/// #     const KIND: &'static str = "tally";
/// #     type Command = ();
/// #     type Event = Event;
/// #     type Error = String;
/// #     type Services = ();
/// #     fn handle(&self, _: &(), _: &Context<'_>) -> Result<Vec<Event>, String> {
/// #         Ok(vec![Event::Counted])
/// #     }
/// #     fn apply(&mut self, _: &Event) { self.n += 1; }
/// # }
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let tally = store.entities::<Tally>().entity("visitors");
/// tally.execute(()).await?;
/// tally.execute(()).await?;
/// assert_eq!(tally.state().await?.state.n, 2);
/// assert_eq!(tally.at(1).await?.state.n, 1);
/// assert_eq!(tally.key()?.as_str(), "tally/visitors");
/// # Ok(()) }
/// ```
pub struct Entity<A: Aggregate> {
    entities: Entities<A>,
    id: String,
}

impl<A: Aggregate> Clone for Entity<A> {
    fn clone(&self) -> Self {
        Entity { entities: self.entities.clone(), id: self.id.clone() }
    }
}

impl<A: Aggregate> fmt::Debug for Entity<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entity").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<A: Aggregate> Entities<A> {
    /// The entity with this id, whether or not it has an event.
    pub fn entity(&self, id: impl Into<String>) -> Entity<A> {
        Entity { entities: self.clone(), id: id.into() }
    }
}

impl<A: Aggregate> Entity<A> {
    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// [`Entities::key`] of this one.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    pub fn key(&self) -> Result<AggregateKey, KeyError> {
        self.entities.key(&self.id)
    }

    /// [`Entities::execute`] on this one.
    ///
    /// # Errors
    ///
    /// [`ExecuteError`].
    pub async fn execute(
        &self,
        command: A::Command,
    ) -> Result<Executed<A>, ExecuteError<A::Error>> {
        self.entities.execute(&self.id, command).await
    }

    /// [`Entities::execute_with`] on this one.
    ///
    /// # Errors
    ///
    /// [`ExecuteError`].
    pub async fn execute_with(
        &self,
        command: A::Command,
        options: ExecuteOptions,
    ) -> Result<Executed<A>, ExecuteError<A::Error>> {
        self.entities.execute_with(&self.id, command, options).await
    }

    /// [`Entities::state`] of this one.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub async fn state(&self) -> Result<Loaded<A>, LoadError> {
        self.entities.state(&self.id).await
    }

    /// [`Entities::at`] of this one.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub async fn at(&self, sequence: impl Into<Sequence>) -> Result<Loaded<A>, LoadError> {
        self.entities.at(&self.id, sequence).await
    }

    /// [`Entities::at_time`] of this one.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub async fn at_time(&self, time: impl Into<Timestamp>) -> Result<Loaded<A>, LoadError> {
        self.entities.at_time(&self.id, time).await
    }

    /// [`Entities::transact`] on this one.
    ///
    /// # Errors
    ///
    /// [`TransactError`].
    pub async fn transact<F, D, E>(&self, decide: F) -> Result<Executed<A>, TransactError<E>>
    where
        F: FnMut(Arc<A>) -> D,
        D: Future<Output = Result<Vec<A::Event>, E>>,
    {
        self.entities.transact(&self.id, decide).await
    }
}
