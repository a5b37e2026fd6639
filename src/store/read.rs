//! Reading: streams of events and of keys.
//!
//! A page at a time. Where the driver answers at once, the page is read when the reader asks for it, in
//! the reader's own thread. Otherwise a task on the store's runtime reads ahead into a channel of
//! [`PAGES_AHEAD`] pages, and ends when the stream is dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::vec;

use futures_core::Stream;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;

use super::closed_or_failed;
use crate::driver::{DriverError, EventPage, Fetch};
use crate::error::ReadError;
use crate::event::{AggregateKey, KeyError, KeyedEvent, Sequence};
use crate::mailroom::Mailroom;
use crate::middleware::{Chain, FetchRequest, NextFetch};

const PAGES_AHEAD: usize = 2;

/// The events of one aggregate, in sequence order: a stream, which begins when first polled. What is set
/// after that has no effect.
///
/// ```
/// # use seriatim::{Append, EventStore, NewEvent};
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// # for _ in 0..5 { store.append(Append::to("a").event(NewEvent::raw("E", "{}"))).await?; }
/// let mut latest = store.read("a").backwards().limit(2);
/// while let Some(event) = latest.next().await {
///     println!("{}", event?.sequence); // 5, 4
/// }
/// let rest = store.read("a").from(4).collect().await?;
/// assert_eq!(rest.len(), 2);
/// # Ok(()) }
/// ```
#[must_use = "a stream does nothing until it is polled"]
pub struct Read {
    mailroom: Arc<Mailroom>,
    middleware: Chain,
    key: Result<AggregateKey, KeyError>,
    from: Option<Sequence>,
    fetch: Fetch,
    state: State,
    page: vec::IntoIter<KeyedEvent>,
}

enum State {
    New,
    /// The driver answers at once; this is what to ask for next.
    Direct(Fetch),
    Channel(mpsc::Receiver<Result<Vec<KeyedEvent>, ReadError>>),
    /// A page on its way through the middleware, and what it was fetched by.
    Wrapped(Fetch, Pin<Box<dyn Future<Output = Result<EventPage, ReadError>> + Send>>),
    Ended,
}

impl Read {
    pub(super) fn new(
        mailroom: Arc<Mailroom>,
        middleware: Chain,
        key: Result<AggregateKey, KeyError>,
    ) -> Self {
        Read {
            mailroom,
            middleware,
            key,
            from: None,
            fetch: Fetch::ALL,
            state: State::New,
            page: Vec::new().into_iter(),
        }
    }

    /// Begins with this sequence (or, if it is not there, the next one in the direction of reading).
    pub fn from(mut self, sequence: impl Into<Sequence>) -> Self {
        self.from = Some(sequence.into());
        self
    }

    /// From the latest event to the first.
    pub fn backwards(mut self) -> Self {
        self.fetch.backwards = true;
        self
    }

    /// No more events than this.
    pub fn limit(mut self, events: usize) -> Self {
        self.fetch.limit = Some(events);
        self
    }

    /// The next event; `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<KeyedEvent, ReadError>> {
        StreamExt::next(self).await
    }

    /// All events that are left, in one vector.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn collect(mut self) -> Result<Vec<KeyedEvent>, ReadError> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event?);
            if self.mailroom.config.upcasters.is_empty() {
                events.extend(self.page.by_ref());
            }
        }
        Ok(events)
    }

    fn start(&mut self) -> Result<State, ReadError> {
        let key = self.key.clone().map_err(ReadError::InvalidKey)?;
        if self.mailroom.is_closed() {
            return Err(ReadError::Closed);
        }
        let mut fetch = self.fetch;
        fetch.after = match (self.from, fetch.backwards) {
            (None, _) => None,
            (Some(from), false) => Some(from.previous()),
            (Some(from), true) => Some(from.next()),
        };
        if !self.middleware.is_empty() {
            return Ok(self.wrapped(key, fetch));
        }
        if let Some(state) = self.page_now(&key, fetch) {
            return state;
        }
        let pages = self.mailroom.driver.fetch_events(&key, fetch);
        Ok(State::Channel(forward(&self.mailroom, pages)))
    }

    /// Reads a page in this thread, if the driver can; the state says what comes after it.
    fn page_now(&mut self, key: &AggregateKey, fetch: Fetch) -> Option<Result<State, ReadError>> {
        let page = match self.mailroom.driver.fetch_page_now(key, fetch)? {
            Ok(page) => page,
            Err(error) => return Some(Err(closed_or_failed(error))),
        };
        let next = rest(fetch, &page).map_or(State::Ended, State::Direct);
        self.page = page.events.into_iter();
        Some(Ok(next))
    }

    fn wrapped(&self, key: AggregateKey, fetch: Fetch) -> State {
        let (mailroom, chain) = (self.mailroom.clone(), self.middleware.clone());
        let page = async move {
            let end = move |request: FetchRequest| fetch_page(mailroom, request).boxed();
            NextFetch::new(&chain, Box::new(end)).run(FetchRequest::new(key, fetch)).await
        };
        State::Wrapped(fetch, page.boxed())
    }
}

