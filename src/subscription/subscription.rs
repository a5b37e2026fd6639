//! Subscriptions: the events that exist, and then those that follow.

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

/// The most events read at once, which bounds a subscriber's memory.
const PAGE_EVENTS: usize = 1_000;

/// Events in commit order, as a stream without an end, from
/// [`EventStore::subscribe`](crate::EventStore::subscribe). It begins when it is first polled;
/// options set after that have no effect.
///
/// Every event comes exactly once, in order, when it is as durable as an answered append. A slow
/// subscriber holds up no writer and grows no queue: it reads the log a page at a time, when it
/// needs more.
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
    state: SubscriptionState,
    page: vec::IntoIter<KeyedEvent>,
    position: Position,
}

enum SubscriptionState {
    New(Result<Source, ReadError>),
    Reading(Feed),
    Ended,
}

impl EventStore {
    /// A subscription: the events that exist, and then those that follow. [`Subscription`] sets
    /// where it begins. If the driver keeps no log, it yields [`ReadError::NoLog`].
    pub fn subscribe(&self) -> Subscription {
        Subscription::new(self.mailroom().clone())
    }
}

impl Subscription {
    fn new(mailroom: Arc<Mailroom>) -> Self {
        Subscription {
            mailroom,
            filter: Filter::default(),
            state: SubscriptionState::New(Ok(Source::Log(Position::new(1)))),
            page: Vec::new().into_iter(),
            position: Position::default(),
        }
    }

    filter_methods!(filter);

    /// Begins with the first event of the store: the default.
    pub fn from_start(self) -> Self {
        self.from(Position::new(1))
    }

    /// Begins with this position. To continue after an event, use `from(position.plus(1))`. The
    /// stream waits for a position that is not in the log yet.
    pub fn from(mut self, position: impl Into<Position>) -> Self {
        let position = position.into().max(Position::new(1));
        self.state = SubscriptionState::New(Ok(Source::Log(position)));
        self
    }

    /// Begins after the last event that exists now.
    pub fn from_end(mut self) -> Self {
        let last = last_position(&self.mailroom);
        self.state = SubscriptionState::New(last.map(|last| Source::Log(last.plus(1))));
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
        self.state = SubscriptionState::New(key.map(|key| Source::Aggregate(key, from)));
        self
    }

    /// The next event; waits until there is one. `None` when the store closes. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<KeyedEvent, ReadError>> {
        StreamExt::next(self).await
    }

    /// The position of the last event that was handed out or filtered out; 0 before the first. A
    /// subscription from the next position continues where this one is.
    pub fn position(&self) -> Position {
        self.position
    }

    fn end(&mut self) {
        self.state = SubscriptionState::Ended;
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
                SubscriptionState::Ended => return Poll::Ready(None),
                SubscriptionState::New(source) => match source.clone() {
                    Ok(source) => {
                        this.state =
                            SubscriptionState::Reading(Feed::new(this.mailroom.clone(), source));
                    }
                    Err(error) => {
                        this.end();
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                SubscriptionState::Reading(feed) => match ready!(feed.poll_page(cx, PAGE_EVENTS)) {
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
