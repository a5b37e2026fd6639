//! The log of a store: every event in commit order, read once, up to the end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use futures_core::Stream;
use futures_util::StreamExt;

use super::filter::{Filter, filter_methods};
use crate::driver::{LogFetch, LogStore};
use crate::error::{NoLog, ReadError};
use crate::event::{KeyedEvent, Position, Timestamp};
use crate::mailroom::Mailroom;
use crate::store::EventStore;

/// The log of a store, from [`EventStore::log`](crate::EventStore::log). Cheap to clone. Does not
/// hold the store open.
///
/// ```
/// # use seriatim::{Append, EventStore, NewEvent};
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// # for key in ["light/1", "door/1", "light/2"] {
/// #     store.append(Append::to(key).event(NewEvent::raw("Opened", "{}"))).await?;
/// # }
/// let log = store.log()?;
/// assert_eq!(log.last_position()?, 3);
///
/// let mut lights = log.read().category("light").from(2);
/// while let Some(event) = lights.next().await {
///     let event = event?;
///     println!("{:?} {}", event.position, event.key); // 3 light/2
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Log {
    mailroom: Arc<Mailroom>,
}

impl EventStore {
    /// The log: every event of the store in commit order, by position.
    ///
    /// # Errors
    ///
    /// [`NoLog`] if the driver keeps none; it names the drivers that do.
    pub fn log(&self) -> Result<Log, NoLog> {
        Log::new(self.mailroom().clone())
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Log {
    fn new(mailroom: Arc<Mailroom>) -> Result<Self, NoLog> {
        match mailroom.driver.log() {
            Some(_) => Ok(Log { mailroom }),
            None => Err(NoLog::default()),
        }
    }

    /// The events in commit order, as a stream. [`LogRead`] sets its start, direction and length.
    pub fn read(&self) -> LogRead {
        LogRead {
            mailroom: self.mailroom.clone(),
            filter: Filter::default(),
            from: ReadStart::Edge,
            backwards: false,
            left: usize::MAX,
            state: LogReadState::New,
            page: Vec::new().into_iter(),
        }
    }

    /// The position of the last readable event; 0 if there is none.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn last_position(&self) -> Result<Position, ReadError> {
        last_position(&self.mailroom)
    }

    /// The position of the first event that was recorded at this time or later; one after the last
    /// position if there is none yet. Recorded-at never decreases along positions, so this is a
    /// binary search.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn position_at(&self, time: impl Into<Timestamp>) -> Result<Position, ReadError> {
        position_at(&self.mailroom, time.into())
    }
}

/// The log of the mailroom's driver.
pub(crate) fn log_of(mailroom: &Mailroom) -> Result<&dyn LogStore, ReadError> {
    if mailroom.is_closed() {
        return Err(ReadError::Closed);
    }
    mailroom.driver.log().ok_or(ReadError::NoLog(NoLog::default()))
}

pub(crate) fn last_position(mailroom: &Mailroom) -> Result<Position, ReadError> {
    log_of(mailroom)?.last_position().map_err(ReadError::from_driver)
}

fn position_at(mailroom: &Mailroom, time: Timestamp) -> Result<Position, ReadError> {
    let log = log_of(mailroom)?;
    // Every event before `low` was recorded before the time, and none from `high` on.
    let (mut low, mut high) = (1, last_position(mailroom)?.get() + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let page = log.log_page_now(LogFetch::ALL.from(middle).limit(1));
        let page = page.map_err(ReadError::from_driver)?;
        match page.events.first() {
            Some(event) if event.recorded_at < time => low = middle + 1,
            _ => high = middle,
        }
    }
    Ok(Position::new(low))
}

/// Where reading begins.
#[derive(Clone, Copy, Debug)]
enum ReadStart {
    /// The first event, or backwards the last.
    Edge,
    Position(Position),
    Time(Timestamp),
}

#[derive(Debug)]
enum LogReadState {
    New,
    Page(LogFetch),
    Ended,
}

