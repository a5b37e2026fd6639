//! The handle of a running consumer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::oneshot;

use super::checkpoint::{ConsumerRecords, Parked};
use super::error::ConsumerError;
use super::log::last_position;
use super::progress::{ConsumerProgress, ParkedAction, ParkedRequest, Retried};
use crate::append::{Appended, ExecuteOptions, Waiter};
use crate::error::WaitError;
use crate::event::{AggregateKey, Position};
use crate::mailroom::RunningConsumer;

/// A running consumer, as seen by those who stop it, wait for it or ask for its position. Cheap to
/// clone. The consumer runs on without it.
///
/// ```
/// use std::time::Duration;
/// use seriatim::{Append, EventStore, KeyedEvent, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let run = store.consumer("mailer").run(|event: KeyedEvent| async move {
///     println!("a mail about {}", event.key);
///     Ok::<_, std::io::Error>(())
/// });
/// let mailer = run.handle();
/// let running = tokio::spawn(run);
///
/// let placed = Append::to("order/1").event(NewEvent::raw("Placed", "{}"));
/// let appended = store.append(placed).await?;
/// mailer.wait_for_append(&appended, Duration::from_secs(5)).await?;
/// assert_eq!((mailer.lag()?, mailer.parked().await?.len()), (0, 0));
/// mailer.stop();
/// running.await??;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ConsumerHandle {
    pub(super) progress: Arc<ConsumerProgress>,
}

impl ConsumerHandle {
    /// The consumer's name.
    pub fn name(&self) -> &str {
        &self.progress.name
    }

    /// Tells the consumer to finish its current event (or batch), save its checkpoint and end. The
    /// [`Run`](super::Run) completes when it has.
    pub fn stop(&self) {
        self.progress.stop();
    }

    /// The position up to which every event was handled, parked, or not wanted.
    pub fn position(&self) -> Position {
        self.progress.position()
    }

    /// The number of events after that position, wanted or not.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`].
    pub fn lag(&self) -> Result<u64, ConsumerError> {
        let last = last_position(&self.progress.mailroom)?;
        Ok(last.get().saturating_sub(self.position().get()))
    }

    /// Waits until the consumer has handled everything up to this position, so that a request can
    /// read what it has just written. The position of an append's last event is
    /// [`Appended::last_position`]; see also [`ConsumerHandle::wait_for_append`].
    ///
    /// # Errors
    ///
    /// [`WaitError`].
    pub async fn wait_for(
        &self,
        position: impl Into<Position>,
        deadline: Duration,
    ) -> Result<(), WaitError> {
        let wanted = position.into();
        let progress = &self.progress;
        let is_over = || progress.position() >= wanted || progress.has_ended();
        if !is_over() {
            let mut moved = progress.moved.listen();
            let waiting = Box::pin(async move {
                loop {
                    moved.begin();
                    // This handle keeps the bell alive.
                    if is_over() || !moved.rung().await {
                        return;
                    }
                }
            });
            let sleep = Box::pin(progress.mailroom.sleep(deadline));
            let _: Either<_, _> = select(waiting, sleep).await;
        }
        let ended = progress.has_ended();
        let reached = progress.position();
        let name = self.name().to_owned();
        match (reached >= wanted, ended) {
            (true, _) => Ok(()),
            (false, true) => Err(WaitError::Ended { name, reached, wanted }),
            (false, false) => Err(WaitError::Timeout { name, reached, wanted, deadline }),
        }
    }

    /// Waits until the consumer has handled all events of this append.
    ///
    /// # Errors
    ///
    /// [`WaitError`].
    pub async fn wait_for_append(
        &self,
        appended: &Appended,
        deadline: Duration,
    ) -> Result<(), WaitError> {
        // A store with consumers has a log, and its appends have positions.
        self.wait_for(appended.last_position().unwrap_or_default(), deadline).await
    }

