//! Durable consumers: named, with a checkpoint in the store's own data.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use super::checkpoint::{Checkpoints, Parked};
use super::deliver::{Deliver, Each, Projected, Published};
use super::error::{ConsumerError, MAX_NAME_BYTES};
use super::filter::{Filter, filter_methods};
use super::handle::Claim;
use super::log::last_position;
use super::projection::Projection;
use super::publish::Publisher;
use super::reaction::{IntoReactions, OnRejected, Reacting, Rejected, Rejection};
use super::run::{Run, Start};
use crate::event::{KeyedEvent, Position};
use crate::store::EventStore;

/// What happens to an event that failed as often as it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFailure {
    /// The consumer ends with [`ConsumerError::Failed`]; its checkpoint stands before the event. The default.
    #[default]
    Stop,
    /// The event is put aside, and so is every later event of its aggregate, so that they stay in order;
    /// the consumer goes on with the others. See [`ConsumerHandle::retry_parked`](super::ConsumerHandle::retry_parked).
    Park,
}

/// A consumer before it runs; from [`EventStore::consumer`]. Holds the store open, and so does what it runs as.
///
/// Each event is handled at least once, in commit order: after a crash, those since the last checkpoint come
/// again. [Projections](Consumer::project) can make that exactly once, [reactions](Consumer::react) are.
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
    pub(super) store: EventStore,
    pub(super) name: Arc<str>,
    pub(super) filter: Filter,
    pub(super) start: Start,
    pub(super) options: Options,
    rejected: Option<Rejected>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) batch: usize,
    pub(super) checkpoint_every: usize,
    pub(super) checkpoint_interval: Duration,
    pub(super) attempts: u32,
    pub(super) pause: Duration,
    pub(super) longest_pause: Duration,
    pub(super) on_failure: OnFailure,
    pub(super) max_parked: usize,
    pub(super) rebuild: bool,
}

impl EventStore {
    /// A durable consumer of this name: 1 to 256 bytes without control characters. See [`Consumer`].
    pub fn consumer(&self, name: impl AsRef<str>) -> Consumer {
        Consumer::new(self.clone(), name.as_ref())
    }
}

impl Consumer {
    fn new(store: EventStore, name: &str) -> Self {
        Consumer {
            store,
            name: name.into(),
            filter: Filter::default(),
            start: Start::At(Position::new(1)),
            options: Options {
                batch: 256,
                checkpoint_every: 1_000,
                checkpoint_interval: Duration::from_secs(1),
                attempts: 5,
                pause: Duration::from_millis(50),
                longest_pause: Duration::from_secs(5),
                on_failure: OnFailure::Stop,
                max_parked: 1_000,
                rebuild: false,
            },
            rejected: None,
        }
    }

    filter_methods!();

    /// The first time, when there is no checkpoint: begins with the first event. The default.
    pub fn from_start(self) -> Self {
        self.from(Position::new(1))
    }

    /// The first time, when there is no checkpoint: begins with this position.
    pub fn from(mut self, position: impl Into<Position>) -> Self {
        self.start = Start::At(position.into().max(Position::new(1)));
        self
    }

    /// The first time, when there is no checkpoint: begins behind the last event there is when it is run.
    pub fn from_end(mut self) -> Self {
        self.start = Start::End;
        self
    }

    /// How many events a projection or a publisher is given at once, at most. Default 256.
    pub fn batch(mut self, events: usize) -> Self {
        self.options.batch = events.max(1);
        self
    }

    /// Saves the checkpoint after this many events. Default 1,000. The next events are handled while it is on its
    /// way to the disk, so up to twice as many come again after a crash.
    pub fn checkpoint_every(mut self, events: usize) -> Self {
        self.options.checkpoint_every = events.max(1);
        self
    }

    /// Saves the checkpoint this long after an event was handled, at the latest. Default 1 s.
    pub fn checkpoint_interval(mut self, interval: Duration) -> Self {
        self.options.checkpoint_interval = interval;
        self
    }

