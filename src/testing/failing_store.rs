//! A store in memory that fails on demand.
//!
//! A face on the [`FaultyDriver`] in an application's words. A planned [`Failure`] meets the next
//! put and stays with that put however often the store sends it. The application sees what it would
//! see of a real driver.

use std::sync::Arc;

use super::faulty_driver::{CheckpointFault, FaultyDriver, PutFault, ReadFault};
use crate::driver::DriverError;
use crate::driver::memory::MemoryDriver;
use crate::error::OpenError;
use crate::event::NewEvent;
use crate::store::{Builder, EventStore};

/// What happens to an append, or to a command's events. Appends that wait at the same aggregate go
/// together, and fail together.
///
/// ```
/// use seriatim::testing::{FailingStore, Failure};
/// use seriatim::{Append, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let failing = FailingStore::open().await?;
/// let append = || Append::to("light/1").event(NewEvent::raw("SwitchedOn", "{}"));
///
/// // Another process comes first.
/// failing.next_append(Failure::Overtaken(NewEvent::raw("Broken", "{}")));
/// let conflict = failing.store().append(append().expect(0)).await;
/// assert!(conflict.is_err_and(|error| error.is_conflict()));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// `AppendError::Driver`, not retryable; nothing is written.
    Fails,
    /// `AppendError::Driver`, retryable; nothing is written.
    Unavailable,
    /// Another process writes this event to the same aggregate first. An append with an exact
    /// expectation meets a `Conflict`; any other goes behind it, and commands are decided again.
    Overtaken(NewEvent),
    /// `AppendError::Indeterminate`, although all is written.
    LostAnswer,
    /// `AppendError::Indeterminate`, and nothing is written.
    LostRequest,
    /// No answer, and nothing is written: `AppendError::Indeterminate` when the store's
    /// [`put_deadline`](Builder::put_deadline) is over.
    Hangs,
}

impl Failure {
    /// What happens to the put each time it is sent.
    fn sendings(self) -> Vec<PutFault> {
        // Ends the store's search for the put's fate without saying what the fate was.
        let given_up = PutFault::Fails(DriverError::failed("the put failed again, on demand"));
        match self {
            Failure::Fails => {
                vec![PutFault::Fails(DriverError::failed("the put failed, on demand"))]
            }
            Failure::Unavailable => {
                let error = DriverError::unavailable("the driver is unavailable, on demand");
                vec![PutFault::Fails(error)]
            }
            Failure::Overtaken(event) => vec![PutFault::Overtaken(event), PutFault::Passes],
            Failure::LostAnswer => vec![PutFault::WrittenThenTimeout, given_up],
            Failure::LostRequest => vec![PutFault::TimeoutOnly, given_up],
            Failure::Hangs => vec![PutFault::Hangs],
        }
    }
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
    faults: Arc<FaultyDriver>,
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
        let faults = FaultyDriver::around(memory.reopen());
        let store = builder.driver(faults.clone()).open().await?;
        Ok(FailingStore { store, faults, memory })
    }

    /// The store. Clones of it fail as well.
    pub fn store(&self) -> &EventStore {
        &self.store
    }

    /// The next append (or command with events) fails so. Failures queue up, one for each put.
    pub fn next_append(&self, failure: Failure) {
        self.faults.next_put_sendings(failure.sendings());
    }

    /// The next read of events fails so: of a history, of an entity's state.
    pub fn next_read(&self, error: DriverError) {
        self.faults.next_fetch(0, ReadFault::Fails(error));
    }

    /// The next record that a consumer saves fails so, and is not saved: its checkpoint, or its
    /// parked aggregates. The first one is saved when the consumer begins for the first time.
    pub fn next_checkpoint(&self, error: DriverError) {
        self.faults.next_checkpoint(CheckpointFault::Fails(error));
    }

    /// A second store over the same events, which never fails: another process, or the next run of
    /// this one.
    ///
    /// # Errors
    ///
    /// [`OpenError`], when the store's threads cannot be started.
    pub async fn elsewhere(&self) -> Result<EventStore, OpenError> {
        EventStore::builder().driver(Arc::new(self.memory.reopen())).open().await
    }
}
