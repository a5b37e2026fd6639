//! From somewhere in the log to its end, and on from there as events come: what subscriptions and consumers
//! share.
//!
//! ```text
//! read a page ─▶ events? ─▶ hand them out, read on behind the last
//!      ▲            └ none: wait for the bell, which is rung after events became readable
//!      └────────────────┘
//! ```
//!
//! There is one way, not one for catching up and one for live: a page is read by position, whether the
//! reader is a million events behind or one. So nothing can be missed or come twice at a switch, and no
//! event waits in memory for a reader. The rings are forgotten *before* a page is read; one that comes
//! after is heard.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::log::log_of;
use crate::driver::{DriverError, EventPage, Fetch, LogFetch, LogListener};
use crate::error::ReadError;
use crate::event::{AggregateKey, KeyedEvent, Position, Sequence};
use crate::mailroom::Mailroom;

/// After a page of more events than this other tasks of the thread get their turn.
const HURRY: usize = 64;

/// What is read.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The log from this position on.
    Log(Position),
    /// One aggregate from this sequence on.
    Aggregate(AggregateKey, Sequence),
}

type Rung = Pin<Box<dyn Future<Output = (LogListener, bool)> + Send>>;

enum Ear {
    /// Nothing was read yet.
    Closed,
    Open(LogListener),
    Waiting(Rung),
}

pub(crate) struct Feed {
    mailroom: Arc<Mailroom>,
    source: Source,
    ear: Ear,
    /// A long page was handed out, and no other task had its turn since.
    hurried: bool,
}

impl Feed {
    pub(crate) fn new(mailroom: Arc<Mailroom>, source: Source) -> Self {
        Feed { mailroom, source, ear: Ear::Closed, hurried: false }
    }

    /// The next page, never empty; at most about `limit` events. `None` when the store closes.
    pub(crate) fn poll_page(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<Option<Result<Vec<KeyedEvent>, ReadError>>> {
        if std::mem::take(&mut self.hurried) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let mut listener = match std::mem::replace(&mut self.ear, Ear::Closed) {
                Ear::Open(listener) => listener,
                Ear::Closed => match log_of(&self.mailroom) {
                    Ok(log) => log.bell().listen(),
                    Err(ReadError::Closed) => return Poll::Ready(None),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
                Ear::Waiting(mut rung) => match rung.as_mut().poll(cx) {
                    Poll::Ready((listener, true)) => listener,
                    Poll::Ready((_, false)) => return Poll::Ready(None),
                    Poll::Pending => {
                        self.ear = Ear::Waiting(rung);
                        return Poll::Pending;
                    }
                },
            };
            listener.begin();
            match self.read(limit) {
                Err(ReadError::Closed) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
                Ok(page) if page.is_empty() => {
                    self.ear = Ear::Waiting(Box::pin(async move {
                        let rung = listener.rung().await;
                        (listener, rung)
                    }));
                }
                Ok(page) => {
                    self.ear = Ear::Open(listener);
                    self.hurried = page.len() > HURRY;
                    return Poll::Ready(Some(Ok(page)));
                }
            }
        }
    }

    fn read(&mut self, limit: usize) -> Result<Vec<KeyedEvent>, ReadError> {
        // Also says whether the store was closed, which closes the driver a moment later.
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

/// A page of an aggregate's events. Drivers with a log are embedded, and read at once.
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
