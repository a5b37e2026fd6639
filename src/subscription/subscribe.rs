//! Subscriptions: what is there, and then what comes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::vec;

use futures_core::Stream;
use futures_util::StreamExt;

use super::feed::{Feed, Source};
use super::filter::{Filter, filter_methods};
use super::log::last_position;
use crate::error::ReadError;
use crate::event::{AggregateKey, KeyError, KeyedEvent, Position, Sequence};
use crate::mailroom::Mailroom;
use crate::store::EventStore;

/// A page's events at most: a subscriber keeps no more in memory.
const PAGE_EVENTS: usize = 1_000;

/// Events in commit order, from somewhere on and without an end: a stream, from
/// [`EventStore::subscribe`](crate::EventStore::subscribe), which begins when first polled. What is set after
/// that has no effect.
///
/// Every event comes exactly once, in order, when it is as durable as an answered append. A slow subscriber
/// slows nobody and grows nothing: it reads from the log, a page at a time, whenever it asks for more.
///
/// The stream ends when the store closes, or with an error. It does not hold the store open.
///
/// ```
/// # use seriatim::{Append, EventStore, NewEvent};
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let mut lights = store.subscribe().category("light");
/// store.append(Append::to("light/1").event(NewEvent::raw("SwitchedOn", "{}"))).await?;
///
/// let event = lights.next().await.ok_or("closed")??;
/// assert_eq!((event.key.as_str(), event.event_type()), ("light/1", "SwitchedOn"));
/// # Ok(()) }
/// ```
#[must_use = "a stream does nothing until it is polled"]
pub struct Subscription {
    mailroom: Arc<Mailroom>,
    filter: Filter,
    state: State,
    page: vec::IntoIter<KeyedEvent>,
    position: Position,
}

enum State {
    New(Result<Source, ReadError>),
    Reading(Feed),
    Ended,
}

impl EventStore {
    /// A subscription: the events there are, and then those that come; see [`Subscription`] for where it
    /// begins. Where the driver keeps no log it yields [`ReadError::NoLog`].
    pub fn subscribe(&self) -> Subscription {
        Subscription::new(self.mailroom().clone())
    }
}

impl Subscription {
    fn new(mailroom: Arc<Mailroom>) -> Self {
        Subscription {
            mailroom,
            filter: Filter::default(),
            state: State::New(Ok(Source::Log(Position::new(1)))),
            page: Vec::new().into_iter(),
            position: Position::default(),
        }
    }

    filter_methods!();

    /// Begins with the first event of the store: the default.
    pub fn from_start(self) -> Self {
        self.from(Position::new(1))
    }

    /// Begins with this position; to go on after an event, `from(event_position.plus(1))`. A position that
    /// is not there yet is waited for.
    pub fn from(mut self, position: impl Into<Position>) -> Self {
        let position = position.into().max(Position::new(1));
        self.state = State::New(Ok(Source::Log(position)));
        self
    }

    /// Begins behind the last event there is at this moment.
    pub fn from_end(mut self) -> Self {
        let last = last_position(&self.mailroom);
        self.state = State::New(last.map(|last| Source::Log(last.plus(1))));
        self
    }

    /// Only this aggregate's events, from this sequence on.
    pub fn aggregate<K>(mut self, key: K, from: impl Into<Sequence>) -> Self
    where
        K: TryInto<AggregateKey>,
        KeyError: From<K::Error>,
    {
        let key = key.try_into().map_err(|e| ReadError::InvalidKey(KeyError::from(e)));
        let from = from.into().max(Sequence::FIRST);
        self.state = State::New(key.map(|key| Source::Aggregate(key, from)));
        self
    }

    /// The next event; waits for one where there is none. `None` when the store closes. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<KeyedEvent, ReadError>> {
        StreamExt::next(self).await
    }

    /// The position of the last event that was handed out or passed over by the filter; 0 before the first.
    /// A subscription from the position behind it goes on where this one stands.
    pub fn position(&self) -> Position {
        self.position
    }

    fn end(&mut self) {
        self.state = State::Ended;
        self.page = Vec::new().into_iter();
    }
}

impl Stream for Subscription {
    type Item = Result<KeyedEvent, ReadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            for event in this.page.by_ref() {
                let position = event.position;
                let picked = this.filter.pick(&this.mailroom.config.upcasters, event);
                match picked {
                    Some(Err(error)) => {
                        this.end();
                        return Poll::Ready(Some(Err(error)));
                    }
                    Some(Ok(event)) => {
                        this.position = position.unwrap_or(this.position);
                        return Poll::Ready(Some(Ok(event)));
                    }
                    None => this.position = position.unwrap_or(this.position),
                }
            }
            match &mut this.state {
                State::Ended => return Poll::Ready(None),
                State::New(source) => match source.clone() {
                    Ok(source) => {
                        this.state = State::Reading(Feed::new(this.mailroom.clone(), source));
                    }
                    Err(error) => {
                        this.end();
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                State::Reading(feed) => match ready!(feed.poll_page(cx, PAGE_EVENTS)) {
                    Some(Ok(page)) => this.page = page.into_iter(),
                    last => {
                        this.end();
                        return Poll::Ready(last.and_then(Result::err).map(Err));
                    }
                },
            }
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("position", &self.position).finish_non_exhaustive()
    }
}
