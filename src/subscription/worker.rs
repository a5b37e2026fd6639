//! The loop of a running consumer.
//!
//! ```text
//! feed ─▶ page ─▶ wanted? parked? ─▶ handler, with retries ─▶ progress ─▶ checkpoint, when due
//!                                       └ failed: stop, or park the aggregate
//! ```
//!
//! One loop does all of it. No two events are handled at once, and their order is that of the log
//! ([`concurrent`](super::concurrent) is the loop for more).
//! The checkpoint names only what was handled. A parked aggregate is recorded before the
//! checkpoint passes its event.

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use tokio::sync::mpsc;

use super::checkpoint::{ConsumerCheckpoint, ConsumerRecords, ParkedAggregates};
use super::checkpoint_saver::CheckpointSaver;
use super::error::ConsumerError;
use super::feed::{Feed, Source};
use super::handler::{Chunk, Delivered, Handler, Judge, Pace};
use super::log::last_position;
use super::options::{ErrorAction, Start};
use super::plan::ConsumerPlan;
use super::progress::{ConsumerProgress, ParkedRequest};
use crate::error::ReadError;
use crate::event::{AggregateKey, KeyedEvent, Position, Sequence};

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

/// An event that cannot be brought to its latest form.
pub(super) struct Unreadable {
    pub(super) key: AggregateKey,
    pub(super) sequence: Sequence,
    pub(super) position: Position,
    pub(super) error: ReadError,
}

/// Events that failed as often as they may: what is to be done about them, and why.
pub(super) struct GivenUp {
    pub(super) attempts: u32,
    pub(super) reason: String,
    /// `Stop`, `Park` or `Skip`.
    pub(super) action: ErrorAction,
}

/// Which delivery of an event it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    First,
    /// The event may have been delivered in this run.
    Again,
    /// The event is parked, and is retried.
    Parked,
}

/// What the loop does next.
enum Turn {
    Stop,
    /// The consumer may be paused or stopped.
    Again,
    Save,
    Parked(ParkedRequest),
    Page(Vec<KeyedEvent>),
}

pub(super) struct Worker {
    pub(super) plan: ConsumerPlan,
    pub(super) handler: Box<dyn Handler>,
    pub(super) progress: Arc<ConsumerProgress>,
    pub(super) records: ConsumerRecords,
    pub(super) parked: ParkedAggregates,
    /// Everything up to here is handled, parked or not wanted.
    pub(super) position: Position,
    pub(super) saver: CheckpointSaver,
    /// Events up to here may have been delivered in an earlier run.
    earlier_to: Position,
    /// The handler stores the position itself. The checkpoint then only tells others how far it is.
    keeps_own_position: bool,
}

