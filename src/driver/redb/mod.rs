//! The driver `redb:DIRECTORY`: one directory on this machine's disk, embedded, durable.
//!
//! An answered put survives the process being killed and the machine losing power. One writer thread
//! takes all puts that wait into one durable transaction ([`writer`]); each put stays atomic by itself,
//! and is refused by itself. Reads are transactions of their own, one per page ([`read`]). The
//! directory is locked for as long as the driver lives ([`directory`]).
//!
//! ```text
//! DIRECTORY/format        the format's version, read before anything else
//! DIRECTORY/lock          locked by the process that has the store open, and names it
//! DIRECTORY/events.redb   every event under its key and sequence
//! ```
//!
//! # Limits
//!
//! Those of [`Limits::default`], and 1,000 aggregates a put.
//!
//! # Failures
//!
//! After a failed write or flush every put is refused until the store is opened anew, because nobody can
//! say what the disk holds; reads go on as long as redb answers.

mod directory;
mod read;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redb::{Database, TableDefinition};
use tokio::sync::oneshot;

use super::{
    Driver, DriverError, EventPage, EventPages, Fetch, KeyPages, Limits, Put, PutDone, PutReceipt,
    async_trait, paged, paged_keys,
};
use crate::event::{AggregateKey, Sequence};
use directory::Directory;
use writer::Writer;

/// (aggregate key, sequence) → position and record.
const EVENTS: TableDefinition<'static, (&str, u64), &[u8]> = TableDefinition::new("events");
/// What holds for the whole store, by name.
const STORE: TableDefinition<'static, &str, u64> = TableDefinition::new("store");
/// In [`STORE`]: the position of the latest event.
const LATEST_POSITION: &str = "latest_position";
/// In [`STORE`]: the time of the latest event, in microseconds; recorded-at never decreases.
const LATEST_TIME: &str = "latest_time";

/// Events in a redb file. See the [module](self).
pub struct RedbDriver {
    shared: Arc<Shared>,
    writer: Writer,
    /// Given up when closed, so that another process may open the directory.
    directory: Mutex<Option<Directory>>,
}

/// What the driver, its writer thread and its streams of pages share.
struct Shared {
    database: Mutex<Option<Arc<Database>>>,
    closed: AtomicBool,
}

impl Shared {
    fn database(&self) -> Result<Arc<Database>, DriverError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(DriverError::Closed);
        }
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        database.clone().ok_or(DriverError::Closed)
    }
}

impl RedbDriver {
    /// Opens the store in `path`, and makes it where there is none. Blocks for as long as redb needs
    /// to open, which after a crash includes a repair.
    ///
    /// # Errors
    ///
    /// [`DriverError::Failed`] when the directory cannot be made, is no directory, or is open
    /// elsewhere (the message names the holder); [`DriverError::Damaged`] when its format is
    /// unknown or its file is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DriverError> {
        let directory = Directory::open(path.as_ref())?;
        let file = directory.file("events.redb");
        let database = Database::create(&file).map_err(|e| {
            DriverError::failed(format!("{} could not be opened: {e}", file.display())).caused_by(e)
        })?;
        let shared = Arc::new(Shared {
            database: Mutex::new(Some(Arc::new(database))),
            closed: AtomicBool::new(false),
        });
        let writer = Writer::start(shared.database()?)?;
        Ok(RedbDriver { shared, writer, directory: Mutex::new(Some(directory)) })
    }

    fn put(&self, put: Arc<Put>, done: PutDone) {
        match self.limits().check(&put) {
            Err(refusal) => done(Err(refusal)),
            Ok(()) if self.shared.closed.load(Ordering::Acquire) => done(Err(DriverError::Closed)),
            Ok(()) => self.writer.put(put, done),
        }
    }
}

#[async_trait]
impl Driver for RedbDriver {
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        read::has(&*self.shared.database()?, key, sequence)
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        let (shared, key) = (self.shared.clone(), key.clone());
        paged(fetch, move |fetch| read::page(&*shared.database()?, &key, fetch))
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        let (answer, answered) = oneshot::channel();
        self.put(put, Box::new(|result| drop(answer.send(result))));
        // The thread answers everything it took; without an answer it died in the middle.
        answered.await.unwrap_or_else(|_| Err(DriverError::unknown("the writer thread died")))
    }

    fn put_events_then(&self, put: Arc<Put>, _alone: bool, done: PutDone) -> Result<(), PutDone> {
        self.put(put, done);
        Ok(())
    }

    async fn close(&self) -> Result<(), DriverError> {
        if self.shared.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.writer.finish().await;
        // Reads under way hold the database a little longer; redb closes its file with the last.
        self.shared.database.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.directory.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(())
    }

    async fn latest_sequence(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        read::latest(&*self.shared.database()?, key)
    }

    fn fetch_page_now(
        &self,
        key: &AggregateKey,
        fetch: Fetch,
    ) -> Option<Result<EventPage, DriverError>> {
        Some(self.shared.database().and_then(|database| read::page(&database, key, fetch)))
    }

    fn keys(&self, prefix: &str, after: Option<&AggregateKey>) -> KeyPages {
        let (shared, prefix) = (self.shared.clone(), prefix.to_owned());
        paged_keys(after.cloned(), move |after| read::keys(&*shared.database()?, &prefix, after))
    }

    fn limits(&self) -> Limits {
        Limits { aggregates_per_put: 1_000, ..Limits::default() }
    }
}

/// A failure of redb outside a commit: nothing was written.
fn redb_failed(error: impl Into<redb::Error>) -> DriverError {
    let error = error.into();
    match error {
        redb::Error::Corrupted(message) => {
            DriverError::damaged(format!("events.redb is damaged: {message}"))
        }
        other => DriverError::failed(format!("redb failed: {other}")).caused_by(other),
    }
}

/// Opens `redb:` with what stands behind the first `:` of the URL: the directory's path.
pub(crate) async fn open_url(path: &str) -> Result<Arc<dyn Driver>, DriverError> {
    if path.is_empty() {
        return Err(DriverError::failed("a directory must follow \"redb:\""));
    }
    let path = path.to_owned();
    let opening = tokio::task::spawn_blocking(move || RedbDriver::open(path));
    match opening.await {
        Ok(opened) => Ok(Arc::new(opened?)),
        Err(_panic) => Err(DriverError::failed("redb panicked while opening")),
    }
}
