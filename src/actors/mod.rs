//! The store as an actor, for actix applications.
//!
//! [`StoreActor`] runs in the application's own system and takes [`Append`], [`Execute`],
//! [`LoadState`], [`ReadPage`] and [`LatestSequence`] as messages. A message takes the same path
//! and the same permits as [`EventStore::append`]: it waits for its permit, and has the same answer
//! as the method.
//!
//! The actor works on a bounded number of messages at once ([`StoreActor::max_in_flight`]) and
//! leaves further ones in its mailbox. `try_send` fails when that is full. `do_send` goes past the
//! bound of a mailbox by actix's design: do not use it for what can come in any number.
//!
//! ```
//! use actix::prelude::*;
//! use seriatim::actors::StoreActor;
//! use seriatim::{Append, EventStore, NewEvent};
//!
//! # #[actix::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = EventStore::open("memory:").await?;
//! let address = StoreActor::new(store).start();
//! let journal: Recipient<Append> = address.clone().recipient();
//!
//! let switched_on = Append::to("light/1").event(NewEvent::raw("SwitchedOn", "{}"));
//! assert_eq!(journal.send(switched_on).await??.last, 1);
//! # Ok(()) }
//! ```
//!
//! In the other direction, [`push`] sends the events of a [`Subscription`] to an actor.

mod in_flight;

use std::fmt;
use std::marker::PhantomData;

use actix::{
    Actor, AsyncContext, Context, Handler, MailboxError, Message, Recipient, ResponseFuture,
    WrapFuture,
};

use in_flight::InFlight;

use crate::append::{Append, Appended, ExecuteOptions};
use crate::entity::{Aggregate, ExecuteError, Executed, Loaded};
use crate::error::{AppendError, LoadError, ReadError};
use crate::event::{KeyedEvent, Position, Sequence};
use crate::store::EventStore;
use crate::subscription::Subscription;

/// A store behind an address. It holds a handle, so the store stays open as long as the actor runs.
#[derive(Debug)]
pub struct StoreActor {
    store: EventStore,
    in_flight: InFlight,
}

impl StoreActor {
    /// The default of [`StoreActor::max_in_flight`].
    pub const DEFAULT_MAX_IN_FLIGHT: usize = 1_024;

    /// An actor for this store. Start it with [`Actor::start`].
    pub fn new(store: EventStore) -> Self {
        let in_flight = InFlight::new(Self::DEFAULT_MAX_IN_FLIGHT, store.max_bytes_in_flight());
        StoreActor { store, in_flight }
    }

    /// The most messages that it works on at once; 0 means 1. Their appends and commands also hold
    /// about as many bytes at most as the store has in flight
    /// ([`Builder::bytes_in_flight`](crate::Builder::bytes_in_flight)). Further messages wait in
    /// the mailbox. The default is [`StoreActor::DEFAULT_MAX_IN_FLIGHT`].
    #[must_use]
    pub fn max_in_flight(mut self, messages: usize) -> Self {
        self.in_flight = InFlight::new(messages.max(1), self.store.max_bytes_in_flight());
        self
    }

    /// Works on a message of so many bytes.
    fn work<T: 'static>(
        &self,
        bytes: usize,
        ctx: &mut Context<Self>,
        message: impl Future<Output = T> + 'static,
    ) -> ResponseFuture<T> {
        let one = self.in_flight.add(bytes);
        if self.in_flight.is_full() {
            // Until there is room, the mailbox is not read.
            ctx.wait(self.in_flight.clone().room().into_actor(self));
        }
        Box::pin(async move {
            let answer = message.await;
            drop(one);
            answer
        })
    }
}

impl Actor for StoreActor {
    type Context = Context<Self>;
}

impl Message for Append {
    type Result = Result<Appended, AppendError>;
}

impl Handler<Append> for StoreActor {
    type Result = ResponseFuture<Result<Appended, AppendError>>;

    fn handle(&mut self, append: Append, ctx: &mut Self::Context) -> Self::Result {
        let store = self.store.clone();
        let bytes = append.payload_bytes();
        self.work(bytes, ctx, async move { store.append(append).await })
    }
}

