//! The loop of a running consumer.
//!
//! ```text
//! feed ─▶ page ─▶ wanted? parked? ─▶ handler, with retries ─▶ progress ─▶ checkpoint, when due
//!                                       └ failed: stop, or park the aggregate
//! ```
//!
//! One loop does all of it. No two events are handled at once, and their order is that of the log.
//! The checkpoint names only what was handled. A parked aggregate is recorded before the
//! checkpoint passes its event.

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use tokio::sync::mpsc;

use super::checkpoint::{ConsumerRecords, ParkedAggregates};
use super::checkpoint_saver::CheckpointSaver;
use super::error::ConsumerError;
use super::feed::{Feed, Source};
use super::handler::{Chunk, Delivered, Handler, Pace};
use super::log::last_position;
use super::options::{OnFailure, Start};
use super::plan::Plan;
use super::progress::{Progress, RetryRequest};
use crate::error::ReadError;
use crate::event::{KeyedEvent, Position};

/// The most events read at once, which bounds the consumer's memory.
pub(super) const PAGE_EVENTS: usize = 1_000;

/// Why the loop ended.
pub(super) enum RunEnd {
    Stopped,
    Failed(ConsumerError),
}

impl From<ConsumerError> for RunEnd {
    fn from(error: ConsumerError) -> Self {
        match error {
            ConsumerError::Closed => RunEnd::Stopped,
            other => RunEnd::Failed(other),
        }
    }
}

/// What the loop does next.
enum Turn {
    Stop,
    Save,
    Retry(RetryRequest),
    Page(Vec<KeyedEvent>),
}

pub(super) struct Worker {
    pub(super) plan: Plan,
    handler: Box<dyn Handler>,
    progress: Arc<Progress>,
    pub(super) records: ConsumerRecords,
    pub(super) parked: ParkedAggregates,
    /// Everything up to here is handled, parked or not wanted.
    pub(super) position: Position,
    saver: CheckpointSaver,
    /// Events up to here may have been delivered in an earlier run.
    earlier_to: Position,
    /// The handler stores the position itself, and the checkpoint is not used.
    keeps_own_position: bool,
}

impl Worker {
    pub(super) async fn begin(
        plan: Plan,
        mut handler: Box<dyn Handler>,
        progress: Arc<Progress>,
    ) -> Result<Self, ConsumerError> {
        let records = plan.records()?;
        let failed = |reason| ConsumerError::Projection { name: plan.name.to_string(), reason };
        let mut parked = records.parked().await?;
        let last = last_position(plan.mailroom())?;
        let begin = match plan.start {
            Start::At(position) => position.previous(),
            Start::End => last,
        };
        let mut stored = records.position().await?;
        if plan.options.rebuild {
            handler.reset().await.map_err(failed)?;
            parked.clear();
            records.save_parked(&parked).await?;
            stored = None;
        }
        let own = handler.own_position().await.map_err(failed)?;
        if stored.is_none() {
            // The start is stored: otherwise a consumer from the end would start later each time.
            records.save_position(begin).await?;
        }
        let stored = stored.unwrap_or(begin);
        let position = own.filter(|own| own.get() > 0).unwrap_or(stored);
        progress.reached(position);
        let options = &plan.options;
        let saver = CheckpointSaver::new(
            records.clone(),
            plan.mailroom().clone(),
            (options.checkpoint_every, options.checkpoint_interval),
            position,
        );
        Ok(Worker {
            plan,
            handler,
            progress,
            records,
            parked,
            position,
            saver,
            earlier_to: last,
            keeps_own_position: own.is_some(),
        })
    }

    pub(super) async fn work(
        &mut self,
        retries: &mut mpsc::UnboundedReceiver<RetryRequest>,
    ) -> Result<(), RunEnd> {
        let mailroom = self.plan.mailroom().clone();
        let mut feed = Feed::new(mailroom, Source::Log(self.position.plus(1)));
        loop {
            match self.next(&mut feed, retries).await? {
                Turn::Stop => return Ok(()),
                Turn::Save => self.saver.begin(self.position).await?,
                Turn::Retry(answer) => match self.retry_parked().await {
                    Ok(retried) => drop(answer.send(Ok(retried))),
                    Err(RunEnd::Stopped) => return Err(RunEnd::Stopped),
                    Err(RunEnd::Failed(error)) => {
                        let _ = answer.send(Err(error.clone()));
                        return Err(RunEnd::Failed(error));
                    }
                },
                Turn::Page(events) => self.take_page(events).await?,
            }
        }
    }

