//! A consumer at work.
//!
//! ```text
//! feed ─▶ a page ─▶ wanted? parked? ─▶ deliver, again with pauses ─▶ progress ─▶ checkpoint, now and then
//!                                        └ failed: stop, or park the aggregate
//! ```
//!
//! One loop does all of it, so nothing is handled twice at once and the order is that of the log. The
//! checkpoint only ever says what has been handled; a parked aggregate is recorded before its event is passed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use tokio::sync::mpsc;

use super::checkpoint::{Checkpoints, ParkedAggregates};
use super::consumer::{Consumer, OnFailure};
use super::deliver::{Chunk, Deliver, Delivered, Pace};
use super::error::ConsumerError;
use super::feed::{Feed, Source};
use super::handle::{Answer, ConsumerHandle, Shared};
use super::log::last_position;
use super::saving::Saving;
use crate::error::ReadError;
use crate::event::{KeyedEvent, Position};

/// Events read at once, which bounds the consumer's memory.
pub(super) const PAGE_EVENTS: usize = 1_000;

/// Where a consumer begins the first time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    At(Position),
    End,
}

/// A consumer at work: a future to be spawned or awaited. It ends with `Ok` when it was stopped or the store
/// closes, otherwise with why. Dropped, it stops where it is; what was handled since the last checkpoint comes
/// again the next time.
#[must_use = "a consumer does nothing until it is spawned or awaited"]
pub struct Run {
    handle: ConsumerHandle,
    work: Pin<Box<dyn Future<Output = Result<(), ConsumerError>> + Send>>,
}

impl Run {
    pub(super) fn new(consumer: Consumer, deliver: Box<dyn Deliver>) -> Self {
        let mailroom = consumer.store.mailroom().clone();
        let (shared, retries) = Shared::new(mailroom, consumer.name.clone());
        let handle = ConsumerHandle { shared: shared.clone() };
        let ending = Ending(shared);
        Run { handle, work: Box::pin(work(consumer, deliver, retries, ending)) }
    }

    /// A handle to stop it by, wait for it, and ask how far it is.
    pub fn handle(&self) -> ConsumerHandle {
        self.handle.clone()
    }
}

impl Future for Run {
    type Output = Result<(), ConsumerError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().work.as_mut().poll(cx)
    }
}

/// Tells those who wait for the consumer that it is over, however it ended.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ended();
    }
}

async fn work(
    consumer: Consumer,
    deliver: Box<dyn Deliver>,
    mut retries: mpsc::UnboundedReceiver<Answer>,
    ending: Ending,
) -> Result<(), ConsumerError> {
    let _claim = consumer.claim()?;
    let mut worker = Worker::begin(consumer, deliver, ending.0.clone()).await?;
    let ended = worker.work(&mut retries).await;
    match ended {
        // What was handled is known, whatever came after it.
        Err(End::Failed(error)) => {
            let _ = worker.save().await;
            Err(error)
        }
        Ok(()) | Err(End::Stopped) => match worker.save().await {
            Err(ConsumerError::Closed) => Ok(()),
            saved => saved,
        },
    }
}

/// Why the loop ends.
pub(super) enum End {
    Stopped,
    Failed(ConsumerError),
}

impl From<ConsumerError> for End {
    fn from(error: ConsumerError) -> Self {
        match error {
            ConsumerError::Closed => End::Stopped,
            other => End::Failed(other),
        }
    }
}

enum Next {
    Stop,
    Save,
    Retry(Answer),
    Page(Vec<KeyedEvent>),
}

pub(super) struct Worker {
    pub(super) consumer: Consumer,
    deliver: Box<dyn Deliver>,
    shared: Arc<Shared>,
    pub(super) checkpoints: Checkpoints,
    pub(super) parked: ParkedAggregates,
    /// Everything up to here is handled, parked or not wanted.
    pub(super) position: Position,
    saving: Saving,
    /// Events up to here may have been delivered in an earlier life.
    may_repeat_to: Position,
    /// The deliverer keeps the position itself.
    keeps_own: bool,
}

