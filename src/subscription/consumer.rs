//! The builder of a durable consumer: named, with a checkpoint in the store's own data.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use super::checkpoint::Parked;
use super::error::ConsumerError;
use super::filter::filter_methods;
use super::handler::{EventHandler, Handler, ProjectionHandler, PublisherHandler};
use super::log::last_position;
use super::options::{OnFailure, Start};
use super::plan::Plan;
use super::projection::Projection;
use super::publisher::Publisher;
use super::reaction::{IntoReactions, OnRejected, ReactionHandler, Rejection, RejectionPolicy};
use super::run::Run;
use crate::event::{KeyedEvent, Position};
use crate::store::EventStore;

/// A consumer before it runs, from [`EventStore::consumer`]. The consumer and its [`Run`] hold the
/// store open.
///
/// Each event is handled at least once, in commit order. After a crash, the events since the last
/// checkpoint come again. [Projections](Consumer::project) can count each event exactly once;
/// [reactions](Consumer::react) do.
///
/// ```
/// # use std::time::Duration;
/// # use seriatim::{Append, EventStore, NewEvent};
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let run = store.consumer("mailer").category("order").run(|event| async move {
///     println!("a mail about {}", event.key);
///     Ok::<_, std::io::Error>(())
/// });
/// let mailer = run.handle();
/// let running = tokio::spawn(run);
///
/// let placed = Append::to("order/1").event(NewEvent::raw("Placed", "{}"));
/// let position = store.append(placed).await?.position.ok_or("no log")?;
/// mailer.wait_for(position, Duration::from_secs(5)).await?;
///
/// mailer.stop();
/// running.await??;
/// # Ok(()) }
/// ```
#[must_use = "a consumer does nothing until it is run"]
#[derive(Clone)]
pub struct Consumer {
    plan: Plan,
    rejected: Option<RejectionPolicy>,
}

impl EventStore {
    /// A durable consumer with this name: 1 to 256 bytes without control characters.
    pub fn consumer(&self, name: impl AsRef<str>) -> Consumer {
        Consumer::new(self.clone(), name.as_ref())
    }
}

impl Consumer {
    fn new(store: EventStore, name: &str) -> Self {
        Consumer { plan: Plan::new(store, name), rejected: None }
    }

    filter_methods!(plan.filter);

    /// Without a checkpoint, begins with the first event. The default.
    pub fn from_start(self) -> Self {
        self.from(Position::new(1))
    }

    /// Without a checkpoint, begins with this position.
    pub fn from(mut self, position: impl Into<Position>) -> Self {
        self.plan.start = Start::At(position.into().max(Position::new(1)));
        self
    }

    /// Without a checkpoint, begins after the last event that exists when the consumer runs.
    pub fn from_end(mut self) -> Self {
        self.plan.start = Start::End;
        self
    }

    /// The most events that a projection or a publisher is given at once. Default 256.
    pub fn batch(mut self, events: usize) -> Self {
        self.plan.options.batch = events.max(1);
        self
    }

    /// Saves the checkpoint after this many events. Default 1,000. The next events are handled
    /// while it is being saved, so up to twice as many come again after a crash.
    pub fn checkpoint_every(mut self, events: usize) -> Self {
        self.plan.options.checkpoint_every = events.max(1);
        self
    }

    /// Saves the checkpoint at most this long after an event was handled. Default 1 s.
    pub fn checkpoint_interval(mut self, interval: Duration) -> Self {
        self.plan.options.checkpoint_interval = interval;
        self
    }

    /// How often an event (or a batch) is tried before it has failed. The pauses in between start
    /// at `pause` and double up to `longest`. Default 5 times, 50 ms to 5 s.
    pub fn retry(mut self, attempts: u32, pause: Duration, longest: Duration) -> Self {
        self.plan.options.attempts = attempts.max(1);
        self.plan.options.pause = pause;
        self.plan.options.longest_pause = longest.max(pause);
        self
    }

    /// What happens to an event that failed as often as it may.
    pub fn on_failure(mut self, policy: OnFailure) -> Self {
        self.plan.options.on_failure = policy;
        self
    }

    /// The most aggregates that may be parked; one more ends the consumer. Default 1,000.
    pub fn max_parked(mut self, aggregates: usize) -> Self {
        self.plan.options.max_parked = aggregates;
        self
    }

    /// Starts over when it is run: nothing is parked any more, a projection is
    /// [reset](Projection::reset), and events come from where a consumer without a checkpoint
    /// begins.
    pub fn rebuild(mut self) -> Self {
        self.plan.options.rebuild = true;
        self
    }

    /// What happens when a [reaction](super::Reaction) is rejected and has no
    /// [compensation](super::Reaction::otherwise). By default, the event has failed.
    pub fn on_rejected(
        mut self,
        policy: impl Fn(&Rejection) -> OnRejected + Send + Sync + 'static,
    ) -> Self {
        self.rejected = Some(Arc::new(policy));
        self
    }

    /// Handles events one by one. A failed event is retried, then the
    /// [policy](Consumer::on_failure) decides.
    ///
    /// Returns a future to spawn or await, on any runtime. It ends when it is
    /// [stopped](super::ConsumerHandle::stop), fails, or the store closes.
    pub fn run<H, F, E>(self, handler: H) -> Run
    where
        H: FnMut(KeyedEvent) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        self.handled_by(EventHandler(handler))
    }

    /// Folds events into a state that stores its own position: see [`Projection`].
    pub fn project(self, projection: impl Projection) -> Run {
        self.handled_by(ProjectionHandler(projection))
    }

    /// Publishes events to another system, batch by batch: see [`Publisher`].
    pub fn publish(self, publisher: impl Publisher) -> Run {
        self.handled_by(PublisherHandler(publisher))
    }

    /// Appends and commands that events cause, each exactly once: see
    /// [`Reaction`](super::Reaction). `react` must return the same reactions whenever it is called
    /// with the same event.
    pub fn react<H, R>(self, react: H) -> Run
    where
        H: FnMut(&KeyedEvent) -> R + Send + 'static,
        R: IntoReactions,
    {
        let rejected = self.rejected.clone();
        let handler =
            ReactionHandler::new(self.plan.store.clone(), &self.plan.name, react, rejected);
        self.handled_by(handler)
    }

    fn handled_by(self, handler: impl Handler + 'static) -> Run {
        Run::new(self.plan, Box::new(handler))
    }

    /// The position in its checkpoint, whether or not the consumer runs. A projection stores its
    /// own position instead.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`].
    pub async fn position(&self) -> Result<Option<Position>, ConsumerError> {
        self.plan.records()?.position().await
    }

    /// The number of events after its checkpoint, wanted or not.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`].
    pub async fn lag(&self) -> Result<u64, ConsumerError> {
        let last = last_position(self.plan.mailroom())?;
        let position = self.position().await?.unwrap_or_default();
        Ok(last.get().saturating_sub(position.get()))
    }

    /// The parked aggregates, in key order. Their events from the parked sequence up to the
    /// checkpoint wait to be retried.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`].
    pub async fn parked(&self) -> Result<Vec<Parked>, ConsumerError> {
        Ok(self.plan.records()?.parked().await?.into_values().collect())
    }
}