    /// Waits for what to do next.
    async fn next(
        &mut self,
        feed: &mut Feed,
        retries: &mut mpsc::UnboundedReceiver<RetryRequest>,
    ) -> Result<Turn, RunEnd> {
        let progress = self.progress.clone();
        let mut stop = std::pin::pin!(progress.stop.notified());
        std::future::poll_fn(|cx| {
            if progress.is_stopped() || stop.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(Turn::Stop));
            }
            if let Poll::Ready(Some(answer)) = retries.poll_recv(cx) {
                return Poll::Ready(Ok(Turn::Retry(answer)));
            }
            if let Poll::Ready(due) = self.saver.poll_due(cx) {
                return Poll::Ready(due.map(|()| Turn::Save).map_err(RunEnd::from));
            }
            feed.poll_page(cx, PAGE_EVENTS).map(|page| match page {
                None => Err(RunEnd::Stopped),
                Some(Ok(events)) => Ok(Turn::Page(events)),
                Some(Err(error)) => Err(ConsumerError::from(error).into()),
            })
        })
        .await
    }

    async fn take_page(&mut self, events: Vec<KeyedEvent>) -> Result<(), RunEnd> {
        let last = position_of(events.last());
        let (wanted, broken) = self.pick(events);
        // When all wanted events are handled, the page is handled up to here.
        let end = if broken.is_some() { position_of(wanted.last()) } else { last };
        let mut rest = &wanted[..];
        while !rest.is_empty() {
            if self.progress.is_stopped() {
                return Err(RunEnd::Stopped);
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

    /// How many events are delivered together: at most as many as until the next checkpoint.
    fn at_once(&self) -> usize {
        let batch = self.plan.options.batch;
        if self.keeps_own_position { batch } else { batch.min(self.saver.until_due()) }
    }

    /// The wanted events, up to the first that cannot be read.
    pub(super) fn pick(&self, events: Vec<KeyedEvent>) -> (Vec<KeyedEvent>, Option<ReadError>) {
        let upcasters = &self.plan.mailroom().config.upcasters;
        let mut wanted = Vec::with_capacity(events.len());
        for event in events {
            match self.plan.filter.pick(upcasters, event) {
                Some(Ok(event)) => wanted.push(event),
                Some(Err(error)) => return (wanted, Some(error)),
                None => {}
            }
        }
        (wanted, None)
    }

    /// Delivers a chunk or a prefix of it, and parks what fails. Returns how many of its events are
    /// handled.
    async fn take(&mut self, chunk: &[KeyedEvent], through: Position) -> Result<usize, RunEnd> {
        let (handled, failed) = self.deliver(chunk, through, false).await?;
        let Some((attempts, reason)) = failed else { return Ok(handled) };
        let (done, rest) = chunk.split_at(handled);
        let Some(first) = rest.first() else { return Ok(handled) };
        self.advance(before(rest, through), done.len()).await?;
        if self.plan.options.on_failure == OnFailure::Stop {
            return Err(self.failed(first, attempts, reason).into());
        }
        if self.handler.one_by_one() || rest.len() == 1 {
            self.park(first, &reason).await?;
            return Ok(handled + 1);
        }
        // One event of a batch failed. Each is delivered alone to find out which.
        for event in rest {
            if !self.is_parked(event) {
                let one = std::slice::from_ref(event);
                if let (_, Some((_, reason))) =
                    self.deliver(one, position_of(Some(event)), true).await?
                {
                    self.park(event, &reason).await?;
                }
            }
        }
        Ok(chunk.len())
    }

    /// Delivers these events or a prefix of them, with retries and pauses. Returns how many are
    /// handled, and for the one that failed the number of attempts and the last reason.
    pub(super) async fn deliver(
        &mut self,
        events: &[KeyedEvent],
        through: Position,
        repeated: bool,
    ) -> Result<(usize, Option<(u32, String)>), RunEnd> {
        let options = self.plan.options;
        let mut pause = options.pause;
        let mut attempt = 1;
        let mut handled = 0;
        loop {
            let (_, rest) = events.split_at(handled);
            let repeated = repeated || attempt > 1;
            let due = match self.keeps_own_position {
                true => Instant::now() + options.checkpoint_interval,
                false => self.saver.due_at(),
            };
            let delivered = self.handler.deliver(Chunk {
                events: rest,
                through,
                earlier_to: self.earlier_to,
                retried: repeated,
                pace: Pace { progress: &self.progress, due },
            });
            let Delivered { events: more, failed } = delivered.await;
            handled += more;
            let Some(reason) = failed else { return Ok((handled, None)) };
            if more > 0 {
                // This is another event than the one that failed before.
                (attempt, pause) = (1, options.pause);
            }
            let position = position_of(events.get(handled));
            let consumer = &*self.plan.name;
            tracing::warn!(consumer, %position, attempt, reason, "an event was not handled");
            if attempt >= options.attempts {
                return Ok((handled, Some((attempt, reason))));
            }
            if !self.sleep(pause).await {
                // The events before the failed one count as handled.
                self.advance(position.previous(), handled).await?;
                return Err(RunEnd::Stopped);
            }
            pause = (pause * 2).min(options.longest_pause);
            attempt += 1;
        }
    }

    /// False when the consumer is to stop.
    async fn sleep(&mut self, pause: Duration) -> bool {
        if !self.progress.is_stopped() {
            let stop = std::pin::pin!(self.progress.stop.notified());
            let sleep = std::pin::pin!(self.plan.mailroom().sleep(pause));
            let _: Either<_, _> = select(stop, sleep).await;
        }
        !self.progress.is_stopped() && !self.plan.mailroom().is_closed()
    }

    fn failed(&self, event: &KeyedEvent, attempts: u32, reason: String) -> ConsumerError {
        let name = self.plan.name.to_string();
        let (key, position) = (event.key.clone(), position_of(Some(event)));
        ConsumerError::Failed { name, key, position, attempts, reason }
    }

    /// Records that everything up to here is handled.
    async fn advance(&mut self, through: Position, events: usize) -> Result<(), ConsumerError> {
        if through > self.position {
            self.position = through;
            self.saver.count(events);
            self.progress.reached(through);
        }
        if self.keeps_own_position {
            return Ok(());
        }
        match self.saver.is_due() {
            true => self.saver.begin(self.position).await,
            false => Ok(()),
        }
    }

    /// Saves the checkpoint and waits for it.
    pub(super) async fn save(&mut self) -> Result<(), ConsumerError> {
        if self.keeps_own_position {
            return Ok(());
        }
        self.saver.finish(self.position).await
    }
}

/// The position before the first of these events; `end` if there are none.
fn before(events: &[KeyedEvent], end: Position) -> Position {
    events.first().map_or(end, |event| position_of(Some(event)).previous())
}

/// The position of an event; 0 without one.
pub(super) fn position_of(event: Option<&KeyedEvent>) -> Position {
    event.and_then(|event| event.position).unwrap_or_default()
}
