//! Typed consumers: events as values of an enum.

use std::fmt::Display;
use std::future::ready;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;
use serde::de::DeserializeOwned;

use super::handler::{Chunk, Delivered, Handler, Handling, guarded, handling, panic_text};
use super::options::ErrorHook;
use crate::driver::async_trait;
use crate::event::KeyedEvent;

/// An event as a value of an enum, and as it is stored. For
/// [`Consumer::run_typed`](super::Consumer::run_typed).
///
/// ```
/// use seriatim::subscription::TypedEvent;
/// use seriatim::{Append, EventStore, NewEvent};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum Light { SwitchedOn { by: String } }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let event = NewEvent::encode(&Light::SwitchedOn { by: "Ada".into() })?;
/// store.append(Append::to("light/1").event(event)).await?;
///
/// let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
/// let watch = store.consumer("watch").category("light");
/// tokio::spawn(watch.run_typed(move |light: TypedEvent<Light>| {
///     let Light::SwitchedOn { by } = light.event;
///     let sent = sender.send((light.stored.key.to_string(), by));
///     async { sent }
/// }));
/// assert_eq!(seen.recv().await, Some(("light/1".into(), "Ada".into())));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TypedEvent<E> {
    /// What happened.
    pub event: E,
    /// Its key, sequence, position, time and metadata.
    pub stored: KeyedEvent,
}

/// Hands single events to a closure, as values of an enum.
pub(super) struct TypedHandler<H, E> {
    handler: H,
    event: PhantomData<fn() -> E>,
}

impl<H, E> TypedHandler<H, E> {
    pub(super) fn new(handler: H) -> Self {
        TypedHandler { handler, event: PhantomData }
    }
}

#[async_trait]
impl<H, F, E, R> Handler for TypedHandler<H, E>
where
    H: FnMut(TypedEvent<E>) -> F + Send,
    F: Future<Output = Result<(), R>> + Send + 'static,
    E: DeserializeOwned + Send,
    R: Display + 'static,
{
    fn one_by_one(&self) -> bool {
        true
    }

    fn start(&mut self, stored: KeyedEvent, attempt: u32, hook: Option<ErrorHook>) -> Handling {
        let with = (attempt, hook);
        // An enum's own `Deserialize` may panic, as a handler may.
        match catch_unwind(AssertUnwindSafe(|| stored.decode::<E>())) {
            Err(panic) => {
                let panic = panic_text(&*panic);
                handling(stored, with, || ready(Err(panic)))
            }
            Ok(Err(error)) => handling(stored, with, || ready(Err(error))),
            Ok(Ok(event)) => {
                let typed = TypedEvent { event, stored: stored.clone() };
                handling(stored, with, || (self.handler)(typed))
            }
        }
    }

    async fn deliver(&mut self, chunk: Chunk<'_>) -> Delivered {
        let mut delivered = Delivered::default();
        for stored in chunk.events {
            let handled = delivered.events;
            // An enum's own `Deserialize` may panic, as a handler may.
            delivered.failed = match guarded(|| ready(stored.decode::<E>())).await {
                Err(panic) => chunk.judge.check::<String>(stored, handled, Err(panic)),
                Ok(Err(error)) => chunk.judge.check(stored, handled, Ok(Err(error))),
                Ok(Ok(event)) => {
                    let typed = TypedEvent { event, stored: stored.clone() };
                    let judged = |result| chunk.judge.check(stored, handled, result);
                    guarded(|| (self.handler)(typed)).map(judged).await
                }
            };
            if delivered.failed.is_some() {
                break;
            }
            delivered.events += 1;
            if !chunk.pace.handled(stored) {
                break;
            }
        }
        delivered
    }
}