/// Events of the log in commit order, as a stream. It begins when it is first polled; options set
/// after that have no effect. It ends after the last event, also if that was appended while it
/// read.
///
/// It reads a page at a time, in the reader's own thread, and keeps no more than that in memory.
/// Events come in their latest form ([`Builder::upcaster`](crate::Builder::upcaster)). To wait for
/// new events, [subscribe](crate::EventStore::subscribe).
///
/// ```
/// use seriatim::{Append, EventStore, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// for key in ["light/1", "door/1", "light/2"] {
///     store.append(Append::to(key).event(NewEvent::raw("Opened", "{}"))).await?;
/// }
/// let last = store.log()?.read().category("light").backwards().limit(1).collect().await?;
/// assert_eq!(last[0].key.as_str(), "light/2");
/// # Ok(()) }
/// ```
#[must_use = "a stream does nothing until it is polled"]
pub struct LogRead {
    mailroom: Arc<Mailroom>,
    filter: Filter,
    from: ReadStart,
    backwards: bool,
    left: usize,
    state: LogReadState,
    page: vec::IntoIter<KeyedEvent>,
}

impl LogRead {
    filter_methods!(filter);

    /// Begins with this position, or with the next one in the direction of reading.
    pub fn from(mut self, position: impl Into<Position>) -> Self {
        self.from = ReadStart::Position(position.into());
        self
    }

    /// Begins with the first event recorded at this time or later; backwards, with the last one
    /// recorded at this time or earlier.
    pub fn from_time(mut self, time: impl Into<Timestamp>) -> Self {
        self.from = ReadStart::Time(time.into());
        self
    }

    /// From the last event to the first.
    pub fn backwards(mut self) -> Self {
        self.backwards = true;
        self
    }

    /// No more events than this.
    pub fn limit(mut self, events: usize) -> Self {
        self.left = events;
        self
    }

    /// The next event; `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<KeyedEvent, ReadError>> {
        StreamExt::next(self).await
    }

    /// The remaining events, in one vector.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn collect(mut self) -> Result<Vec<KeyedEvent>, ReadError> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event?);
        }
        Ok(events)
    }

    fn start(&self) -> Result<LogFetch, ReadError> {
        let mut fetch = LogFetch::ALL;
        fetch.backwards = self.backwards;
        fetch.from = match (self.from, self.backwards) {
            (ReadStart::Edge, _) => None,
            (ReadStart::Position(position), _) => Some(position),
            (ReadStart::Time(time), false) => Some(position_at(&self.mailroom, time)?),
            (ReadStart::Time(time), true) => {
                let after = Timestamp::from_micros(time.as_micros().saturating_add(1));
                Some(position_at(&self.mailroom, after)?.previous())
            }
        };
        Ok(fetch)
    }

    /// Reads a page. True if there may be more after it.
    fn read_page(&mut self) -> Result<bool, ReadError> {
        let fetch = match &self.state {
            LogReadState::Ended => return Ok(false),
            LogReadState::New => self.start()?,
            LogReadState::Page(fetch) => *fetch,
        };
        let page = log_of(&self.mailroom)?.log_page_now(fetch).map_err(ReadError::from_driver)?;
        let last = page.events.last().and_then(|event| event.position);
        self.page = page.events.into_iter();
        self.state = match last {
            Some(last) if !self.backwards => LogReadState::Page(fetch.from(last.plus(1))),
            Some(last) if last.get() > 1 => LogReadState::Page(fetch.from(last.previous())),
            _ => LogReadState::Ended,
        };
        Ok(!matches!(self.state, LogReadState::Ended))
    }

    fn end(&mut self) {
        self.state = LogReadState::Ended;
        self.page = Vec::new().into_iter();
    }
}

impl Stream for LogRead {
    type Item = Result<KeyedEvent, ReadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if this.left == 0 {
                return Poll::Ready(None);
            }
            for event in this.page.by_ref() {
                if let Some(picked) = this.filter.pick(&this.mailroom.config.upcasters, event) {
                    if picked.is_err() {
                        this.end();
                    }
                    this.left -= 1;
                    return Poll::Ready(Some(picked));
                }
            }
            let began = !matches!(this.state, LogReadState::New);
            match this.read_page() {
                Err(error) => {
                    this.end();
                    return Poll::Ready(Some(Err(error)));
                }
                Ok(false) if this.page.as_slice().is_empty() => return Poll::Ready(None),
                // Other tasks of this thread get their turn between two pages.
                Ok(_) if began => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(_) => {}
            }
        }
    }
}
