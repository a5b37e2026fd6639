//! The loop of a concurrent consumer: several events at once, ordered by aggregate.
//!
//! ```text
//! feed ─▶ page ─▶ wanted? ─▶ lanes ─▶ handlers, n at once ─▶ finished ─▶ checkpoint
//!                              ▲         └ failed: rests, is parked, or stops all
//!                              └─────────────┘
//! ```
//!
//! Events of one aggregate wait for each other ([`Lanes`]), and others do not wait for them. The
//! checkpoint names a position up to which all is finished, so a crash repeats what was finished
//! behind an unfinished event, and loses nothing. How far that may be is bounded by [`WINDOW`].
//!
//! Whatever concerns the order of all events waits until nothing is in hand: an event that cannot
//! be read, and requests about parked aggregates.

use std::pin::{Pin, pin};
use std::task::Poll;

use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, future::poll_fn};
use tokio::sync::mpsc;

use super::error::ConsumerError;
use super::feed::{Feed, Source};
use super::handler::FailedAttempt;
use super::lanes::Lanes;
use super::options::ErrorAction;
use super::progress::ParkedRequest;
use super::worker::{GivenUp, PAGE_EVENTS, RunEnd, Worker, position_of};
use crate::event::{AggregateKey, KeyedEvent};

/// No more pages are read while so many events stand between the checkpoint and what was read.
const WINDOW: usize = 1_000;

type Requests = mpsc::UnboundedReceiver<ParkedRequest>;

/// What ends in a lane.
enum Ended {
    Handled(AggregateKey, Option<FailedAttempt>),
    /// The pause before another attempt is over.
    Rested(AggregateKey),
}

/// What the loop learns next.
enum Happened {
    /// The consumer may be paused or stopped.
    Again,
    Save,
    Ended(Ended),
    Parked(ParkedRequest),
    Page(Vec<KeyedEvent>),
}

/// The events in hand, and the handlers at work on them.
struct Crew {
    lanes: Lanes,
    at_work: FuturesUnordered<Pin<Box<dyn Future<Output = Ended> + Send>>>,
    /// Those of them that handle an event; the others rest.
    handlers: usize,
}

impl Worker {
    pub(super) async fn work_concurrently(
        &mut self,
        requests: &mut Requests,
    ) -> Result<(), RunEnd> {
        let mailroom = self.plan.mailroom().clone();
        let mut feed = Feed::new(mailroom, Source::Log(self.position.plus(1)));
        let lanes = Lanes::new(self.position, self.plan.options.pause);
        let mut crew = Crew { lanes, at_work: FuturesUnordered::new(), handlers: 0 };
        loop {
            match self.turn(&mut crew, Some((&mut feed, requests))).await? {
                Some(Happened::Page(events)) => self.spread(&mut crew, events).await?,
                Some(Happened::Parked(request)) => {
                    self.finish_all(&mut crew).await?;
                    self.answer(request).await?;
                }
                _ => {}
            }
        }
    }