impl Worker {
    async fn begin(
        consumer: Consumer,
        mut deliver: Box<dyn Deliver>,
        shared: Arc<Shared>,
    ) -> Result<Self, ConsumerError> {
        let checkpoints = consumer.checkpoints()?;
        let failed = |reason| ConsumerError::Projection { name: consumer.name.to_string(), reason };
        let mut parked = checkpoints.parked().await?;
        let last = last_position(consumer.store.mailroom())?;
        let begin = match consumer.start {
            Start::At(position) => position.previous(),
            Start::End => last,
        };
        let mut stored = checkpoints.position().await?;
        if consumer.options.rebuild {
            deliver.reset().await.map_err(failed)?;
            parked.clear();
            checkpoints.save_parked(&parked).await?;
            stored = None;
        }
        let own = deliver.own_position().await.map_err(failed)?;
        if stored.is_none() {
            // The first time is over when the beginning is written down, or the end would move along.
            checkpoints.save_position(begin).await?;
        }
        let stored = stored.unwrap_or(begin);
        let position = own.filter(|own| own.get() > 0).unwrap_or(stored);
        shared.reached(position);
        let options = &consumer.options;
        let saving = Saving::new(
            checkpoints.clone(),
            consumer.store.mailroom().clone(),
            (options.checkpoint_every, options.checkpoint_interval),
            position,
        );
        Ok(Worker {
            consumer,
            deliver,
            shared,
            checkpoints,
            parked,
            position,
            saving,
            may_repeat_to: last,
            keeps_own: own.is_some(),
        })
    }

    async fn work(&mut self, retries: &mut mpsc::UnboundedReceiver<Answer>) -> Result<(), End> {
        let mailroom = self.consumer.store.mailroom().clone();
        let mut feed = Feed::new(mailroom, Source::Log(self.position.plus(1)));
        loop {
            match self.next(&mut feed, retries).await? {
                Next::Stop => return Ok(()),
                Next::Save => self.saving.begin(self.position).await?,
                Next::Retry(answer) => match self.retry_parked().await {
                    Ok(retried) => drop(answer.send(Ok(retried))),
                    Err(End::Stopped) => return Err(End::Stopped),
                    Err(End::Failed(error)) => {
                        let _ = answer.send(Err(error.clone()));
                        return Err(End::Failed(error));
                    }
                },
                Next::Page(events) => self.take_page(events).await?,
            }
        }
    }