/// A command to an entity, with the options of
/// [`Entities::execute_with`](crate::Entities::execute_with).
///
/// ```
/// use actix::prelude::*;
/// use seriatim::actors::{Execute, LoadState, StoreActor};
/// use seriatim::{Aggregate, Context, EventStore};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Default, Serialize, Deserialize)]
/// struct Light { is_on: bool }
///
/// #[derive(Debug, Serialize, Deserialize)]
/// enum Switched { On, Off }
///
/// impl Aggregate for Light {
///     const KIND: &'static str = "light";
///     type Command = bool;
///     type Event = Switched;
///     type Error = String;
///     type Services = ();
///
///     fn handle(&self, on: &bool, _: &Context<'_>) -> Result<Vec<Switched>, String> {
///         match (self.is_on, *on) {
///             (false, true) => Ok(vec![Switched::On]),
///             (true, false) => Ok(vec![Switched::Off]),
///             _ => Err("nothing to switch".to_owned()),
///         }
///     }
///
///     fn apply(&mut self, event: &Switched) {
///         self.is_on = matches!(event, Switched::On);
///     }
/// }
///
/// # #[actix::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = StoreActor::new(EventStore::open("memory:").await?).start();
/// let executed = store.send(Execute::<Light>::new("hall", true)).await??;
/// assert_eq!(executed.sequence, 1);
/// assert!(store.send(Execute::<Light>::new("hall", true)).await?.is_err());
/// assert!(store.send(LoadState::<Light>::of("hall")).await??.state.is_on);
/// # Ok(()) }
/// ```
pub struct Execute<A: Aggregate> {
    /// The entity's id.
    pub id: String,
    /// The command.
    pub command: A::Command,
    /// Its commit id, its metadata, what it expects, how it is retried.
    pub options: ExecuteOptions,
}

impl<A: Aggregate> Execute<A> {
    /// The command to the entity with this id.
    pub fn new(id: impl Into<String>, command: A::Command) -> Self {
        Execute { id: id.into(), command, options: ExecuteOptions::new() }
    }

    /// Sets the options.
    pub fn options(mut self, options: ExecuteOptions) -> Self {
        self.options = options;
        self
    }
}

impl<A: Aggregate> fmt::Debug for Execute<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execute")
            .field("kind", &A::KIND)
            .field("id", &self.id)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<A: Aggregate> Message for Execute<A> {
    type Result = Result<Executed<A>, ExecuteError<A::Error>>;
}

impl<A: Aggregate> Handler<Execute<A>> for StoreActor {
    type Result = ResponseFuture<Result<Executed<A>, ExecuteError<A::Error>>>;

    fn handle(&mut self, execute: Execute<A>, ctx: &mut Self::Context) -> Self::Result {
        let entities = self.store.entities::<A>();
        let Execute { id, command, options } = execute;
        let bytes = A::command_bytes(&command);
        self.work(bytes, ctx, async move { entities.execute_with(id, command, options).await })
    }
}

/// Asks for the state of an entity, as [`Entities::state`](crate::Entities::state) does.
pub struct LoadState<A> {
    /// The entity's id.
    pub id: String,
    entity: PhantomData<fn() -> A>,
}

impl<A> LoadState<A> {
    /// Asks for the entity with this id.
    pub fn of(id: impl Into<String>) -> Self {
        LoadState { id: id.into(), entity: PhantomData }
    }
}

impl<A> fmt::Debug for LoadState<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadState").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<A: Aggregate> Message for LoadState<A> {
    type Result = Result<Loaded<A>, LoadError>;
}

impl<A: Aggregate> Handler<LoadState<A>> for StoreActor {
    type Result = ResponseFuture<Result<Loaded<A>, LoadError>>;

    fn handle(&mut self, ask: LoadState<A>, ctx: &mut Self::Context) -> Self::Result {
        let entities = self.store.entities::<A>();
        self.work(0, ctx, async move { entities.state(ask.id).await })
    }
}

/// A page of an aggregate's events, in sequence order. The next page begins behind its last event.
#[derive(Clone, Debug)]
pub struct ReadPage {
    /// The aggregate's key.
    pub key: String,
    /// The first sequence; `None` begins at the first event, or at the last when read backwards.
    pub from: Option<Sequence>,
    /// Reads from later events to earlier ones.
    pub backwards: bool,
    /// The most events of the page.
    pub limit: usize,
}

