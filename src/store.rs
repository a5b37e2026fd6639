//! The handle of a store: what an application holds.
//!
//! A handle is cheap to clone and works from any thread and any async runtime, or none. Appends go
//! through the mailroom; reads of an embedded driver are answered in the caller's own thread, reads of any
//! other cross a bounded channel from the store's runtime.

mod builder;
mod read;

pub use builder::Builder;
pub use read::{Keys, Read};

use std::any::{TypeId, type_name};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::append::{Append, Appended};
use crate::driver::{DriverError, Fetch};
use crate::entity::{Aggregate, Entities};
use crate::error::{AppendError, CloseError, LoadError, OpenError, ReadError};
use crate::event::{AggregateKey, KeyError, Sequence};
use crate::mailroom::{Mailroom, Runtime, Wait};
use crate::middleware::{Chain, NextAppend};
use crate::upcast::Upcasters;

/// An open event store. Clones are handles of the same store; when the last one is dropped, the store
/// closes in the background.
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
    mailroom: Arc<Mailroom>,
    runtime: Arc<Runtime>,
    middleware: Chain,
}

impl EventStore {
    /// Opens the store that `url` names; what stands before the first `:` chooses the driver.
    ///
    /// | URL | driver |
    /// |---|---|
    /// | `memory:` | [`driver::memory`](crate::driver::memory): nothing outlives the process |
    /// | `redb:DIRECTORY` | [`driver::redb`](crate::driver::redb): embedded, durable |
    ///
    /// # Errors
    ///
    /// [`OpenError`], naming the URL.
    pub async fn open(url: impl AsRef<str>) -> Result<Self, OpenError> {
        Self::builder().url(url.as_ref()).open().await
    }

    /// A store with options.
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn new(mailroom: Arc<Mailroom>, runtime: Runtime, middleware: Chain) -> Self {
        EventStore { mailroom, runtime: Arc::new(runtime), middleware }
    }

    /// Appends one or more events to one aggregate, all or nothing; the answer means they are durable.
    /// Waits while the aggregate's permits, or the store's bytes in flight, are all taken.
    ///
    /// Cancel-safe: a dropped future leaves the whole append or nothing of it. Which of both is found
    /// out by repeating it with its commit id.
    ///
    /// # Errors
    ///
    /// [`AppendError`]; every variant but `Indeterminate` means that nothing was written.
    pub fn append(
        &self,
        append: Append,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send {
        self.append_with(append, Wait::ForRoom)
    }

    /// Like [`EventStore::append`], but never waits for room: [`AppendError::Busy`] instead.
    ///
    /// # Errors
    ///
    /// [`AppendError`], `Busy` among them.
    pub fn try_append(
        &self,
        append: Append,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send {
        self.append_with(append, Wait::Never)
    }

    /// A stale append is found out before it is moved into a further future: that would be three tenths of what its
    /// refusal costs.
    async fn append_with(&self, append: Append, wait: Wait) -> Result<Appended, AppendError> {
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

    /// The aggregate's events, as a stream; see [`Read`] for where it begins and ends.
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
            let page = page.map_err(closed_or_failed)?;
            return Ok(page.events.first().map_or(Sequence::NONE, |event| event.sequence));
        }
        let (answer, answered) = oneshot::channel();
        let (driver, deadline) = (self.mailroom.driver.clone(), self.mailroom.config.read_deadline);
        self.mailroom.spawn(async move {
            let asking = AssertUnwindSafe(async { driver.latest_sequence(&key).await });
            let _ = answer.send(match timeout(deadline, asking.catch_unwind()).await {
                Ok(Ok(answer)) => answer.map_err(closed_or_failed),
                Ok(Err(_panic)) => Err(ReadError::Driver(panicked())),
                Err(_elapsed) => Err(ReadError::Timeout { deadline }),
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

    /// The keys that begin with `prefix`, in ascending byte order, as a stream. An empty prefix lists all.
    ///
    /// A driver that cannot list keys yields [`DriverError::Unsupported`].
    pub fn keys(&self, prefix: impl Into<String>) -> Keys {
        Keys::new(&self.mailroom, prefix.into())
    }

    /// The entities of type `A`; see [`Aggregate`].
    pub fn entities<A: Aggregate>(&self) -> Entities<A> {
        Entities::new(self.clone())
    }

    /// The first type to ask for a kind has it.
    pub(crate) fn claim_kind<A: Aggregate>(&self) -> Result<(), LoadError> {
        let claim = (TypeId::of::<A>(), type_name::<A>());
        let (owner, other) = *self.mailroom.kinds.entry(A::KIND).or_insert(claim);
        if owner == claim.0 {
            return Ok(());
        }
        Err(LoadError::WrongKind { kind: A::KIND, other, this: claim.1 })
    }

    pub(crate) fn mailroom(&self) -> &Arc<Mailroom> {
        &self.mailroom
    }

    pub(crate) fn middleware(&self) -> Chain {
        self.middleware.clone()
    }

    pub(crate) fn upcasters(&self) -> Arc<Upcasters> {
        self.mailroom.config.upcasters.clone()
    }

    /// The aggregate's snapshot, if it can be had: a snapshot that cannot is one that is not there.
    pub(crate) async fn load_snapshot(&self, key: &AggregateKey) -> Option<Bytes> {
        let (driver, key) = (self.mailroom.driver.clone(), key.clone());
        let deadline = self.mailroom.config.read_deadline;
        let (answer, answered) = oneshot::channel();
        self.mailroom.spawn(async move {
            let Some(snapshots) = driver.snapshots() else { return };
            match tokio::time::timeout(deadline, snapshots.load_snapshot(&key)).await {
                Ok(Ok(found)) => drop(answer.send(found)),
                Ok(Err(error)) => tracing::warn!(%key, %error, "a snapshot cannot be read"),
                Err(_elapsed) => tracing::warn!(%key, "a snapshot was not read in time"),
            }
        });
        answered.await.ok().flatten()
    }

    /// Sleeps, on the store's own runtime: the caller may have none.
    pub(crate) async fn pause(&self, duration: Duration) {
        self.mailroom.sleep(duration).await;
    }

    /// How many aggregates are resident: have an actor at this moment.
    pub fn resident(&self) -> usize {
        self.mailroom.resident()
    }

    /// Closes the store for all its handles: nothing more is admitted, what was admitted finishes within
    /// the close deadline, the driver closes. Further calls wait for the same end and get the same answer.
    ///
    /// Cancel-safe: once begun, closing goes on without the future.
    ///
    /// # Errors
    ///
    /// [`CloseError`]; the store is closed all the same.
    pub async fn close(&self) -> Result<(), CloseError> {
        self.mailroom.stop_admission();
        self.runtime.close().await
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

fn closed_or_failed(error: DriverError) -> ReadError {
    ReadError::from_driver(error)
}

fn panicked() -> DriverError {
    DriverError::failed("the driver panicked while reading")
}
