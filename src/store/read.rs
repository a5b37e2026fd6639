//! Streams of events and of keys.
//!
//! A stream reads page by page. Where the driver can answer at once, a page is read in the reader's
//! thread when the reader needs it. Otherwise a task on the store's runtime reads ahead into a
//! channel of [`PAGES_AHEAD`] pages, and ends when the stream is dropped. The task marks the end
//! explicitly: a stream whose task dies before that yields an error instead of a silent end.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::vec;

use futures_core::Stream;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;

use crate::driver::bounded::{NoAnswer, bounded, guarded};
use crate::driver::{Driver, DriverError, EventPage, Fetch};
use crate::error::ReadError;
use crate::event::{AggregateKey, KeyError, KeyedEvent, Sequence};
use crate::mailroom::Mailroom;
use crate::middleware::{FetchRequest, MiddlewareChain, NextFetch};

const PAGES_AHEAD: usize = 2;

/// Pages of events or of keys, from a driver.
type DriverPages<T> = Pin<Box<dyn Stream<Item = Result<Vec<T>, DriverError>> + Send>>;

type FuturePage = Pin<Box<dyn Future<Output = Result<EventPage, ReadError>> + Send>>;

/// The same pages on the reader's side; `None` marks the end.
type Received<T> = mpsc::Receiver<Result<Option<Vec<T>>, ReadError>>;

/// The events of one aggregate, in sequence order: a stream, which begins at its first poll.
/// Options that are set later have no effect.
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
    middleware: MiddlewareChain,
    key: Result<AggregateKey, KeyError>,
    from: Option<Sequence>,
    fetch: Fetch,
    state: ReadState,
    page: vec::IntoIter<KeyedEvent>,
    /// Without upcasters.
    without_upcasters: bool,
}

enum ReadState {
    New,
    /// The next fetch.
    Next(AggregateKey, Fetch),
    Channel(Received<KeyedEvent>),
    /// A page that is passing the middleware.
    Wrapped(AggregateKey, Fetch, FuturePage),
    Ended,
}

impl Read {
    pub(super) fn new(
        mailroom: Arc<Mailroom>,
        middleware: MiddlewareChain,
        key: Result<AggregateKey, KeyError>,
    ) -> Self {
        Read {
            mailroom,
            middleware,
            key,
            from: None,
            fetch: Fetch::ALL,
            state: ReadState::New,
            page: Vec::new().into_iter(),
            without_upcasters: false,
        }
    }

    /// Yields the events as they are stored, without upcasters.
    pub(crate) fn without_upcasters(mut self) -> Self {
        self.without_upcasters = true;
        self
    }

    /// Begins with this sequence, or, if it does not exist, with the next one in reading direction.
    pub fn from(mut self, sequence: impl Into<Sequence>) -> Self {
        self.from = Some(sequence.into());
        self
    }

    /// Reads from the latest event to the first.
    pub fn backwards(mut self) -> Self {
        self.fetch.backwards = true;
        self
    }