    /// How often an event (or a batch) is tried before it has failed, with pauses in between that begin with
    /// the first and double up to the second. Default 5 times, 50 ms to 5 s.
    pub fn retry(mut self, attempts: u32, pause: Duration, longest: Duration) -> Self {
        self.options.attempts = attempts.max(1);
        self.options.pause = pause;
        self.options.longest_pause = longest.max(pause);
        self
    }

    /// What happens to an event that failed as often as it may.
    pub fn on_failure(mut self, policy: OnFailure) -> Self {
        self.options.on_failure = policy;
        self
    }

    /// So many aggregates may be parked; one more ends the consumer. Default 1,000.
    pub fn max_parked(mut self, aggregates: usize) -> Self {
        self.options.max_parked = aggregates;
        self
    }

    /// Begins anew when it is run: nothing is parked any more, a projection is [reset](Projection::reset), and
    /// the first event wanted is the one of the first time.
    pub fn rebuild(mut self) -> Self {
        self.options.rebuild = true;
        self
    }

    /// What happens when a [command of a reaction](super::Reaction::command) is rejected and has nothing to be done
    /// [otherwise](super::Reaction::otherwise). Unless told, the event has failed.
    pub fn on_rejected(
        mut self,
        policy: impl Fn(&Rejection) -> OnRejected + Send + Sync + 'static,
    ) -> Self {
        self.rejected = Some(Arc::new(policy));
        self
    }

    /// Handles events one by one. An error is tried again, then the [policy](Consumer::on_failure) decides.
    ///
    /// What is returned is a future to be spawned or awaited, on any runtime; it ends when it is
    /// [stopped](super::ConsumerHandle::stop), fails, or the store closes.
    pub fn run<H, F, E>(self, handler: H) -> Run
    where
        H: FnMut(KeyedEvent) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        self.deliver(Each(handler))
    }

    /// Folds events into a state of the user's own, which keeps its own position: see [`Projection`].
    pub fn project(self, projection: impl Projection) -> Run {
        self.deliver(Projected(projection))
    }

    /// Publishes events outwards, batch by batch: see [`Publisher`].
    pub fn publish(self, publisher: impl Publisher) -> Run {
        self.deliver(Published(publisher))
    }

    /// Appends and commands that events cause, each exactly once: see [`Reaction`](super::Reaction). `react` must
    /// say the same whenever it is asked about the same event.
    pub fn react<H, R>(self, react: H) -> Run
    where
        H: FnMut(&KeyedEvent) -> R + Send + 'static,
        R: IntoReactions,
    {
        let rejected = self.rejected.clone();
        let reacting = Reacting::new(self.store.clone(), &self.name, react, rejected);
        self.deliver(reacting)
    }

    fn deliver(self, deliver: impl Deliver + 'static) -> Run {
        Run::new(self, Box::new(deliver))
    }

    /// The position of the last event that its checkpoint says is handled, whether or not the consumer runs. A
    /// projection's position is its own.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`].
    pub async fn position(&self) -> Result<Option<Position>, ConsumerError> {
        self.checkpoints()?.position().await
    }

    /// How many events stand behind its checkpoint, wanted or not.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`].
    pub async fn lag(&self) -> Result<u64, ConsumerError> {
        let last = last_position(self.store.mailroom())?;
        let position = self.position().await?.unwrap_or_default();
        Ok(last.get().saturating_sub(position.get()))
    }

    /// The aggregates that are parked, in key order. Their events, from the sequence named there up to the
    /// checkpoint, are those to be retried.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`].
    pub async fn parked(&self) -> Result<Vec<Parked>, ConsumerError> {
        Ok(self.checkpoints()?.parked().await?.into_values().collect())
    }

    pub(super) fn checkpoints(&self) -> Result<Checkpoints, ConsumerError> {
        check_name(&self.name)?;
        self.store.log()?;
        Ok(Checkpoints::new(self.store.mailroom().clone(), self.name.clone()))
    }

    pub(super) fn claim(&self) -> Result<Claim, ConsumerError> {
        Claim::of(self.store.mailroom(), &self.name)
    }
}

fn check_name(name: &str) -> Result<(), ConsumerError> {
    let fits = !name.is_empty() && name.len() <= MAX_NAME_BYTES;
    if fits && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(ConsumerError::InvalidName { name: name.to_owned() })
}
