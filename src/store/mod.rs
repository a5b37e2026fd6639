//! The handle of a store.
//!
//! A handle is cheap to clone and works from any thread and any async runtime, or none. Appends go
//! through the mailroom. An embedded driver is read in the caller's thread. Any other driver is
//! read on the store's runtime, and its pages cross a bounded channel.

mod append_with;
mod builder;
mod clock;
mod extensions;
#[cfg(feature = "metrics")]
mod metrics;
mod read;
mod stats;

pub use builder::Builder;
pub use read::{Keys, Read};

use extensions::Extensions;
use read::read_error;

use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::oneshot;

use crate::append::{Append, Appended};
use crate::driver::Fetch;
use crate::driver::bounded::bounded;
#[cfg(all(unix, feature = "door"))]
use crate::driver::door::Door;
use crate::error::{AppendError, CloseError, LoadError, ReadError};
use crate::event::{AggregateKey, KeyError, Sequence};
use crate::mailroom::{Clock, Mailroom, Runtime, Wait};
use crate::middleware::{MiddlewareChain, NextAppend};
use crate::stats::StoreStats;
use crate::upcast::Upcasters;

/// An open event store. Clones are handles of the same store. When the last one is dropped, the
/// store closes in the background.
///
/// ```
/// use seriatim::{Append, EventStore, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = EventStore::open("memory:").await?;
/// let append = Append::to("light/1").event(NewEvent::raw("SwitchedOn", "{}"));
/// assert_eq!(store.append(append).await?.last, 1);
/// assert_eq!(store.latest_sequence("light/1").await?, 1);
/// store.close().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct EventStore {
    /// Dropped before the runtime: the socket is gone before another process can open the store.
    #[cfg(all(unix, feature = "door"))]
    door: Option<Arc<Door>>,
    mailroom: Arc<Mailroom>,
    runtime: Arc<Runtime>,
    middleware: MiddlewareChain,
    extensions: Arc<Extensions>,
    #[cfg(feature = "metrics")]
    metrics: Arc<metrics::MetricsPublisher>,
}

impl EventStore {
    fn new(
        mailroom: Arc<Mailroom>,
        runtime: Runtime,
        middleware: MiddlewareChain,
        extensions: Extensions,
        #[cfg(all(unix, feature = "door"))] door: Option<Door>,
        #[cfg(feature = "metrics")] metrics_label: Option<String>,
    ) -> Self {
        let (runtime, extensions) = (Arc::new(runtime), Arc::new(extensions));
        EventStore {
            #[cfg(all(unix, feature = "door"))]
            door: door.map(Arc::new),
            #[cfg(feature = "metrics")]
            metrics: metrics::MetricsPublisher::start(&mailroom, metrics_label),
            mailroom,
            runtime,
            middleware,
            extensions,
        }
    }