    /// Yields at most this many events.
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
        if !self.mailroom.config.upcasters.is_empty() {
            while let Some(event) = self.next().await {
                events.push(event?);
            }
            return Ok(events);
        }
        loop {
            let page = std::mem::take(&mut self.page);
            // A single page becomes the answer without a copy.
            match events.is_empty() {
                true => events = page.collect(),
                false => events.extend(page),
            }
            if !poll_fn(|cx| self.poll_page(cx)).await? {
                return Ok(events);
            }
        }
    }

    /// Goes on to the next page, which may be empty; `false` at the end. Only called when every
    /// event of the previous page was yielded.
    fn poll_page(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ReadError>> {
        let next = match &mut self.state {
            ReadState::Ended => return Poll::Ready(Ok(false)),
            ReadState::New => self.start(),
            ReadState::Next(key, fetch) => {
                let (key, fetch) = (key.clone(), *fetch);
                self.read_on(key, fetch)
            }
            ReadState::Wrapped(key, fetch, page) => {
                let page = ready!(page.as_mut().poll(cx));
                let (key, fetch) = (key.clone(), *fetch);
                page.map(|page| self.take_page(key, fetch, page))
            }
            ReadState::Channel(pages) => match ready!(pages.poll_recv(cx)) {
                Some(Ok(Some(page))) => {
                    self.page = page.into_iter();
                    return Poll::Ready(Ok(true));
                }
                Some(Ok(None)) => Ok(ReadState::Ended),
                Some(Err(error)) => Err(error),
                None => Err(ReadError::Closed),
            },
        };
        let (state, answer) = match next {
            Ok(state) => (state, Ok(true)),
            Err(error) => (ReadState::Ended, Err(error)),
        };
        self.state = state;
        Poll::Ready(answer)
    }

    fn start(&mut self) -> Result<ReadState, ReadError> {
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
        self.read_on(key, fetch)
    }

    /// Reads a page: in this thread if the driver can, else through a channel, and through the
    /// middleware if there is one. Returns the state behind it.
    fn read_on(&mut self, key: AggregateKey, fetch: Fetch) -> Result<ReadState, ReadError> {
        if !self.middleware.is_empty() {
            let page = wrapped_page(self.mailroom.clone(), self.middleware.clone(), &key, fetch);
            return Ok(ReadState::Wrapped(key, fetch, page));
        }
        let Some(page) = self.mailroom.driver.fetch_page_now(&key, fetch) else {
            let fetch_events = move |driver: &dyn Driver| driver.fetch_events(&key, fetch);
            return Ok(ReadState::Channel(forward(&self.mailroom, fetch_events)));
        };
        Ok(self.take_page(key, fetch, page.map_err(ReadError::from_driver)?))
    }

    /// Makes this the current page, and returns the state behind it.
    fn take_page(&mut self, key: AggregateKey, fetch: Fetch, page: EventPage) -> ReadState {
        let rest = page.events.last().filter(|_| page.more).map(|last| {
            let mut rest = fetch.after(last.sequence);
            rest.limit = fetch.limit.map(|limit| limit.saturating_sub(page.events.len()));
            rest
        });
        self.page = page.events.into_iter();
        match rest.filter(|rest| rest.bounds().is_some()) {
            Some(rest) => ReadState::Next(key, rest),
            None => ReadState::Ended,
        }
    }
}

fn wrapped_page(
    mailroom: Arc<Mailroom>,
    chain: MiddlewareChain,
    key: &AggregateKey,
    fetch: Fetch,
) -> FuturePage {
    let request = FetchRequest::new(key.clone(), fetch);
    let page = async move {
        let end = move |request: FetchRequest| fetch_page(mailroom, request).boxed();
        NextFetch::new(&chain, Box::new(end)).run(request).await
    };
    page.boxed()
}

/// Reads one page, in this thread or on the store's runtime.
async fn fetch_page(
    mailroom: Arc<Mailroom>,
    request: FetchRequest,
) -> Result<EventPage, ReadError> {
    let FetchRequest { key, fetch, .. } = request;
    if let Some(page) = mailroom.driver.fetch_page_now(&key, fetch) {
        return page.map_err(ReadError::from_driver);
    }
    // One page and no more: the next page is a fetch of its own, which middleware may change.
    let one_page = move |driver: &dyn Driver| driver.fetch_events(&key, fetch).take(1).boxed();
    let mut pages = forward(&mailroom, one_page);
    match pages.recv().await {
        // Only the next fetch can tell whether more events follow.
        Some(Ok(Some(events))) => Ok(EventPage::new(events, true)),
        Some(Ok(None)) => Ok(EventPage::default()),
        Some(Err(error)) => Err(error),
        None => Err(ReadError::Closed),
    }
}

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read")
            .field("key", &self.key)
            .field("from", &self.from)
            .field("fetch", &self.fetch)
            .finish_non_exhaustive()
    }
}

