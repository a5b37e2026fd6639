//! When a running consumer's checkpoint is due, and the save in progress.
//!
//! The next events are handled while a checkpoint is being saved. It names only what was handled
//! before the save began, so it may land late. One save runs at a time, so an older checkpoint
//! never follows a newer one. After a crash, the events of two intervals may come again.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::FutureExt;

use super::checkpoint::ConsumerRecords;
use super::error::ConsumerError;
use crate::event::Position;
use crate::mailroom::Mailroom;

type BoxedFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub(super) struct CheckpointSaver {
    records: ConsumerRecords,
    mailroom: Arc<Mailroom>,
    every: usize,
    interval: Duration,
    /// The position that is saved or being saved.
    saved: Position,
    in_progress: Option<BoxedFuture<Result<(), ConsumerError>>>,
    /// Events handled since the last save began, and since when there is something to save.
    unsaved: usize,
    unsaved_since: Option<Instant>,
    /// Reused for many checkpoints, because a timer costs a task.
    timer: Option<BoxedFuture<()>>,
}

impl CheckpointSaver {
    /// `saved` is the position in the checkpoint. The next is due after `every` events, or an
    /// `interval` after the first of them.
    pub(super) fn new(
        records: ConsumerRecords,
        mailroom: Arc<Mailroom>,
        (every, interval): (usize, Duration),
        saved: Position,
    ) -> Self {
        CheckpointSaver {
            records,
            mailroom,
            every,
            interval,
            saved,
            in_progress: None,
            unsaved: 0,
            unsaved_since: None,
            timer: None,
        }
    }

    /// Counts handled events.
    pub(super) fn count(&mut self, events: usize) {
        self.unsaved += events;
    }

    /// How many events may be handled before the checkpoint is due; at least one.
    pub(super) fn until_due(&self) -> usize {
        self.every.saturating_sub(self.unsaved).max(1)
    }

    /// When the interval of the event in hand ends.
    pub(super) fn due_at(&mut self) -> Instant {
        *self.unsaved_since.get_or_insert_with(Instant::now) + self.interval
    }

    pub(super) fn is_due(&mut self) -> bool {
        self.unsaved >= self.every || Instant::now() >= self.due_at()
    }

    /// Ready when the interval is over, or when the save in progress failed.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConsumerError>> {
        if let Some(saving) = &mut self.in_progress
            && let Poll::Ready(saved) = saving.poll_unpin(cx)
        {
            self.in_progress = None;
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

    /// Begins to save `position`, after the save in progress has ended.
    pub(super) async fn begin(&mut self, position: Position) -> Result<(), ConsumerError> {
        self.settled().await?;
        if position > self.saved {
            let records = self.records.clone();
            let mut saving: BoxedFuture<_> =
                Box::pin(async move { records.save_position(position).await });
            match saving.as_mut().now_or_never() {
                Some(saved) => saved?,
                None => self.in_progress = Some(saving),
            }
            self.saved = position;
        }
        self.unsaved = 0;
        self.unsaved_since = None;
        Ok(())
    }

    /// Saves `position` and waits for it.
    pub(super) async fn finish(&mut self, position: Position) -> Result<(), ConsumerError> {
        self.begin(position).await?;
        self.settled().await
    }

    async fn settled(&mut self) -> Result<(), ConsumerError> {
        match self.in_progress.take() {
            Some(saving) => saving.await,
            None => Ok(()),
        }
    }
}