    /// Appends one or more events to one aggregate, all or nothing. The answer means that they are
    /// durable. Waits while the aggregate's permits, or the store's bytes in flight, are all taken.
    ///
    /// Cancel-safe: after the future is dropped, the append is written as a whole or not at all.
    /// Repeat it with its commit id to find out which.
    ///
    /// # Errors
    ///
    /// [`AppendError`]; every variant but `Indeterminate` means that nothing was written.
    pub fn append(
        &self,
        append: Append,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send {
        self.append_or_wait(append, Wait::ForRoom)
    }

    /// Like [`EventStore::append`], but fails with [`AppendError::Busy`] instead of waiting for
    /// room.
    ///
    /// # Errors
    ///
    /// [`AppendError`], `Busy` among them.
    pub fn try_append(
        &self,
        append: Append,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send {
        self.append_or_wait(append, Wait::Never)
    }

    /// A stale append is refused before it moves into a second future: the move would be three
    /// tenths of the cost of the refusal.
    async fn append_or_wait(&self, append: Append, wait: Wait) -> Result<Appended, AppendError> {
        if self.middleware.is_empty() {
            let resident = self.mailroom.lease_unless_stale(&append)?;
            return self.mailroom.append(append, resident, wait).await;
        }
        let end = move |append| {
            let appending = async move {
                let resident = self.mailroom.lease_unless_stale(&append)?;
                self.mailroom.append(append, resident, wait).await
            };
            appending.boxed()
        };
        NextAppend::new(&self.middleware, Box::new(end)).run(append).await
    }

    /// The aggregate's events, as a stream. [`Read`] sets its start, direction and length.
    pub fn read<K>(&self, key: K) -> Read
    where
        K: TryInto<AggregateKey>,
        KeyError: From<K::Error>,
    {
        let key = key.try_into().map_err(KeyError::from);
        Read::new(self.mailroom.clone(), self.middleware.clone(), key)
    }

    /// The aggregate's latest sequence; [`Sequence::NONE`] where it has no event.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn latest_sequence<K>(&self, key: K) -> Result<Sequence, ReadError>
    where
        K: TryInto<AggregateKey>,
        KeyError: From<K::Error>,
    {
        let key = key.try_into().map_err(|e| ReadError::InvalidKey(KeyError::from(e)))?;
        if self.mailroom.is_closed() {
            return Err(ReadError::Closed);
        }
        let last = Fetch::ALL.backwards().limit(1);
        if let Some(page) = self.mailroom.driver.fetch_page_now(&key, last) {
            let page = page.map_err(ReadError::from_driver)?;
            return Ok(page.events.first().map_or(Sequence::NONE, |event| event.sequence));
        }
        let (answer, answered) = oneshot::channel();
        let (driver, deadline) = (self.mailroom.driver.clone(), self.mailroom.config.read_deadline);
        self.mailroom.spawn(async move {
            let asked = bounded(deadline, || driver.latest_sequence(&key)).await;
            let _ = answer.send(match asked {
                Ok(answer) => answer.map_err(ReadError::from_driver),
                Err(no_answer) => Err(read_error(no_answer)),
            });
        });
        answered.await.unwrap_or(Err(ReadError::Closed))
    }

    /// Whether the aggregate has an event.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn exists<K>(&self, key: K) -> Result<bool, ReadError>
    where
        K: TryInto<AggregateKey>,
        KeyError: From<K::Error>,
    {
        Ok(self.latest_sequence(key).await? > Sequence::NONE)
    }

    /// The keys that begin with `prefix`, in ascending byte order, as a stream. An empty prefix
    /// lists all.
    ///
    /// A driver that cannot list keys yields
    /// [`DriverError::Unsupported`](crate::driver::DriverError::Unsupported).
    pub fn keys(&self, prefix: impl Into<String>) -> Keys {
        Keys::new(self.mailroom.clone(), prefix.into())
    }

    /// Gives the kind to the first type that claims it.
    ///
    /// # Errors
    ///
    /// [`LoadError::WrongKind`] when another type has claimed it before.
    pub(crate) fn claim_kind(
        &self,
        kind: &'static str,
        id: TypeId,
        name: &'static str,
    ) -> Result<(), LoadError> {
        let (owner, other) = *self.mailroom.kinds.entry(kind).or_insert((id, name));
        if owner == id {
            return Ok(());
        }
        Err(LoadError::WrongKind { kind, other, this: name })
    }

    pub(crate) fn max_bytes_in_flight(&self) -> usize {
        self.mailroom.config.bytes_in_flight
    }

    pub(crate) fn mailroom(&self) -> &Arc<Mailroom> {
        &self.mailroom
    }

    pub(crate) fn middleware(&self) -> MiddlewareChain {
        self.middleware.clone()
    }

    pub(crate) fn clock(&self) -> Clock {
        self.mailroom.config.clock.clone()
    }

    /// What the builder was given of this type.
    pub(crate) fn extension<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.extensions.get()
    }

    pub(crate) fn upcasters(&self) -> Arc<Upcasters> {
        self.mailroom.config.upcasters.clone()
    }

    /// The aggregate's snapshot. One that cannot be read counts as missing.
    pub(crate) async fn load_snapshot(&self, key: &AggregateKey) -> Option<Bytes> {
        let (driver, key) = (self.mailroom.driver.clone(), key.clone());
        let deadline = self.mailroom.config.read_deadline;
        let (answer, answered) = oneshot::channel();
        self.mailroom.spawn(async move {
            let Some(snapshots) = driver.snapshots() else { return };
            let loaded = bounded(deadline, || snapshots.load_snapshot(&key)).await;
            match loaded.unwrap_or_else(|no_answer| Err(no_answer.to_read())) {
                Ok(found) => drop(answer.send(found)),
                Err(error) => tracing::warn!(%key, %error, "a snapshot cannot be read"),
            }
        });
        answered.await.ok().flatten()
    }

    /// Sleeps on the store's own runtime, because the caller may have none.
    pub(crate) async fn pause(&self, duration: Duration) {
        self.mailroom.sleep(duration).await;
    }

    /// The number of resident aggregates: those whose mailbox is in memory now.
    pub fn resident(&self) -> usize {
        self.mailroom.resident()
    }

    /// Figures of the store and its driver, as of now. Reads no event and waits for nothing but the
    /// sizes of the driver's files, so it may be called every second; also after closing.
    ///
    /// ```
    /// use seriatim::{Append, EventStore, NewEvent};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = EventStore::open("memory:").await?;
    /// store.append(Append::to("light/1").event(NewEvent::raw("SwitchedOn", "{}"))).await?;
    /// let stats = store.stats();
    /// assert_eq!((stats.appends, stats.driver.events), (1, Some(1)));
    /// println!("99 % of the puts took at most {:?}", stats.put_time.quantile(0.99));
    /// # Ok(()) }
    /// ```
    pub fn stats(&self) -> StoreStats {
        stats::stats_of(&self.mailroom)
    }

    /// Closes the store for all its handles: no further append is admitted, admitted ones finish
    /// before the close deadline, consumers save their checkpoints and end, and the driver closes.
    /// Further calls wait for the same end and get the same answer.
    ///
    /// A consumer ends when its [`Run`](crate::subscription::Run) is polled. One that nobody polls
    /// any more holds up closing until the deadline.
    ///
    /// Cancel-safe: once begun, the close continues without the future.
    ///
    /// # Errors
    ///
    /// [`CloseError`]; the store is closed nevertheless.
    pub async fn close(&self) -> Result<(), CloseError> {
        self.mailroom.consumers.do_not_wait_for_this_handler();
        self.mailroom.stop_admission();
        #[cfg(all(unix, feature = "door"))]
        if let Some(door) = &self.door {
            door.close();
        }
        let closed = self.runtime.close().await;
        // What was counted since the last turn, and while closing.
        #[cfg(feature = "metrics")]
        self.metrics.publish();
        closed
    }
}

impl std::fmt::Debug for EventStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStore")
            .field("resident", &self.resident())
            .field("closed", &self.mailroom.is_closed())
            .finish_non_exhaustive()
    }
}