impl Worker {
    pub(super) async fn begin(
        plan: ConsumerPlan,
        mut handler: Box<dyn Handler>,
        progress: Arc<ConsumerProgress>,
    ) -> Result<Self, ConsumerError> {
        let records = plan.records()?;
        let failed = |reason| ConsumerError::Projection { name: plan.name.to_string(), reason };
        let mut parked = records.parked().await?;
        let last = last_position(plan.mailroom())?;
        let begin = match plan.start {
            Start::At(position) => position.previous(),
            Start::End => last,
        };
        let mut stored = records.checkpoint().await?;
        if plan.options.rebuild {
            handler.reset().await.map_err(failed)?;
            parked.clear();
            records.save_parked(&parked).await?;
            stored = None;
        }
        let own = handler.own_position().await.map_err(failed)?;
        let projection = handler.is_projection();
        let name = || plan.name.to_string();
        let checkpoint = match stored {
            Some(stored) if stored.projection && !projection => {
                return Err(ConsumerError::NameOfProjection { name: name() });
            }
            Some(stored) if stored.projection == projection => stored,
            // The start is stored: otherwise a consumer from the end would start later each time.
            _ => {
                let first = ConsumerCheckpoint::new(begin, projection);
                records.save_checkpoint(first).await?;
                first
            }
        };
        let position = match own {
            None => checkpoint.position,
            // An empty read model begins where the first run began.
            Some(own) if own == 0 => checkpoint.begin.unwrap_or(begin),
            Some(own) => own,
        };
        if position > last.max(begin) {
            return Err(ConsumerError::AheadOfLog { name: name(), position, last });
        }
        records.register().await?;
        progress.reached(position);
        progress.set_parked(parked.len());
        let options = &plan.options;
        let saver = CheckpointSaver::new(
            records.clone(),
            plan.mailroom().clone(),
            (options.checkpoint_every, options.checkpoint_interval),
            checkpoint.at(position),
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
        retries: &mut mpsc::UnboundedReceiver<ParkedRequest>,
    ) -> Result<(), RunEnd> {
        if self.plan.options.concurrency > 1 {
            return self.work_concurrently(retries).await;
        }
        let mailroom = self.plan.mailroom().clone();
        let mut feed = Feed::new(mailroom, Source::Log(self.position.plus(1)));
        loop {
            match self.next(&mut feed, retries).await? {
                Turn::Stop => return Ok(()),
                Turn::Save => self.saver.begin(self.position).await?,
                Turn::Again => self.wait_while_paused().await?,
                Turn::Parked(request) => self.answer(request).await?,
                Turn::Page(events) => self.take_page(events).await?,
            }
        }
    }

    /// Does what a handle wants done about parked aggregates.
    pub(super) async fn answer(&mut self, request: ParkedRequest) -> Result<(), RunEnd> {
        let ParkedRequest { action, answer } = request;
        match self.settle(action).await {
            Ok(retried) => {
                let _ = answer.send(Ok(retried));
                Ok(())
            }
            Err(RunEnd::Stopped) => Err(RunEnd::Stopped),
            Err(RunEnd::Failed(error)) => {
                let _ = answer.send(Err(error.clone()));
                Err(RunEnd::Failed(error))
            }
        }
    }

    /// Waits for what to do next.
    async fn next(
        &mut self,
        feed: &mut Feed,
        retries: &mut mpsc::UnboundedReceiver<ParkedRequest>,
    ) -> Result<Turn, RunEnd> {
        let progress = self.progress.clone();
        let mut stop = std::pin::pin!(progress.stop.notified());
        std::future::poll_fn(|cx| {
            if progress.is_stopped() {
                return Poll::Ready(Ok(Turn::Stop));
            }
            if stop.as_mut().poll(cx).is_ready() || progress.is_paused() {
                return Poll::Ready(Ok(Turn::Again));
            }
            if let Poll::Ready(Some(answer)) = retries.poll_recv(cx) {
                return Poll::Ready(Ok(Turn::Parked(answer)));
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
        let mut events = events.into_iter();
        loop {
            let (wanted, unreadable) = self.pick(&mut events);
            // When all wanted events are handled, everything up to here is.
            let end = unreadable.as_ref().map_or(last, |event| event.position.previous());
            self.take_wanted(&wanted, end).await?;
            match unreadable {
                None => return Ok(self.advance(last, 0).await?),
                Some(unreadable) => self.take_unreadable(unreadable).await?,
            }
        }
    }

    async fn take_wanted(&mut self, wanted: &[KeyedEvent], end: Position) -> Result<(), RunEnd> {
        let mut rest = wanted;
        while !rest.is_empty() {
            self.wait_while_paused().await?;
            if self.progress.is_stopped() {
                return Err(RunEnd::Stopped);
            }
            let parked = rest.iter().take_while(|event| self.is_parked(event)).count();
            let handled = match rest.split_at(parked) {
                ([], free) => {
                    let many = free.iter().take(self.at_once());
                    let many = many.take_while(|event| !self.is_parked(event)).count();
                    let (chunk, after) = free.split_at(many);
                    self.take(chunk, before(after, end)).await?
                }
                (parked, _) => parked.len(),
            };
            let (_, after) = rest.split_at(handled);
            self.advance(before(after, end), handled).await?;
            rest = after;
        }
        Ok(self.advance(end, 0).await?)
    }

    /// An event that cannot be read has failed. It is not retried: upcasters are pure.
    pub(super) async fn take_unreadable(&mut self, event: Unreadable) -> Result<(), RunEnd> {
        let Unreadable { key, sequence, position, error } = event;
        if !self.is_parked_from(&key, sequence) {
            let judge = Judge { hook: self.plan.error_hook.as_ref(), attempt: 1 };
            let failed =
                judge.failed((&key, sequence, position), 1, error.to_string(), Some(&error));
            let consumer = &*self.plan.name;
            tracing::warn!(consumer, %position, reason = failed.reason, "an event is unreadable");
            let action = match failed.action {
                ErrorAction::Policy | ErrorAction::Retry => self.plan.options.on_failure.action(),
                action => action,
            };
            match action {
                ErrorAction::Skip => {}
                ErrorAction::Park => {
                    self.park(&key, sequence, position, &failed.reason).await?;
                }
                _ => return Err(ConsumerError::from(error).into()),
            }
        }
        Ok(self.advance(position, 1).await?)
    }

    /// How many events are delivered together: at most as many as until the next checkpoint.
    fn at_once(&self) -> usize {
        let batch = self.plan.options.batch;
        if self.keeps_own_position { batch } else { batch.min(self.saver.until_due()) }
    }

    /// The wanted events, up to the first that cannot be read.
    pub(super) fn pick(
        &self,
        events: &mut impl Iterator<Item = KeyedEvent>,
    ) -> (Vec<KeyedEvent>, Option<Unreadable>) {
        let upcasters = &self.plan.mailroom().config.upcasters;
        let mut wanted = Vec::with_capacity(events.size_hint().0);
        for event in events {
            let (key, sequence) = (event.key.clone(), event.sequence);
            let position = position_of(Some(&event));
            match self.plan.filter.pick(upcasters, event) {
                Some(Ok(event)) => wanted.push(event),
                Some(Err(error)) => {
                    return (wanted, Some(Unreadable { key, sequence, position, error }));
                }
                None => {}
            }
        }
        (wanted, None)
    }

    /// Delivers a chunk or a prefix of it, and parks or skips what fails. Returns how many of its
    /// events are handled.
    async fn take(&mut self, chunk: &[KeyedEvent], through: Position) -> Result<usize, RunEnd> {
        let (handled, given_up) = self.deliver(chunk, through, Delivery::First).await?;
        let Some(given_up) = given_up else { return Ok(handled) };
        let (done, rest) = chunk.split_at(handled);
        let Some(first) = rest.first() else { return Ok(handled) };
        self.advance(before(rest, through), done.len()).await?;
        if given_up.action == ErrorAction::Stop || self.handler.one_by_one() || rest.len() == 1 {
            self.give_up(first, given_up).await?;
            return Ok(handled + 1);
        }
        // One event of a batch failed. Each is delivered alone to find out which.
        for event in rest {
            let at = position_of(Some(event));
            if !self.is_parked(event) {
                let one = std::slice::from_ref(event);
                if let (_, Some(given_up)) = self.deliver(one, at, Delivery::Again).await? {
                    self.give_up(event, given_up).await?;
                }
            }
            self.advance(at, 1).await?;
        }
        Ok(chunk.len())
    }

    /// Parks or skips an event, or ends the consumer.
    pub(super) async fn give_up(
        &mut self,
        event: &KeyedEvent,
        given_up: GivenUp,
    ) -> Result<(), RunEnd> {
        let GivenUp { attempts, reason, action } = given_up;
        let position = position_of(Some(event));
        match action {
            ErrorAction::Skip => {
                let consumer = &*self.plan.name;
                tracing::warn!(consumer, %position, reason, "a failed event is skipped");
                Ok(())
            }
            ErrorAction::Park => self.park(&event.key, event.sequence, position, &reason).await,
            _ => Err(self.failed(event, attempts, reason).into()),
        }
    }

    /// Delivers these events or a prefix of them, with retries and pauses. Returns how many are
    /// handled, and why the next one is given up.
    pub(super) async fn deliver(
        &mut self,
        events: &[KeyedEvent],
        through: Position,
        delivery: Delivery,
    ) -> Result<(usize, Option<GivenUp>), RunEnd> {
        let options = self.plan.options;
        let mut pause = options.pause;
        let mut attempt = 1;
        let mut handled = 0;
        loop {
            let (_, rest) = events.split_at(handled);
            let due = match self.keeps_own_position {
                true => Instant::now() + options.checkpoint_interval,
                false => self.saver.due_at(),
            };
            let delivered = self.handler.deliver(Chunk {
                events: rest,
                through,
                earlier_to: self.earlier_to,
                retried: delivery != Delivery::First || attempt > 1,
                parked: delivery == Delivery::Parked,
                pace: Pace { progress: &self.progress, due },
                judge: Judge { hook: self.plan.error_hook.as_ref(), attempt },
            });
            let Delivered { events: more, failed, must_save } =
                self.progress.handle(delivered).await;
            handled += more;
            if must_save && let Some(last) = handled.checked_sub(1) {
                self.saver.finish(position_of(events.get(last))).await?;
            }
            let Some(failed) = failed else { return Ok((handled, None)) };
            if more > 0 {
                // This is another event than the one that failed before.
                (attempt, pause) = (1, options.pause);
            }
            let position = position_of(events.get(handled));
            let (consumer, reason) = (&*self.plan.name, failed.reason);
            tracing::warn!(consumer, %position, attempt, reason, "an event was not handled");
            // A closed store fails what its handlers ask of it, which says nothing of the event.
            let is_closed = self.plan.mailroom().is_closed();
            let action = self.action_after(failed.action, attempt);
            if action != ErrorAction::Retry && !is_closed {
                return Ok((handled, Some(GivenUp { attempts: attempt, reason, action })));
            }
            if is_closed || !self.sleep(pause).await {
                if delivery != Delivery::Parked {
                    // The events before the failed one count as handled.
                    self.advance(position.previous(), handled).await?;
                }
                return Err(RunEnd::Stopped);
            }
            self.progress.count_retry();
            pause = pause.saturating_mul(2).min(options.longest_pause);
            attempt = attempt.saturating_add(1);
        }
    }

    /// What is done after this attempt, if the error hook says so.
    pub(super) fn action_after(&self, said: ErrorAction, attempt: u32) -> ErrorAction {
        let options = &self.plan.options;
        match said {
            ErrorAction::Policy if attempt < options.attempts => ErrorAction::Retry,
            ErrorAction::Policy => options.on_failure.action(),
            action => action,
        }
    }

    /// Saves the checkpoint and waits, if the consumer is paused.
    pub(super) async fn wait_while_paused(&mut self) -> Result<(), RunEnd> {
        if self.progress.is_paused() && !self.progress.is_stopped() {
            self.saver.finish(self.position).await?;
            while self.progress.is_paused() && !self.progress.is_stopped() {
                self.progress.stop.notified().await;
            }
        }
        Ok(())
    }

    /// False when the consumer is to stop.
    async fn sleep(&mut self, pause: Duration) -> bool {
        let progress = &self.progress;
        let mut sleep = std::pin::pin!(self.plan.mailroom().sleep(pause));
        while !progress.is_stopped() {
            let stop = std::pin::pin!(progress.stop.notified());
            if let Either::Right(_) = select(stop, sleep.as_mut()).await {
                break;
            }
        }
        while progress.is_paused() && !progress.is_stopped() {
            progress.stop.notified().await;
        }
        !self.progress.is_stopped() && !self.plan.mailroom().is_closed()
    }

    fn failed(&self, event: &KeyedEvent, attempts: u32, reason: String) -> ConsumerError {
        let name = self.plan.name.to_string();
        let (key, position) = (event.key.clone(), position_of(Some(event)));
        ConsumerError::Failed { name, key, position, attempts, reason }
    }

    /// Records that everything up to here is handled.
    pub(super) async fn advance(
        &mut self,
        through: Position,
        events: usize,
    ) -> Result<(), ConsumerError> {
        if through > self.position {
            self.position = through;
            self.saver.count(events);
            self.progress.reached(through);
        }
        match self.saver.is_due() {
            true => self.saver.begin(self.position).await,
            false => Ok(()),
        }
    }

    /// Records which aggregates are parked.
    pub(super) async fn save_parked(&mut self) -> Result<(), ConsumerError> {
        self.progress.set_parked(self.parked.len());
        self.records.save_parked(&self.parked).await
    }

    /// Saves the checkpoint and waits for it.
    pub(super) async fn save(&mut self) -> Result<(), ConsumerError> {
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
