//! Reads the log from a position to its end, and then the events that follow. Subscriptions and
//! consumers share it.
//!
//! ```text
//! read a page ─▶ events? ─▶ hand them out, read on after the last
//!      ▲            └ none: wait for the bell, which rings after events became readable
//!      └────────────────┘
//! ```
//!
//! Catching up and following are one mechanism: each page is read by position, however far the
//! reader is behind. So no event is missed or repeated at a switch, and none waits in memory for a
//! reader. The bell's rings are forgotten *before* a page is read, so every later ring is heard.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::log::log_of;
use crate::driver::{DriverError, EventPage, Fetch, LogFetch, LogListener};
use crate::error::ReadError;
use crate::event::{AggregateKey, KeyedEvent, Position, Sequence};
use crate::mailroom::Mailroom;

/// After a page of more events than this, other tasks of the thread get their turn.
const YIELD_AFTER_EVENTS: usize = 64;

/// What is read.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The log from this position on.
    Log(Position),
    /// One aggregate from this sequence on.
    Aggregate(AggregateKey, Sequence),
}

type Ring = Pin<Box<dyn Future<Output = (LogListener, bool)> + Send>>;

enum BellState {
    /// No page was read yet.
    New,
    Listening(LogListener),
    Waiting(Ring),
}

pub(crate) struct Feed {
    mailroom: Arc<Mailroom>,
    source: Source,
    bell: BellState,
    /// A long page was handed out, and other tasks have not had their turn since.
    must_yield: bool,
}

impl Feed {
    pub(crate) fn new(mailroom: Arc<Mailroom>, source: Source) -> Self {
        Feed { mailroom, source, bell: BellState::New, must_yield: false }
    }

    /// The next page: never empty, and at most about `limit` events. `None` when the store closes.
    pub(crate) fn poll_page(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Option<Result<Vec<KeyedEvent>, ReadError>>> {
        if std::mem::take(&mut self.must_yield) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let mut listener = match std::mem::replace(&mut self.bell, BellState::New) {
                BellState::Listening(listener) => listener,
                BellState::New => match log_of(&self.mailroom) {
                    Ok(log) => log.bell().listen(),
                    Err(ReadError::Closed) => return Poll::Ready(None),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
                BellState::Waiting(mut rung) => match rung.as_mut().poll(cx) {
                    Poll::Ready((listener, true)) => listener,
                    Poll::Ready((_, false)) => return Poll::Ready(None),
                    Poll::Pending => {
                        self.bell = BellState::Waiting(rung);
                        return Poll::Pending;
                    }
                },
            };
            listener.begin();
            match self.read(limit) {
                Err(ReadError::Closed) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
                Ok(page) if page.is_empty() => {
                    self.bell = BellState::Waiting(Box::pin(async move {
                        let rung = listener.rung().await;
                        (listener, rung)
                    }));
                }
                Ok(page) => {
                    self.bell = BellState::Listening(listener);
                    self.must_yield = page.len() > YIELD_AFTER_EVENTS;
                    return Poll::Ready(Some(Ok(page)));
                }
            }
        }
    }

    fn read(&mut self, limit: usize) -> Result<Vec<KeyedEvent>, ReadError> {
        // Fails once the store is closed, which is a moment before the driver is.
        let log = log_of(&self.mailroom)?;
        match &mut self.source {
            Source::Log(next) => {
                let page = log.log_page_now(LogFetch::ALL.from(*next).limit(limit));
                let events = page.map_err(ReadError::from_driver)?.events;
                if let Some((first, last)) = events.first().zip(events.last()) {
                    if first.position != Some(*next) {
                        return Err(ReadError::Driver(gap(*next)));
                    }
                    *next = last.position.unwrap_or(*next).plus(1);
                }
                Ok(events)
            }
            Source::Aggregate(key, next) => {
                let fetch = Fetch::ALL.after(next.previous()).limit(limit);
                let events = aggregate_page(&self.mailroom, key, fetch)?.events;
                *next = events.last().map_or(*next, |event| event.sequence.next());
                Ok(events)
            }
        }
    }
}

/// A page of an aggregate's events. A driver with a log reads it in the caller's thread.
pub(crate) fn aggregate_page(
    mailroom: &Mailroom,
    key: &AggregateKey,
    fetch: Fetch,
) -> Result<EventPage, ReadError> {
    let page = mailroom.driver.fetch_page_now(key, fetch);
    let cannot = || DriverError::unsupported("a driver with a log must read pages at once");
    page.unwrap_or_else(|| Err(cannot())).map_err(ReadError::from_driver)
}

fn gap(position: Position) -> DriverError {
    DriverError::damaged(format!("the log at position {position}: the event is missing"))
}
