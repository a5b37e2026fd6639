//! What wraps appends, commands and fetches: logging, adding metadata, refusing.
//!
//! A [`Middleware`] is registered with the builder and called in order of registration, the first one
//! outermost. Each gets the request and what comes `next`; it may change the request, look at the answer, or
//! refuse without going on. It runs in the caller's task. What an aggregate's actor reads for itself (to
//! resolve a conflict, to load an entity's state) passes no middleware.
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

use std::pin::Pin;
use std::sync::Arc;

pub use async_trait::async_trait;
pub use spans::Spans;

use crate::append::{Append, Appended, ExecuteOptions};
use crate::driver::{EventPage, Fetch};
use crate::error::{AppendError, ReadError};
use crate::event::AggregateKey;

type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type End<'a, Q, T> = Box<dyn FnOnce(Q) -> Answering<'a, T> + Send + 'a>;

/// Wraps what goes into a store and what comes out. Each method, unless overridden, goes on to what is
/// next.
#[async_trait]
pub trait Middleware: Send + Sync + 'static {
    /// Around an append. To refuse it: [`AppendError::Refused`].
    async fn append(&self, append: Append, next: NextAppend<'_>) -> Result<Appended, AppendError> {
        next.run(append).await
    }

    /// Around a command on an entity, from before it is sent until its answer. To refuse it:
    /// [`AppendError::Refused`].
    async fn execute(
        &self,
        execution: Execution,
        next: NextExecute<'_>,
    ) -> Result<Outcome, AppendError> {
        next.run(execution).await
    }

    /// Around the fetch of one page of an aggregate's events. To refuse it: [`ReadError::Refused`].
    async fn fetch(
        &self,
        request: FetchRequest,
        next: NextFetch<'_>,
    ) -> Result<EventPage, ReadError> {
        next.run(request).await
    }
}

/// A command about to be executed: for which entity, and with what. The command itself stays between its
/// sender and its entity.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Execution {
    /// The entity's aggregate key.
    pub key: AggregateKey,
    /// Commit id and metadata; what is changed here goes with the command.
    pub options: ExecuteOptions,
}

impl Execution {
    pub(crate) fn new(key: AggregateKey, options: ExecuteOptions) -> Self {
        Execution { key, options }
    }
}

/// How a command ended that was not refused on the way.
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

/// A page of an aggregate's events, about to be fetched.
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
pub(crate) type Chain = Arc<[Arc<dyn Middleware>]>;

macro_rules! next {
    ($(#[$doc:meta])* $name:ident, $method:ident, $request:ty => $answer:ty) => {
        $(#[$doc])*
        #[must_use = "a request that does not go on must be refused"]
        pub struct $name<'a> {
            rest: &'a [Arc<dyn Middleware>],
            end: End<'a, $request, $answer>,
        }

        impl<'a> $name<'a> {
            pub(crate) fn new(
                chain: &'a [Arc<dyn Middleware>],
                end: End<'a, $request, $answer>,
            ) -> Self {
                $name { rest: chain, end }
            }

            /// Goes on.
            ///
            /// # Errors
            ///
            /// What comes back, from the store or from a middleware further in.
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
    /// What comes after a middleware on the way of an append.
    NextAppend, append, Append => Result<Appended, AppendError>
}
next! {
    /// What comes after a middleware on the way of a command.
    NextExecute, execute, Execution => Result<Outcome, AppendError>
}
next! {
    /// What comes after a middleware on the way to a page.
    NextFetch, fetch, FetchRequest => Result<EventPage, ReadError>
}