    /// What there is to do next.
    async fn next(
        &mut self,
        feed: &mut Feed,
        retries: &mut mpsc::UnboundedReceiver<Answer>,
    ) -> Result<Next, End> {
        let shared = self.shared.clone();
        let mut stop = std::pin::pin!(shared.stop.notified());
        std::future::poll_fn(|cx| {
            if shared.is_stopped() || stop.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(Next::Stop));
            }
            if let Poll::Ready(Some(answer)) = retries.poll_recv(cx) {
                return Poll::Ready(Ok(Next::Retry(answer)));
            }
            if let Poll::Ready(due) = self.saving.poll_due(cx) {
                return Poll::Ready(due.map(|()| Next::Save).map_err(End::from));
            }
            feed.poll_page(cx, PAGE_EVENTS).map(|page| match page {
                None => Err(End::Stopped),
                Some(Ok(events)) => Ok(Next::Page(events)),
                Some(Err(error)) => Err(ConsumerError::from(error).into()),
            })
        })
        .await
    }

    async fn take_page(&mut self, events: Vec<KeyedEvent>) -> Result<(), End> {
        let last = place(events.last());
        let (wanted, broken) = self.pick(events);
        // Up to here the page is handled when all that is wanted is.
        let end = if broken.is_some() { place(wanted.last()) } else { last };
        let mut rest = &wanted[..];
        while !rest.is_empty() {
            if self.shared.is_stopped() {
                return Err(End::Stopped);
            }
            let parked = rest.iter().take_while(|event| self.is_parked(event)).count();
            let handled = match rest.split_at(parked) {
                ([], free) => {
                    let many = free.iter().take(self.at_once());
                    let many = many.take_while(|event| !self.is_parked(event)).count();
                    let (chunk, behind) = free.split_at(many);
                    self.take(chunk, before(behind, end)).await?
                }
                (parked, _) => parked.len(),
            };
            let (_, behind) = rest.split_at(handled);
            self.advance(before(behind, end), handled).await?;
            rest = behind;
        }
        match broken {
            Some(error) => Err(ConsumerError::from(error).into()),
            None => Ok(self.advance(end, 0).await?),
        }
    }

    /// How many events are delivered together: no more than until the next checkpoint.
    fn at_once(&self) -> usize {
        let batch = self.consumer.options.batch;
        if self.keeps_own { batch } else { batch.min(self.saving.until_due()) }
    }

    /// The events that are wanted, up to one that cannot be read.
    pub(super) fn pick(&self, events: Vec<KeyedEvent>) -> (Vec<KeyedEvent>, Option<ReadError>) {
        let upcasters = &self.consumer.store.mailroom().config.upcasters;
        let mut wanted = Vec::with_capacity(events.len());
        for event in events {
            match self.consumer.filter.pick(upcasters, event) {
                Some(Ok(event)) => wanted.push(event),
                Some(Err(error)) => return (wanted, Some(error)),
                None => {}
            }
        }
        (wanted, None)
    }

    /// Delivers a chunk or its beginning, and parks what fails of it; how many events are handled now.
    async fn take(&mut self, chunk: &[KeyedEvent], through: Position) -> Result<usize, End> {
        let (handled, failed) = self.deliver(chunk, through, false).await?;
        let Some((attempts, reason)) = failed else { return Ok(handled) };
        let (done, rest) = chunk.split_at(handled);
        let Some(first) = rest.first() else { return Ok(handled) };
        self.advance(before(rest, through), done.len()).await?;
        if self.consumer.options.on_failure == OnFailure::Stop {
            return Err(self.failed(first, attempts, reason).into());
        }
        if self.deliver.one_by_one() || rest.len() == 1 {
            self.park(first, &reason).await?;
            return Ok(handled + 1);
        }
        // One of a batch that is taken together: which one?
        for event in rest {
            if !self.is_parked(event) {
                let one = std::slice::from_ref(event);
                if let (_, Some((_, reason))) = self.deliver(one, place(Some(event)), true).await? {
                    self.park(event, &reason).await?;
                }
            }
        }
        Ok(chunk.len())
    }

    /// Delivers these events or their beginning, what fails again and again with pauses. How many are handled; and
    /// of the one that failed, how often it was tried, and why it failed the last time.
    pub(super) async fn deliver(
        &mut self,
        events: &[KeyedEvent],
        through: Position,
        repeated: bool,
    ) -> Result<(usize, Option<(u32, String)>), End> {
        let options = self.consumer.options;
        let mut pause = options.pause;
        let mut attempt = 1;
        let mut handled = 0;
        loop {
            let (_, rest) = events.split_at(handled);
            let repeated = repeated || attempt > 1;
            let due = match self.keeps_own {
                true => Instant::now() + options.checkpoint_interval,
                false => self.saving.due_at(),
            };
            let delivered = self.deliver.deliver(Chunk {
                events: rest,
                through,
                earlier_to: self.may_repeat_to,
                retried: repeated,
                pace: Pace { shared: &self.shared, due },
            });
            let Delivered { events: more, failed } = delivered.await;
            handled += more;
            let Some(reason) = failed else { return Ok((handled, None)) };
            if more > 0 {
                // Another event than the one that failed before.
                (attempt, pause) = (1, options.pause);
            }
            let position = place(events.get(handled));
            let consumer = &*self.consumer.name;
            tracing::warn!(consumer, %position, attempt, reason, "an event was not handled");
            if attempt >= options.attempts {
                return Ok((handled, Some((attempt, reason))));
            }
            if !self.sleep(pause).await {
                // What was handled before the one that failed is known.
                self.advance(position.previous(), handled).await?;
                return Err(End::Stopped);
            }
            pause = (pause * 2).min(options.longest_pause);
            attempt += 1;
        }
    }

    /// False when it was cut short because the consumer is to stop.
    async fn sleep(&mut self, pause: Duration) -> bool {
        if !self.shared.is_stopped() {
            let stop = std::pin::pin!(self.shared.stop.notified());
            let sleep = std::pin::pin!(self.consumer.store.mailroom().sleep(pause));
            let _: Either<_, _> = select(stop, sleep).await;
        }
        !self.shared.is_stopped() && !self.consumer.store.mailroom().is_closed()
    }

    fn failed(&self, event: &KeyedEvent, attempts: u32, reason: String) -> ConsumerError {
        let name = self.consumer.name.to_string();
        let (key, position) = (event.key.clone(), place(Some(event)));
        ConsumerError::Failed { name, key, position, attempts, reason }
    }

    /// Everything up to here is handled.
    async fn advance(&mut self, through: Position, events: usize) -> Result<(), ConsumerError> {
        if through > self.position {
            self.position = through;
            self.saving.count(events);
            self.shared.reached(through);
        }
        if self.keeps_own {
            return Ok(());
        }
        match self.saving.is_due() {
            true => self.saving.begin(self.position).await,
            false => Ok(()),
        }
    }

    /// What was handled is in the checkpoint when this is done.
    async fn save(&mut self) -> Result<(), ConsumerError> {
        if self.keeps_own {
            return Ok(());
        }
        self.saving.finish(self.position).await
    }
}

/// The position up to which everything is handled when what stands before these events is; `end`, where there are
/// none.
fn before(events: &[KeyedEvent], end: Position) -> Position {
    events.first().map_or(end, |event| place(Some(event)).previous())
}

/// Where an event stands.
pub(super) fn place(event: Option<&KeyedEvent>) -> Position {
    event.and_then(|event| event.position).unwrap_or_default()
}