    /// The parked aggregates, in key order.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`].
    pub async fn parked(&self) -> Result<Vec<Parked>, ConsumerError> {
        let progress = &self.progress;
        let records = ConsumerRecords::new(progress.mailroom.clone(), progress.name.clone());
        Ok(records.parked().await?.into_values().collect())
    }

    /// Has the consumer handle the parked events again, in order within each aggregate. An
    /// aggregate whose events all succeed is no longer parked. One with an event that fails stays
    /// parked from that event on.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Ended`] when the consumer does not run; [`ConsumerError::InHandler`] when
    /// its own handler calls this, which would wait for itself. A task that the handler spawns and
    /// awaits is not detected.
    pub async fn retry_parked(&self) -> Result<Retried, ConsumerError> {
        self.request(ParkedAction::RetryAll).await
    }

    /// [`ConsumerHandle::retry_parked`] for one aggregate.
    ///
    /// # Errors
    ///
    /// Those of [`ConsumerHandle::retry_parked`].
    pub async fn retry_parked_aggregate(
        &self,
        key: &AggregateKey,
    ) -> Result<Retried, ConsumerError> {
        self.request(ParkedAction::Retry(key.clone())).await
    }

    /// Gives up this aggregate's parked events: they count as handled, and its later events are
    /// handled again.
    ///
    /// # Errors
    ///
    /// Those of [`ConsumerHandle::retry_parked`].
    pub async fn discard_parked(&self, key: &AggregateKey) -> Result<Retried, ConsumerError> {
        self.request(ParkedAction::Discard(key.clone())).await
    }

    /// Lets the consumer finish its current event (or batch), save its checkpoint and wait. It
    /// takes no more events and answers no requests about parked aggregates until it resumes.
    pub fn pause(&self) {
        self.progress.set_paused(true);
    }

    /// Ends a [pause](ConsumerHandle::pause).
    pub fn resume(&self) {
        self.progress.set_paused(false);
    }

    async fn request(&self, action: ParkedAction) -> Result<Retried, ConsumerError> {
        let ended = || ConsumerError::Ended { name: self.name().to_owned() };
        if self.progress.is_handling_here() {
            return Err(ConsumerError::InHandler { name: self.name().to_owned() });
        }
        let (answer, answered) = oneshot::channel();
        let request = ParkedRequest { action, answer };
        self.progress.requests.send(request).map_err(|_| ended())?;
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}

impl ExecuteOptions {
    /// Answers the command when this consumer has handled its events, so that who reads the
    /// consumer's read model next finds what the command wrote. May be called for several
    /// consumers. A command without events waits for nothing.
    ///
    /// When `deadline` is over first, or the consumer ends, the answer is
    /// [`ExecuteError::NotHandled`](crate::ExecuteError::NotHandled): the events are durable
    /// nevertheless, and the command must not be sent again. The consumer's own handler must not
    /// wait for itself: it always meets the deadline.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use seriatim::{Aggregate, Context, EventStore, ExecuteOptions, KeyedEvent};
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
    /// let run = store.consumer("list").run(|event: KeyedEvent| async move {
    ///     println!("{}", event.key);
    ///     Ok::<_, String>(())
    /// });
    /// let list = run.handle();
    /// tokio::spawn(run);
    ///
    /// let options = ExecuteOptions::new().wait_for(&list, Duration::from_secs(5));
    /// let executed = store.entities::<Tally>().execute_with("visitors", (), options).await?;
    /// assert!(Some(list.position()) >= executed.appended.and_then(|it| it.last_position()));
    /// # Ok(()) }
    /// ```
    pub fn wait_for(mut self, consumer: &ConsumerHandle, deadline: Duration) -> Self {
        let consumer = consumer.clone();
        self.waiters.push(Waiter::new(move |appended: Appended| {
            let consumer = consumer.clone();
            Box::pin(async move { consumer.wait_for_append(&appended, deadline).await })
        }));
        self
    }
}

impl std::fmt::Debug for ConsumerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerHandle")
            .field("name", &self.name())
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}