impl Stream for Read {
    type Item = Result<KeyedEvent, ReadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(event) = this.page.next() {
                let event = this.mailroom.config.upcasters.apply(event);
                return Poll::Ready(Some(event.map_err(|e| {
                    this.state = State::Ended;
                    this.page = Vec::new().into_iter();
                    ReadError::Upcast(Box::new(e))
                })));
            }
            let next = match &mut this.state {
                State::Ended => return Poll::Ready(None),
                State::New => this.start(),
                State::Direct(fetch) => match (&this.key, *fetch) {
                    (Ok(key), fetch) => {
                        let key = key.clone();
                        this.page_now(&key, fetch).unwrap_or(Ok(State::Ended))
                    }
                    (Err(_), _) => Ok(State::Ended),
                },
                State::Wrapped(fetch, page) => {
                    let fetch = *fetch;
                    match (ready!(page.as_mut().poll(cx)), &this.key) {
                        (Ok(page), Ok(key)) => {
                            let rest = rest(fetch, &page);
                            let next =
                                rest.map_or(State::Ended, |fetch| this.wrapped(key.clone(), fetch));
                            this.page = page.events.into_iter();
                            Ok(next)
                        }
                        (Ok(_), Err(_)) => Ok(State::Ended),
                        (Err(error), _) => Err(error),
                    }
                }
                State::Channel(pages) => match ready!(pages.poll_recv(cx)) {
                    None => Ok(State::Ended),
                    Some(Ok(page)) => {
                        this.page = page.into_iter();
                        continue;
                    }
                    Some(Err(error)) => Err(error),
                },
            };
            match next {
                Ok(state) => this.state = state,
                Err(error) => {
                    this.state = State::Ended;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

/// What is left to fetch behind a page.
fn rest(fetch: Fetch, page: &EventPage) -> Option<Fetch> {
    let last = page.events.last().filter(|_| page.more)?;
    let mut rest = fetch.after(last.sequence);
    rest.limit = fetch.limit.map(|limit| limit.saturating_sub(page.events.len()));
    rest.bounds().map(|_| rest)
}

/// One page, from wherever the driver can be read.
async fn fetch_page(
    mailroom: Arc<Mailroom>,
    request: FetchRequest,
) -> Result<EventPage, ReadError> {
    let FetchRequest { key, fetch, .. } = request;
    if let Some(page) = mailroom.driver.fetch_page_now(&key, fetch) {
        return page.map_err(closed_or_failed);
    }
    let mut pages = forward(&mailroom, mailroom.driver.fetch_events(&key, fetch));
    match pages.recv().await {
        None => Ok(EventPage::default()),
        // Whether more follow is found out by asking behind it.
        Some(page) => page.map(|events| EventPage::new(events, true)),
    }
}

/// The keys with a prefix, in ascending byte order: a stream.
#[must_use = "a stream does nothing until it is polled"]
pub struct Keys {
    pages: mpsc::Receiver<Result<Vec<AggregateKey>, ReadError>>,
    page: vec::IntoIter<AggregateKey>,
}

impl Keys {
    pub(super) fn new(mailroom: &Mailroom, prefix: String) -> Self {
        let pages = forward(mailroom, mailroom.driver.keys(&prefix, None));
        Keys { pages, page: Vec::new().into_iter() }
    }

    /// The next key; `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<AggregateKey, ReadError>> {
        StreamExt::next(self).await
    }

    /// All keys that are left, in one vector.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn collect(mut self) -> Result<Vec<AggregateKey>, ReadError> {
        let mut keys = Vec::new();
        while let Some(key) = self.next().await {
            keys.push(key?);
        }
        Ok(keys)
    }
}

impl Stream for Keys {
    type Item = Result<AggregateKey, ReadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(key) = this.page.next() {
                return Poll::Ready(Some(Ok(key)));
            }
            match ready!(this.pages.poll_recv(cx)) {
                None => return Poll::Ready(None),
                Some(Ok(page)) => this.page = page.into_iter(),
                Some(Err(error)) => {
                    this.pages.close();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

/// Reads the driver's pages on the store's runtime, each within the read deadline, a few ahead of the
/// reader.
fn forward<T: Send + 'static>(
    mailroom: &Mailroom,
    mut pages: Pin<Box<dyn Stream<Item = Result<Vec<T>, DriverError>> + Send>>,
) -> mpsc::Receiver<Result<Vec<T>, ReadError>> {
    let (forward, received) = mpsc::channel(PAGES_AHEAD);
    let deadline = mailroom.config.read_deadline;
    let refuse = forward.clone();
    let reading = async move {
        loop {
            let page = match tokio::time::timeout(deadline, pages.next()).await {
                Ok(None) => return,
                Ok(Some(page)) => page.map_err(closed_or_failed),
                Err(_elapsed) => Err(ReadError::Timeout { deadline }),
            };
            let failed = page.is_err();
            if forward.send(page).await.is_err() || failed {
                return;
            }
        }
    };
    if !mailroom.spawn(reading) {
        let _ = refuse.try_send(Err(ReadError::Closed));
    }
    received
}
