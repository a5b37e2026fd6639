//! Code around appends, commands and fetches: for logs, for metadata, for refusals.
//!
//! A [`Middleware`] is registered with the builder; the first one is the outermost. It gets the
//! request and `next`, the rest of the chain. It can change the request, look at the answer, or
//! refuse without a call of `next`. It runs in the caller's task. The reads of an aggregate's actor
//! (to resolve a conflict, to load an entity's state) pass no middleware.
//!
//! ```
//! use seriatim::middleware::{Middleware, NextAppend, async_trait};
//! use seriatim::{Append, AppendError, Appended, EventStore};
//!
//! struct WhoDidIt(&'static str);
//!
//! #[async_trait]
//! impl Middleware for WhoDidIt {
//!     async fn append(
//!         &self,
//!         append: Append,
//!         next: NextAppend<'_>,
//!     ) -> Result<Appended, AppendError> {
//!         next.run(append.metadata_field("user", self.0)).await
//!     }
//! }
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = EventStore::builder().url("memory:").middleware(WhoDidIt("ada")).open().await?;
//! # drop(store); Ok(()) }
//! ```

mod spans;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

pub use async_trait::async_trait;
pub use spans::Spans;

use crate::append::{Append, Appended, ExecuteOptions};
use crate::driver::{EventPage, Fetch};
use crate::error::{AppendError, ReadError};
use crate::event::AggregateKey;

type FutureAnswer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type LastStep<'a, Q, T> = Box<dyn FnOnce(Q) -> FutureAnswer<'a, T> + Send + 'a>;

/// Wraps the requests to a store and their answers. Each method calls `next` unless overridden.
///
/// ```
/// use seriatim::middleware::{Middleware, NextAppend, async_trait};
/// use seriatim::{Append, AppendError, Appended, EventStore, NewEvent};
///
/// /// Lets nobody write to old aggregates.
/// struct Archive;
///
/// #[async_trait]
/// impl Middleware for Archive {
///     async fn append(
///         &self,
///         append: Append,
///         next: NextAppend<'_>,
///     ) -> Result<Appended, AppendError> {
///         match append.key() {
///             Ok(key) if key.category() == "old" => {
///                 let (key, reason) = (key.clone(), "it is archived".to_owned());
///                 Err(AppendError::Refused { key, reason })
///             }
///             _ => next.run(append).await,
///         }
///     }
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = EventStore::builder().url("memory:").middleware(Archive).open().await?;
/// let append = |key| store.append(Append::to(key).event(NewEvent::raw("Changed", "{}")));
/// assert!(append("new/1").await.is_ok());
/// assert!(append("old/1").await.is_err());
/// # Ok(()) }
/// ```
#[async_trait]
pub trait Middleware: Send + Sync + 'static {
    /// Wraps an append. Refuse it with [`AppendError::Refused`].
    async fn append(&self, append: Append, next: NextAppend<'_>) -> Result<Appended, AppendError> {
        next.run(append).await
    }

    /// Wraps a command on an entity, from before it is sent until its answer. Refuse it with
    /// [`AppendError::Refused`].
    async fn execute(
        &self,
        execution: Execution,
        next: NextExecute<'_>,
    ) -> Result<Outcome, AppendError> {
        next.run(execution).await
    }

    /// Wraps the fetch of one page of an aggregate's events. Refuse it with [`ReadError::Refused`].
    async fn fetch(
        &self,
        request: FetchRequest,
        next: NextFetch<'_>,
    ) -> Result<EventPage, ReadError> {
        next.run(request).await
    }
}

/// A command before its execution: its entity and its options. A middleware does not see the
/// command itself.
///
/// ```
/// use seriatim::middleware::{Execution, Middleware, NextExecute, Outcome, async_trait};
/// use seriatim::AppendError;
///
/// /// Says who sent a command, and how it ended.
/// struct Audit(&'static str);
///
/// #[async_trait]
/// impl Middleware for Audit {
///     async fn execute(
///         &self,
///         mut execution: Execution,
///         next: NextExecute<'_>,
///     ) -> Result<Outcome, AppendError> {
///         execution.options = execution.options.metadata_field("user", self.0);
///         let key = execution.key.clone();
///         let outcome = next.run(execution).await?;
///         println!("{key}: {outcome:?}");
///         Ok(outcome)
///     }
/// }
///
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
/// let store = EventStore::builder().url("memory:").middleware(Audit("ada")).open().await?;
/// store.entities::<Tally>().execute("visitors", ()).await?;
/// let event = store.read("tally/visitors").collect().await?.remove(0);
/// assert_eq!(event.metadata.map(|json| json.to_string()), Some(r#"{"user":"ada"}"#.into()));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Execution {
    /// The entity's aggregate key.
    pub key: AggregateKey,
    /// Commit id and metadata. Changes here take effect.
    pub options: ExecuteOptions,
}

impl Execution {
    pub(crate) fn new(key: AggregateKey, options: ExecuteOptions) -> Self {
        Execution { key, options }
    }
}

/// How a command ended that no middleware refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Its events are durable.
    Appended(Appended),
    /// Nothing happened.
    Nothing,
    /// The entity rejected it.
    Rejected,
    /// The entity could not be loaded, or its code panicked.
    Failed,
}

/// The fetch of one page of an aggregate's events.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FetchRequest {
    /// The aggregate.
    pub key: AggregateKey,
    /// Which of its events.
    pub fetch: Fetch,
}

impl FetchRequest {
    pub(crate) fn new(key: AggregateKey, fetch: Fetch) -> Self {
        FetchRequest { key, fetch }
    }
}

/// The middleware of a store, outermost first.
pub(crate) type MiddlewareChain = Arc<[Arc<dyn Middleware>]>;

macro_rules! next {
    ($(#[$doc:meta])* $name:ident, $method:ident, $request:ty => $answer:ty) => {
        $(#[$doc])*
        #[must_use = "without a call of `run` the request must be refused"]
        pub struct $name<'a> {
            rest: &'a [Arc<dyn Middleware>],
            end: LastStep<'a, $request, $answer>,
        }

        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("middleware", &self.rest.len())
                    .finish_non_exhaustive()
            }
        }

        impl<'a> $name<'a> {
            pub(crate) fn new(
                chain: &'a [Arc<dyn Middleware>],
                end: LastStep<'a, $request, $answer>,
            ) -> Self {
                $name { rest: chain, end }
            }

            /// Calls the rest of the chain.
            ///
            /// # Errors
            ///
            /// The error of the store, or of a middleware further in.
            pub async fn run(self, request: $request) -> $answer {
                match self.rest.split_first() {
                    Some((first, rest)) => {
                        first.$method(request, $name { rest, end: self.end }).await
                    }
                    None => (self.end)(request).await,
                }
            }
        }
    };
}

next! {
    /// The rest of the chain behind a middleware, for an append.
    NextAppend, append, Append => Result<Appended, AppendError>
}
next! {
    /// The rest of the chain behind a middleware, for a command.
    NextExecute, execute, Execution => Result<Outcome, AppendError>
}
next! {
    /// The rest of the chain behind a middleware, for a fetch.
    NextFetch, fetch, FetchRequest => Result<EventPage, ReadError>
}