impl ReadPage {
    /// The default of [`ReadPage::limit`].
    pub const DEFAULT_LIMIT: usize = 1_000;

    /// The first page of this aggregate, forwards.
    pub fn of(key: impl Into<String>) -> Self {
        ReadPage { key: key.into(), from: None, backwards: false, limit: Self::DEFAULT_LIMIT }
    }

    /// Begins with this sequence.
    pub fn from(mut self, sequence: impl Into<Sequence>) -> Self {
        self.from = Some(sequence.into());
        self
    }

    /// Reads from later events to earlier ones.
    pub fn backwards(mut self) -> Self {
        self.backwards = true;
        self
    }

    /// The most events of the page.
    pub fn limit(mut self, events: usize) -> Self {
        self.limit = events;
        self
    }
}

impl Message for ReadPage {
    type Result = Result<Vec<KeyedEvent>, ReadError>;
}

impl Handler<ReadPage> for StoreActor {
    type Result = ResponseFuture<Result<Vec<KeyedEvent>, ReadError>>;

    fn handle(&mut self, page: ReadPage, ctx: &mut Self::Context) -> Self::Result {
        let mut read = self.store.read(page.key).limit(page.limit);
        if let Some(from) = page.from {
            read = read.from(from);
        }
        if page.backwards {
            read = read.backwards();
        }
        self.work(0, ctx, read.collect())
    }
}

/// Asks for an aggregate's latest sequence; [`Sequence::NONE`] where it has no event.
#[derive(Clone, Debug)]
pub struct LatestSequence {
    /// The aggregate's key.
    pub key: String,
}

impl LatestSequence {
    /// Asks for this aggregate.
    pub fn of(key: impl Into<String>) -> Self {
        LatestSequence { key: key.into() }
    }
}

impl Message for LatestSequence {
    type Result = Result<Sequence, ReadError>;
}

impl Handler<LatestSequence> for StoreActor {
    type Result = ResponseFuture<Result<Sequence, ReadError>>;

    fn handle(&mut self, ask: LatestSequence, ctx: &mut Self::Context) -> Self::Result {
        let store = self.store.clone();
        self.work(0, ctx, async move { store.latest_sequence(ask.key).await })
    }
}

/// An event of a subscription, as [`push`] sends it to an actor.
#[derive(Clone, Debug)]
pub struct Observed(pub KeyedEvent);

impl Message for Observed {
    type Result = ();
}

/// Why [`push`] ended before the store closed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The actor has stopped. It did not answer the event at this position. Subscribe from there to
    /// continue.
    #[error("the actor has stopped without an answer to the event at position {position}")]
    Gone {
        /// The position of the event.
        position: Position,
    },
}

/// Sends the events of a subscription to an actor, one at a time: the next event follows the answer
/// to the previous one, so the actor's mailbox never fills. Ends when the store closes, or when the
/// future is dropped.
///
/// ```
/// use actix::prelude::*;
/// use seriatim::actors::{Observed, push};
/// use seriatim::{Append, EventStore, NewEvent};
///
/// struct Printer;
/// impl Actor for Printer {
///     type Context = Context<Self>;
/// }
/// impl Handler<Observed> for Printer {
///     type Result = ();
///     fn handle(&mut self, Observed(event): Observed, context: &mut Self::Context) {
///         println!("{} {}", event.key, event.event_type());
///         context.stop();
///     }
/// }
///
/// # #[actix::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = EventStore::open("memory:").await?;
/// let pushing = actix::spawn(push(store.subscribe(), Printer.start().recipient()));
/// store.append(Append::to("light/1").event(NewEvent::raw("SwitchedOn", "{}"))).await?;
/// store.append(Append::to("light/1").event(NewEvent::raw("SwitchedOff", "{}"))).await?;
/// assert!(pushing.await?.is_err(), "the printer has stopped");
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`PushError`].
pub async fn push(
    mut subscription: Subscription,
    recipient: Recipient<Observed>,
) -> Result<(), PushError> {
    while let Some(event) = subscription.next().await {
        let event = event?;
        let position = event.position.unwrap_or_default();
        if let Err(MailboxError::Closed | MailboxError::Timeout) =
            recipient.send(Observed(event)).await
        {
            return Err(PushError::Gone { position });
        }
    }
    Ok(())
}
