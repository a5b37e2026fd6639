//! The builder of a consumer that handles several events at once.

use std::fmt::Display;

use serde::de::DeserializeOwned;

use super::consumer::Consumer;
use super::run::Run;
use super::typed::TypedEvent;
use crate::event::KeyedEvent;

/// A [`Consumer`] that handles events of several aggregates at once, from
/// [`Consumer::concurrency`]. Each aggregate's events are handled in order, one after another.
///
/// Retries, parking and skipping concern the event's aggregate; the others go on meanwhile. The
/// checkpoint stands before the first event that is not finished, so after a crash the events that
/// were finished behind it come again: about 2,000 at most, and those since the last checkpoint. A
/// consumer that is so far ahead of an event waits for it. Stopping and closing finish what is
/// being handled.
///
/// Projections, publishers and reactions depend on the order of all events, and are run by
/// [`Consumer`] itself.
///
/// ```
/// use std::time::Duration;
/// use seriatim::{Append, EventStore, KeyedEvent, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let run = store.consumer("mailer").category("order").concurrency(8).run(|event: KeyedEvent| {
///     async move {
///         // A slow call: seven other orders need not wait for it.
///         tokio::time::sleep(Duration::from_millis(1)).await;
///         println!("a mail about {}", event.key);
///         Ok::<_, std::io::Error>(())
///     }
/// });
/// let mailer = run.handle();
/// let running = tokio::spawn(run);
///
/// let placed = Append::to("order/1").event(NewEvent::raw("Placed", "{}"));
/// mailer.wait_for_append(&store.append(placed).await?, Duration::from_secs(5)).await?;
/// mailer.stop();
/// running.await??;
/// # Ok(()) }
/// ```
#[must_use = "a consumer does nothing until it is run"]
#[derive(Clone)]
pub struct ConcurrentConsumer(Consumer);

impl Consumer {
    /// Handles so many events at once, at least one: those of one aggregate in order and one at a
    /// time. To be said last, because only handlers of single events can be run so; see
    /// [`ConcurrentConsumer`].
    pub fn concurrency(mut self, events: usize) -> ConcurrentConsumer {
        self.handles_at_once(events.max(1));
        ConcurrentConsumer(self)
    }
}

impl ConcurrentConsumer {
    /// [`Consumer::run`]. The handler is called for one event after another; the futures that it
    /// returns run at once.
    pub fn run<H, F, E>(self, handler: H) -> Run
    where
        H: FnMut(KeyedEvent) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + 'static,
    {
        self.0.run(handler)
    }

    /// [`Consumer::run_typed`]. The handler is called for one event after another; the futures that
    /// it returns run at once.
    pub fn run_typed<E, H, F, R>(self, handler: H) -> Run
    where
        E: DeserializeOwned + Send + 'static,
        H: FnMut(TypedEvent<E>) -> F + Send + 'static,
        F: Future<Output = Result<(), R>> + Send + 'static,
        R: Display + 'static,
    {
        self.0.run_typed(handler)
    }
}

impl std::fmt::Debug for ConcurrentConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConcurrentConsumer").finish_non_exhaustive()
    }
}