impl Stream for Read {
    type Item = Result<KeyedEvent, ReadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(event) = this.page.next() {
                if this.without_upcasters {
                    return Poll::Ready(Some(Ok(event)));
                }
                match this.mailroom.config.upcasters.apply(event) {
                    Ok(Some(event)) => return Poll::Ready(Some(Ok(event))),
                    Ok(None) => continue,
                    Err(error) => {
                        this.state = ReadState::Ended;
                        this.page = Vec::new().into_iter();
                        return Poll::Ready(Some(Err(ReadError::Upcast(Box::new(error)))));
                    }
                }
            }
            match ready!(this.poll_page(cx)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

/// The keys with a prefix, in the order of [`Driver::keys`]: a stream.
///
/// ```
/// use seriatim::{Append, EventStore, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// for key in ["light/2", "door/1", "light/1"] {
///     store.append(Append::to(key).event(NewEvent::raw("Opened", "{}"))).await?;
/// }
/// let lights = store.keys("light/").collect().await?;
/// assert_eq!(lights.iter().map(|key| key.as_str()).collect::<Vec<_>>(), ["light/1", "light/2"]);
/// let rest = store.keys("light/").after(&lights[0]).collect().await?;
/// assert_eq!(rest, lights[1..]);
/// # Ok(()) }
/// ```
#[must_use = "a stream does nothing until it is polled"]
pub struct Keys {
    state: KeysState,
    page: vec::IntoIter<AggregateKey>,
}

enum KeysState {
    New { mailroom: Arc<Mailroom>, prefix: String, after: Option<AggregateKey> },
    Reading(Received<AggregateKey>),
    Ended,
}

impl Keys {
    pub(super) fn new(mailroom: Arc<Mailroom>, prefix: String) -> Self {
        let state = KeysState::New { mailroom, prefix, after: None };
        Keys { state, page: Vec::new().into_iter() }
    }

    /// Only the keys that come after this one: continues an earlier listing behind its last key.
    /// Has no effect once the stream was polled.
    pub fn after(mut self, key: &AggregateKey) -> Self {
        if let KeysState::New { after, .. } = &mut self.state {
            *after = Some(key.clone());
        }
        self
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

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = matches!(self.state, KeysState::Ended);
        f.debug_struct("Keys").field("ended", &ended).finish_non_exhaustive()
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
            let last = match &mut this.state {
                KeysState::Ended => return Poll::Ready(None),
                KeysState::New { mailroom, prefix, after } => {
                    let (prefix, after) = (std::mem::take(prefix), after.take());
                    let open = move |driver: &dyn Driver| driver.keys(&prefix, after.as_ref());
                    this.state = KeysState::Reading(forward(mailroom, open));
                    continue;
                }
                KeysState::Reading(pages) => match ready!(pages.poll_recv(cx)) {
                    Some(Ok(Some(page))) => {
                        this.page = page.into_iter();
                        continue;
                    }
                    Some(Ok(None)) => None,
                    Some(Err(error)) => Some(Err(error)),
                    None => Some(Err(ReadError::Closed)),
                },
            };
            this.state = KeysState::Ended;
            return Poll::Ready(last);
        }
    }
}

/// Reads the pages that `open` requests from the driver, on the store's runtime, each within the
/// read deadline, a few ahead of the reader.
fn forward<T: Send + 'static>(
    mailroom: &Mailroom,
    open: impl FnOnce(&dyn Driver) -> DriverPages<T> + Send + 'static,
) -> Received<T> {
    let (forward, received) = mpsc::channel(PAGES_AHEAD);
    let (sender, refuse) = (forward.clone(), forward.clone());
    let (driver, deadline) = (mailroom.driver.clone(), mailroom.config.read_deadline);
    let reading = async move {
        let mut pages = open(&*driver);
        drop(driver);
        loop {
            let page = match bounded(deadline, || pages.next()).await {
                Ok(page) => page.transpose().map_err(ReadError::from_driver),
                Err(no_answer) => Err(read_error(no_answer)),
            };
            let is_last = !matches!(page, Ok(Some(_)));
            if sender.send(page).await.is_err() || is_last {
                return;
            }
        }
    };
    let reading = guarded(|| reading).then(|read| async move {
        if let Err(no_answer) = read {
            let _ = forward.send(Err(read_error(no_answer))).await;
        }
    });
    if !mailroom.spawn(reading) {
        let _ = refuse.try_send(Err(ReadError::Closed));
    }
    received
}

/// The error of a read that the driver did not answer.
pub(super) fn read_error(no_answer: NoAnswer) -> ReadError {
    match no_answer {
        NoAnswer::Panicked => ReadError::Driver(no_answer.to_read()),
        NoAnswer::TimedOut(deadline) => ReadError::Timeout { deadline },
    }
}
