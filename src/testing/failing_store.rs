//! A store in memory that fails on demand.
//!
//! A planned [`Failure`] meets the next put that comes to the driver, and stays with that put however often
//! the store sends it again. What the application sees of it is what it would see of a real driver.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::driver::memory::MemoryDriver;
use crate::driver::{
    Driver, DriverError, EventPages, Fetch, KeyPages, Limits, LogStore, Put, PutReceipt,
    SnapshotStore, async_trait,
};
use crate::error::OpenError;
use crate::event::{AggregateKey, NewEvent, Sequence, Timestamp};
use crate::store::{Builder, EventStore};

/// What happens to an append, or to a command's events. Appends that wait at the same aggregate go
/// together, and fail together.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// `AppendError::Driver`, not retryable; nothing is written.
    Fails,
    /// `AppendError::Driver`, retryable; nothing is written.
    Unavailable,
    /// Another process writes this event to the same aggregate first. An append with an exact expectation
    /// meets a `Conflict`; any other goes behind it, and commands are decided again.
    Overtaken(NewEvent),
    /// `AppendError::Indeterminate`, although all is written.
    LostAnswer,
    /// `AppendError::Indeterminate`, and nothing is written.
    LostRequest,
    /// No answer, and nothing is written: `AppendError::Indeterminate` when the store's
    /// [`put_deadline`](Builder::put_deadline) is over.
    Hangs,
}

/// A store in memory that fails on demand.
///
/// ```
/// use seriatim::testing::{FailingStore, Failure};
/// use seriatim::{Append, AppendError, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let failing = FailingStore::open().await?;
/// let append = || Append::to("light/1").event(NewEvent::raw("SwitchedOn", "{}"));
///
/// failing.next_append(Failure::LostAnswer);
/// let error = failing.store().append(append()).await.unwrap_err();
/// let AppendError::Indeterminate { commit_id, .. } = error else { panic!("{error}") };
///
/// // What the application should do then: repeat it with its commit id.
/// let repeated = failing.store().append(append().commit_id(commit_id)).await?;
/// assert!(repeated.repeated);
/// # Ok(()) }
/// ```
pub struct FailingStore {
    store: EventStore,
    plan: Arc<Plan>,
    memory: MemoryDriver,
}

impl FailingStore {
    /// A store without events that does not fail until told.
    ///
    /// # Errors
    ///
    /// [`OpenError`], when the store's threads cannot be started.
    pub async fn open() -> Result<Self, OpenError> {
        Self::open_with(EventStore::builder()).await
    }

    /// [`FailingStore::open`] with options; the builder's driver or URL is not used.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open_with(builder: Builder) -> Result<Self, OpenError> {
        let memory = MemoryDriver::new();
        let plan = Arc::new(Plan::default());
        let driver = OnDemand { inner: memory.reopen(), plan: plan.clone() };
        let store = builder.driver(Arc::new(driver)).open().await?;
        Ok(FailingStore { store, plan, memory })
    }

    /// The store. Clones of it fail as well.
    pub fn store(&self) -> &EventStore {
        &self.store
    }

    /// The next append (or command with events) fails so. Failures queue up, one for each put.
    pub fn next_append(&self, failure: Failure) {
        lock(&self.plan.puts).push_back(failure);
    }

    /// The next read of events fails so: of a history, of an entity's state.
    pub fn next_read(&self, error: DriverError) {
        lock(&self.plan.reads).push_back(error);
    }

    /// A second store over the same events, which never fails: another process, or the next run of this one.
    ///
    /// # Errors
    ///
    /// [`OpenError`], when the store's threads cannot be started.
    pub async fn elsewhere(&self) -> Result<EventStore, OpenError> {
        EventStore::builder().driver(Arc::new(self.memory.reopen())).open().await
    }
}

#[derive(Debug, Default)]
struct Plan {
    puts: Mutex<VecDeque<Failure>>,
    reads: Mutex<VecDeque<DriverError>>,
    /// Puts that failed and may come again.
    failed: Mutex<Vec<(Uuid, Failure)>>,
}

fn lock<T>(plan: &Mutex<T>) -> MutexGuard<'_, T> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

struct OnDemand {
    inner: MemoryDriver,
    plan: Arc<Plan>,
}

impl OnDemand {
    /// What is to happen to this put, and whether it was sent before.
    fn failure(&self, put: &Put) -> Option<(Failure, bool)> {
        let mut failed = lock(&self.plan.failed);
        if let Some((_, failure)) = failed.iter().find(|(id, _)| *id == put.id()) {
            return Some((failure.clone(), true));
        }
        let failure = lock(&self.plan.puts).pop_front()?;
        failed.push((put.id(), failure.clone()));
        Some((failure, false))
    }

    /// Writes the event where the put was to begin.
    async fn overtake(&self, put: &Put, event: NewEvent) -> Result<(), DriverError> {
        let Some(first) = put.events().first() else { return Ok(()) };
        let unfit = |error: &dyn std::fmt::Display| DriverError::failed(error.to_string());
        let event = event.check().map_err(|error| unfit(&error))?;
        let event = event.place(&first.key, first.sequence, Uuid::now_v7(), Timestamp::now());
        let overtaking = Put::new(vec![event]).map_err(|error| unfit(&error))?;
        self.inner.put_events(Arc::new(overtaking)).await.map(drop)
    }
}

#[async_trait]
impl Driver for OnDemand {
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        self.inner.check_sequence(key, sequence).await
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        match lock(&self.plan.reads).pop_front() {
            Some(error) => Box::pin(futures_util::stream::iter([Err(error)])),
            None => self.inner.fetch_events(key, fetch),
        }
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        let Some((failure, again)) = self.failure(&put) else {
            return self.inner.put_events(put).await;
        };
        let lost = || DriverError::unknown("the answer to the put was lost, on demand");
        match failure {
            Failure::Fails => Err(DriverError::failed("the put failed, on demand")),
            Failure::Unavailable => {
                Err(DriverError::unavailable("the driver is unavailable, on demand"))
            }
            Failure::Overtaken(event) => {
                if !again {
                    self.overtake(&put, event).await?;
                }
                self.inner.put_events(put).await
            }
            Failure::Hangs => std::future::pending().await,
            Failure::LostAnswer if !again => {
                self.inner.put_events(put).await?;
                Err(lost())
            }
            Failure::LostRequest if !again => Err(lost()),
            // Ends the search for the put's fate, without saying what it was.
            Failure::LostAnswer | Failure::LostRequest => {
                Err(DriverError::failed("the put failed again, on demand"))
            }
        }
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.inner.close().await
    }

    async fn latest_sequence(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        self.inner.latest_sequence(key).await
    }

    fn keys(&self, prefix: &str, after: Option<&AggregateKey>) -> KeyPages {
        self.inner.keys(prefix, after)
    }

    fn snapshots(&self) -> Option<&dyn SnapshotStore> {
        self.inner.snapshots()
    }

    fn log(&self) -> Option<&dyn LogStore> {
        self.inner.log()
    }

    fn is_exclusive(&self) -> bool {
        self.inner.is_exclusive()
    }

    fn needs_io(&self) -> bool {
        self.inner.needs_io()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }
}