    /// Starts what can be started, and waits for what happens next. Returns what comes from
    /// `input`.
    async fn turn(
        &mut self,
        crew: &mut Crew,
        mut input: Option<(&mut Feed, &mut Requests)>,
    ) -> Result<Option<Happened>, RunEnd> {
        if self.progress.is_stopped() || self.progress.is_paused() {
            self.come_to_rest(crew).await?;
            self.wait_while_paused().await?;
            return if self.progress.is_stopped() { Err(RunEnd::Stopped) } else { Ok(None) };
        }
        self.start_ready(crew);
        let progress = self.progress.clone();
        let mut stop = pin!(progress.stop.notified());
        let happened = poll_fn(|cx| {
            if stop.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(Happened::Again));
            }
            let ended = progress.handle_now(|| crew.at_work.poll_next_unpin(cx));
            if let Poll::Ready(Some(ended)) = ended {
                return Poll::Ready(Ok(Happened::Ended(ended)));
            }
            if let Poll::Ready(due) = self.saver.poll_due(cx) {
                return Poll::Ready(due.map(|()| Happened::Save).map_err(RunEnd::from));
            }
            let Some((feed, requests)) = &mut input else { return Poll::Pending };
            if let Poll::Ready(Some(request)) = requests.poll_recv(cx) {
                return Poll::Ready(Ok(Happened::Parked(request)));
            }
            if crew.lanes.len() >= WINDOW {
                return Poll::Pending;
            }
            feed.poll_page(cx, PAGE_EVENTS).map(|page| match page {
                None => Err(RunEnd::Stopped),
                Some(Ok(events)) => Ok(Happened::Page(events)),
                Some(Err(error)) => Err(ConsumerError::from(error).into()),
            })
        });
        match happened.await {
            Ok(Happened::Again) => Ok(None),
            Ok(Happened::Save) => Ok(self.saver.begin(self.position).await.map(|()| None)?),
            Ok(Happened::Ended(ended)) => self.take_ended(crew, ended).await.map(|()| None),
            Ok(from_input) => Ok(Some(from_input)),
            Err(end) => self.come_to_rest(crew).await.and(Err(end)),
        }
    }

    fn start_ready(&mut self, crew: &mut Crew) {
        while crew.handlers < self.plan.options.concurrency
            && let Some((event, attempt)) = crew.lanes.take_ready()
        {
            let (key, hook) = (event.key.clone(), self.plan.error_hook.clone());
            let handler = &mut self.handler;
            let handling = self.progress.handle_now(|| handler.start(event, attempt, hook));
            crew.handlers += 1;
            crew.at_work.push(Box::pin(handling.map(|failed| Ended::Handled(key, failed))));
        }
    }

    async fn take_ended(&mut self, crew: &mut Crew, ended: Ended) -> Result<(), RunEnd> {
        let (key, failed) = match ended {
            Ended::Handled(key, failed) => (key, failed),
            Ended::Rested(key) => {
                crew.lanes.again(key);
                return Ok(());
            }
        };
        crew.handlers -= 1;
        let Some(FailedAttempt { reason, action }) = failed else {
            crew.lanes.finish(&key);
            return self.advance_to_handled(crew).await;
        };
        let Some((event, attempt)) = crew.lanes.first(&key) else { return Ok(()) };
        let (consumer, position) = (&*self.plan.name, position_of(Some(&event)));
        tracing::warn!(consumer, %position, attempt, reason, "an event was not handled");
        // A closed store fails what its handlers ask of it, which says nothing of the event.
        if self.plan.mailroom().is_closed() {
            return self.come_to_rest(crew).await.and(Err(RunEnd::Stopped));
        }
        let action = self.action_after(action, attempt);
        if action == ErrorAction::Retry {
            self.progress.count_retry();
            let pause = crew.lanes.failed(&key, self.plan.options.longest_pause);
            let rest = self.plan.mailroom().sleep(pause);
            crew.at_work.push(Box::pin(rest.map(|()| Ended::Rested(key))));
            return Ok(());
        }
        let given_up = GivenUp { attempts: attempt, reason, action };
        if let Err(end) = self.give_up(&event, given_up).await {
            return self.come_to_rest(crew).await.and(Err(end));
        }
        match action {
            ErrorAction::Park => crew.lanes.abandon(&key),
            _ => crew.lanes.finish(&key),
        }
        self.advance_to_handled(crew).await
    }

    /// Waits for the handlers that are at work, and starts none.
    async fn come_to_rest(&mut self, crew: &mut Crew) -> Result<(), RunEnd> {
        let progress = self.progress.clone();
        while crew.handlers > 0
            && let Some(ended) = progress.handle(crew.at_work.next()).await
        {
            match ended {
                Ended::Rested(key) => crew.lanes.again(key),
                Ended::Handled(key, failed) => {
                    crew.handlers -= 1;
                    match failed {
                        None => crew.lanes.finish(&key),
                        // If the consumer goes on, the next attempt comes at once.
                        Some(_) => {
                            crew.lanes.failed(&key, self.plan.options.longest_pause);
                            crew.lanes.again(key);
                        }
                    }
                }
            }
        }
        self.advance_to_handled(crew).await
    }

    /// Goes on until nothing is in hand.
    async fn finish_all(&mut self, crew: &mut Crew) -> Result<(), RunEnd> {
        while !crew.lanes.is_empty() {
            self.turn(crew, None).await?;
        }
        Ok(())
    }

    /// Puts the events of a page into their lanes.
    async fn spread(&mut self, crew: &mut Crew, events: Vec<KeyedEvent>) -> Result<(), RunEnd> {
        let last = position_of(events.last());
        let mut events = events.into_iter();
        loop {
            let (wanted, unreadable) = self.pick(&mut events);
            let end = unreadable.as_ref().map_or(last, |event| event.position.previous());
            for event in wanted {
                match self.is_parked(&event) {
                    true => crew.lanes.skip(1),
                    false => crew.lanes.push(event),
                }
            }
            crew.lanes.read_to(end);
            self.advance_to_handled(crew).await?;
            match unreadable {
                None => return Ok(()),
                Some(unreadable) => {
                    self.finish_all(crew).await?;
                    self.take_unreadable(unreadable).await?;
                }
            }
        }
    }

    async fn advance_to_handled(&mut self, crew: &mut Crew) -> Result<(), RunEnd> {
        let handled = crew.lanes.handled();
        let events = if handled > self.position { crew.lanes.take_finished() } else { 0 };
        Ok(self.advance(handled, events).await?)
    }
}
