//! The checkpoint of a consumer at work: when it is due, and while it is on its way.
//!
//! The next events are handled while a checkpoint is being saved; it only ever says what was handled before it
//! left, so it may come late. One is on its way at a time: after a crash, the events of two intervals may come
//! again, and an older checkpoint never follows a newer one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use super::checkpoint::Checkpoints;
use super::error::ConsumerError;
use crate::event::Position;
use crate::mailroom::Mailroom;

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub(super) struct Saving {
    checkpoints: Checkpoints,
    mailroom: Arc<Mailroom>,
    every: usize,
    interval: Duration,
    /// The position that is saved, or on its way.
    saved: Position,
    on_its_way: Option<Work<Result<(), ConsumerError>>>,
    /// Events handled since a checkpoint left, and since when there is something to save.
    unsaved: usize,
    unsaved_since: Option<Instant>,
    /// When it is time to look whether there is something to save. One for many, because it costs a task.
    timer: Option<Work<()>>,
}

impl Saving {
    /// `saved` is what the checkpoint says; it is due after `every` events, or an `interval` after the first.
    pub(super) fn new(
        checkpoints: Checkpoints,
        mailroom: Arc<Mailroom>,
        (every, interval): (usize, Duration),
        saved: Position,
    ) -> Self {
        Saving {
            checkpoints,
            mailroom,
            every,
            interval,
            saved,
            on_its_way: None,
            unsaved: 0,
            unsaved_since: None,
            timer: None,
        }
    }

    /// So many events more are handled.
    pub(super) fn count(&mut self, events: usize) {
        self.unsaved += events;
    }

    /// How many events may be handled before it is due; one at least.
    pub(super) fn until_due(&self) -> usize {
        self.every.saturating_sub(self.unsaved).max(1)
    }

    /// Something is being handled: when the interval is over.
    pub(super) fn due_at(&mut self) -> Instant {
        *self.unsaved_since.get_or_insert_with(Instant::now) + self.interval
    }

    pub(super) fn is_due(&mut self) -> bool {
        self.unsaved >= self.every || Instant::now() >= self.due_at()
    }

    /// Ready when the interval is over, or when the checkpoint on its way failed.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConsumerError>> {
        if let Some(saving) = &mut self.on_its_way
            && let Poll::Ready(saved) = saving.poll_unpin(cx)
        {
            self.on_its_way = None;
            if saved.is_err() {
                return Poll::Ready(saved);
            }
        }
        while let Some(since) = self.unsaved_since {
            let left = self.interval.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Poll::Ready(Ok(()));
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(self.mailroom.sleep(left)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.timer = None;
            if self.mailroom.is_closed() {
                return Poll::Pending;
            }
        }
        Poll::Pending
    }

    /// Sends off a checkpoint that says `position`, after the one on its way has arrived.
    pub(super) async fn begin(&mut self, position: Position) -> Result<(), ConsumerError> {
        self.arrived().await?;
        if position > self.saved {
            let checkpoints = self.checkpoints.clone();
            let mut saving: Work<_> =
                Box::pin(async move { checkpoints.save_position(position).await });
            match saving.as_mut().now_or_never() {
                Some(saved) => saved?,
                None => self.on_its_way = Some(saving),
            }
            self.saved = position;
        }
        self.unsaved = 0;
        self.unsaved_since = None;
        Ok(())
    }

    /// Saves a checkpoint that says `position`, and waits for it.
    pub(super) async fn finish(&mut self, position: Position) -> Result<(), ConsumerError> {
        self.begin(position).await?;
        self.arrived().await
    }

    async fn arrived(&mut self) -> Result<(), ConsumerError> {
        match self.on_its_way.take() {
            Some(saving) => saving.await,
            None => Ok(()),
        }
    }
}
