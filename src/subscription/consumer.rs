//! The builder of a durable consumer: named, with a checkpoint in the store's own data.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::checkpoint::{ConsumerCheckpoint, ConsumerRecords, Parked};
use super::error::ConsumerError;
use super::filter::filter_methods;
use super::handler::{EventHandler, Handler, ProjectionHandler, PublisherHandler};
use super::log::last_position;
use super::options::{ErrorAction, FailedEvent, OnFailure, Start};
use super::plan::ConsumerPlan;
use super::progress::{Claim, ConsumerProgress};
use super::projection::Projection;
use super::publisher::Publisher;
use super::reaction::{IntoReactions, OnRejected, Rejection, RejectionPolicy};
use super::reaction_handler::ReactionHandler;
use super::run::Run;
use super::typed::{TypedEvent, TypedHandler};
use crate::event::{KeyedEvent, Position, variant_names};
use crate::mailroom::Mailroom;
use crate::store::EventStore;

/// Ten years: an instant this much later can still be computed.
const LONGEST_INTERVAL: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

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
    plan: ConsumerPlan,
    rejected: Option<RejectionPolicy>,
    max_causation_depth: u32,
}

impl EventStore {
    /// A durable consumer with this name: 1 to 256 bytes without control characters.
    pub fn consumer(&self, name: impl AsRef<str>) -> Consumer {
        Consumer::new(self.clone(), name.as_ref())
    }
}

impl Consumer {
    fn new(store: EventStore, name: &str) -> Self {
        Consumer { plan: ConsumerPlan::new(store, name), rejected: None, max_causation_depth: 100 }
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

    /// Without a checkpoint, begins after the last event that exists when the [`Run`] is made.
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
        self.plan.options.checkpoint_interval = interval.min(LONGEST_INTERVAL);
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

    /// Decides about each failed attempt. The handler's error can be had with its type
    /// ([`FailedEvent::error`]). An event that cannot be read is not retried.
    ///
    /// ```
    /// # use std::io;
    /// # use seriatim::{EventStore, subscription::ErrorAction};
    /// # fn example(store: &EventStore) {
    /// let mailer = store.consumer("mailer").on_error(|failure| {
    ///     match failure.error::<io::Error>().map(io::Error::kind) {
    ///         Some(io::ErrorKind::ConnectionRefused) => ErrorAction::Retry,
    ///         Some(io::ErrorKind::InvalidData) => ErrorAction::Park,
    ///         _ => ErrorAction::Policy,
    ///     }
    /// });
    /// # let _ = mailer; }
    /// ```
    pub fn on_error(
        mut self,
        hook: impl Fn(&FailedEvent<'_>) -> ErrorAction + Send + Sync + 'static,
    ) -> Self {
        self.plan.error_hook = Some(Arc::new(hook));
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

    /// The longest chain of reactions that cause one another, over all consumers. A reaction to an
    /// event at its end fails. Default 100. It ends reactions that cause each other for ever.
    pub fn max_causation_depth(mut self, links: u32) -> Self {
        self.max_causation_depth = links.max(1);
        self
    }

    /// Handles events one by one. A failed event is retried, then the
    /// [policy](Consumer::on_failure) decides.
    ///
    /// Returns a future to spawn or await, on any runtime. It ends when it is
    /// [stopped](super::ConsumerHandle::stop), fails, or the store closes.
    ///
    /// A panic of the handler is a failed attempt. The handler must not block its thread: a
    /// `block_on` inside of it can wait for ever. It may close the store, but must not wait for its
    /// own consumer.
    pub fn run<H, F, E>(self, handler: H) -> Run
    where
        H: FnMut(KeyedEvent) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + 'static,
    {
        self.handled_by(EventHandler(handler))
    }

    /// Handles events one by one, as values of an enum: with the codec and the upcasters of
    /// entities. Without [`event_types`](Consumer::event_types), it takes events of the enum's
    /// variants only. Set the [category](Consumer::category) too: kinds may share names of events.
    ///
    /// ```
    /// # use serde::Deserialize;
    /// # use seriatim::{EventStore, subscription::TypedEvent};
    /// #[derive(Deserialize)]
    /// enum Light { SwitchedOn { by: String }, SwitchedOff }
    ///
    /// # fn example(store: &EventStore) {
    /// let watch = store.consumer("watch").category("light");
    /// let run = watch.run_typed(|light: TypedEvent<Light>| async move {
    ///     match light.event {
    ///         Light::SwitchedOn { by } => println!("{} on, by {by}", light.stored.key),
    ///         Light::SwitchedOff => println!("{} off", light.stored.key),
    ///     }
    ///     Ok::<_, std::io::Error>(())
    /// });
    /// # let _ = run; }
    /// ```
    pub fn run_typed<E, H, F, R>(mut self, handler: H) -> Run
    where
        E: DeserializeOwned + Send + 'static,
        H: FnMut(TypedEvent<E>) -> F + Send + 'static,
        F: Future<Output = Result<(), R>> + Send + 'static,
        R: Display + 'static,
    {
        self.plan.filter.set_types_unless_set(variant_names::<E>());
        self.handled_by(TypedHandler::new(handler))
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
        let (store, depth) = (self.plan.store.clone(), self.max_causation_depth);
        let handler = ReactionHandler::new(store, &self.plan.name, react, rejected, depth);
        self.handled_by(handler)
    }

    fn handled_by(mut self, handler: impl Handler + 'static) -> Run {
        if let Start::End = self.plan.start
            && let Ok(last) = last_position(self.plan.mailroom())
        {
            // Events appended before the first poll belong to the consumer.
            self.plan.start = Start::At(last.plus(1));
        }
        Run::new(self.plan, Box::new(handler))
    }

    /// The position in its checkpoint, whether or not the consumer runs. A projection's own
    /// position may be later.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`].
    pub async fn position(&self) -> Result<Option<Position>, ConsumerError> {
        Ok(self.plan.records()?.checkpoint().await?.map(|checkpoint| checkpoint.position))
    }

    /// Makes the consumer continue after this position the next time it runs. Parked aggregates
    /// stay parked.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Owned`] while it runs; [`ConsumerError::NameOfProjection`] for a
    /// projection, which stores its own position; [`ConsumerError::AheadOfLog`] for a position
    /// beyond the log.
    pub async fn set_position(&self, position: impl Into<Position>) -> Result<(), ConsumerError> {
        let position = position.into();
        let (records, _claim) = self.records_at_rest()?;
        let last = last_position(self.plan.mailroom())?;
        let name = self.plan.name.to_string();
        if position > last {
            return Err(ConsumerError::AheadOfLog { name, position, last });
        }
        let checkpoint = records.checkpoint().await?;
        let checkpoint = checkpoint.unwrap_or(ConsumerCheckpoint::new(Position::default(), false));
        if checkpoint.projection {
            return Err(ConsumerError::NameOfProjection { name });
        }
        records.save_checkpoint(checkpoint.at(position)).await
    }

    pub(super) fn mailroom(&self) -> &Arc<Mailroom> {
        self.plan.mailroom()
    }

    pub(super) fn handles_at_once(&mut self, events: usize) {
        self.plan.options.concurrency = events;
    }

    pub(super) fn has_been_rebuilt(&mut self) {
        self.plan.options.rebuild = false;
    }

    /// The stored records, and the name: nobody runs the consumer while they are changed.
    pub(super) fn records_at_rest(&self) -> Result<(ConsumerRecords, Claim), ConsumerError> {
        let records = self.plan.records()?;
        let (progress, _) =
            ConsumerProgress::new(self.plan.mailroom().clone(), self.plan.name.clone());
        Ok((records, Claim::of(&progress)?))
    }

    /// The number of events after its position, wanted or not: after the position of the running
    /// consumer, or else after the checkpoint.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`].
    pub async fn lag(&self) -> Result<u64, ConsumerError> {
        let last = last_position(self.plan.mailroom())?;
        let running = self.plan.mailroom().consumers.position(&self.plan.name).unwrap_or_default();
        let position = self.position().await?.unwrap_or_default().max(running);
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
