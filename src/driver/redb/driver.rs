//! The driver itself: its threads, and the driver contract over them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::driver::redb::apply::checkpoints::{Checkpoint, PendingCheckpoint};
use crate::driver::redb::apply::entity_snapshots as snapshots;
use crate::driver::redb::apply::transaction as apply;
use crate::driver::redb::core::Core;
use crate::driver::redb::failure::{guarded, redb_panicked};
use crate::driver::redb::figures;
use crate::driver::redb::journal::recent_aggregates as known;
use crate::driver::redb::journal::write_queue::PendingPut;
use crate::driver::redb::journal::writer;
use crate::driver::redb::options::{RedbBuilder, Step};
use crate::driver::redb::read::committed_view::begin_read;
use crate::driver::redb::read::history as read;
use crate::driver::redb::read::listing as list;
use crate::driver::redb::reindex;
use crate::driver::redb::space::{self, Space};
use crate::driver::redb::verify;
use crate::driver::redb::verify::Verified;
use crate::driver::{
    Driver, DriverError, EventPage, EventPages, Fetch, KeyPages, Limit, LimitExceeded, Limits,
    LogBell, LogFetch, LogPage, LogStore, Put, PutDone, PutReceipt, SnapshotStore, async_trait,
    check_checkpoint_name, paged, paged_keys,
};
use crate::event::{AggregateKey, KeyedEvent, Position, Sequence};
use crate::stats::DriverStats;
use crate::user_code;

/// Events in a journal and a redb file. See the [module](crate::driver::redb).
///
/// ```
/// use std::sync::Arc;
/// use seriatim::EventStore;
/// use seriatim::driver::redb::RedbDriver;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let directory = folder.path().join("data");
/// let driver = Arc::new(RedbDriver::open(&directory)?);
/// let store = EventStore::builder().driver(driver.clone()).open().await?;
/// let verified = driver.verify()?; // while the store is used
/// assert_eq!(verified.events, 0);
/// store.close().await?;
/// # Ok(()) }
/// ```
pub struct RedbDriver {
    core: Arc<Core>,
    ended: Mutex<Option<oneshot::Receiver<Result<(), DriverError>>>>,
}

impl RedbDriver {
    /// Opens the store in `path`, and makes it where there is none. Blocks until the journal's rest
    /// is in redb, which after a crash may include a repair of redb's file.
    ///
    /// # Errors
    ///
    /// Those of [`RedbBuilder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DriverError> {
        Self::builder().open(path)
    }

    /// Opens a store with other options than the default ones.
    pub fn builder() -> RedbBuilder {
        RedbBuilder::default()
    }

    pub(in crate::driver::redb) fn start(core: Core) -> Result<Self, DriverError> {
        let core = Arc::new(core);
        let (end, ended) = oneshot::channel();
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            thread::Builder::new()
                .name(format!("seriatim-{name}"))
                .spawn(run)
                .map_err(|e| DriverError::failed("a thread did not start").caused_by(e))
        };
        let keeper = core.clone();
        let keep = move || {
            let _watch = FailOnPanic(&keeper);
            keeper.journal.keep(|error| keeper.fail(error));
        };
        let keeper = spawn("keeper", Box::new(keep))?;
        let writer = core.clone();
        let writer = spawn("writer", Box::new(move || writer::run(&writer)));
        let applier = core.clone();
        let apply = spawn("apply", Box::new(move || apply_until_stopped(&applier, keeper, end)));
        if let Err(error) = writer.and(apply) {
            // A thread that did start ends without the other.
            core.queue.close();
            core.journal.stop();
            core.signals().stop = true;
            core.apply_wakes.notify_all();
            return Err(error);
        }
        Ok(RedbDriver { core, ended: Mutex::new(Some(ended)) })
    }

    /// Walks the whole log and the whole index, and answers how much is sound. Appends go on
    /// meanwhile. Blocks.
    ///
    /// # Errors
    ///
    /// [`DriverError::Damaged`] names the first position, or the first aggregate, that is not.
    pub fn verify(&self) -> Result<Verified, DriverError> {
        self.verify_with(|done, total| {
            self.core.options.tell(Step::Verifying, done, total);
            Ok(())
        })
    }

    /// The same, telling this how many events of how many are done. Its error ends the walk.
    pub(crate) fn verify_with(
        &self,
        tell: impl FnMut(u64, u64) -> Result<(), DriverError>,
    ) -> Result<Verified, DriverError> {
        self.core.open()?;
        guarded(|| verify::verify(&self.core, tell))
    }

    /// The directory that the store is in; `None` on a disk of the caller's own.
    pub fn directory(&self) -> Option<PathBuf> {
        self.core.disk.directory()
    }

    /// Rebuilds the index from the log and returns the number of its events. Until it has ended,
    /// puts are refused as [`DriverError::Unavailable`], because the old index may say a wrong
    /// latest sequence. Reads go on. Blocks.
    ///
    /// # Errors
    ///
    /// [`DriverError::Damaged`] when the log itself is damaged; the old index is kept then. If the
    /// index is too damaged for this, open the store with
    /// [`RedbBuilder::rebuild_index`](super::RedbBuilder::rebuild_index).
    pub fn reindex(&self) -> Result<u64, DriverError> {
        self.core.open()?;
        guarded(|| reindex::reindex(&self.core))
    }

    /// What redb's file is used for. Nobody waits for it, but all of the file's pages in use are
    /// read. Blocks.
    ///
    /// # Errors
    ///
    /// [`DriverError::Damaged`] when a page cannot be read.
    pub fn space(&self) -> Result<Space, DriverError> {
        self.core.open()?;
        guarded(|| space::space(&self.core))
    }

    /// The events from position `from` on, in commit order: at most `limit`, and about 1 MiB. None
    /// means that there are none so far.
    ///
    /// # Errors
    ///
    /// [`DriverError::Damaged`] names the position that cannot be read.
    pub fn log_page(&self, from: Position, limit: usize) -> Result<Vec<KeyedEvent>, DriverError> {
        guarded(|| list::log_page(&self.core, from.get(), limit))
    }

    fn prepare(&self, put: &Put) -> Result<known::LookedUp, DriverError> {
        self.limits().check(put)?;
        self.core.open()?;
        let stored = |key: &_| guarded(|| self.core.snapshot()?.latest_sequence(key));
        self.core.tail.aggregates.look(put, stored)
    }
}

/// Applies until it is told to stop, then closes the files and reports.
fn apply_until_stopped(
    core: &Core,
    keeper: thread::JoinHandle<()>,
    end: oneshot::Sender<Result<(), DriverError>>,
) {
    let applied = loop {
        match catch_unwind(AssertUnwindSafe(|| apply::run(core))) {
            Ok(applied) => break applied,
            // From here on it waits to be stopped, and reads go on as long as redb answers.
            Err(_panic) => core.fail(redb_panicked()),
        }
    };
    core.journal.stop();
    let _ = keeper.join();
    let closed = applied.and_then(|()| guarded(|| apply::close(core)));
    let database = guarded(|| core.close_database());
    core.disk.release();
    let _ = end.send(closed.and(database));
}

/// Fails the driver if its thread dies, so that nobody waits for it.
struct FailOnPanic<'a>(&'a Core);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail(DriverError::failed("a thread of the driver died"));
            self.0.journal.give_up();
        }
    }
}

impl Drop for RedbDriver {
    /// What is queued is finished in the background.
    fn drop(&mut self) {
        self.core.set_closed();
        self.core.queue.close();
    }
}

#[async_trait]
impl Driver for RedbDriver {
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        let latest = self.latest_sequence(key).await?;
        Ok(sequence != Sequence::NONE && sequence <= latest)
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        let (core, key) = (self.core.clone(), key.clone());
        paged(fetch, move |fetch| guarded(|| read::page(&core, &key, fetch)))
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        let looked = self.prepare(&put)?;
        let (answer, answered) = oneshot::channel();
        let done = Box::new(|result| drop(answer.send(result)));
        self.core.queue.push(PendingPut::new(put, looked, done));
        let answered = user_code::with_guarded_waker(answered).await;
        answered.unwrap_or_else(|_| Err(DriverError::unknown("the writer thread died")))
    }

    fn put_events_then(&self, put: Arc<Put>, done: PutDone) -> Result<(), PutDone> {
        match self.prepare(&put) {
            Err(error) => done(Err(error)),
            Ok(looked) => self.core.queue.push(PendingPut::new(put, looked, done)),
        }
        Ok(())
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.core.set_closed();
        self.core.queue.close();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        match ended {
            Some(ended) => {
                ended.await.unwrap_or_else(|_| Err(DriverError::failed("the apply thread died")))
            }
            None => Ok(()),
        }
    }

    async fn latest_sequence(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        guarded(|| read::latest(&self.core, key)).map(Sequence::new)
    }

    fn latest_sequence_now(&self, key: &AggregateKey) -> Option<Result<Sequence, DriverError>> {
        Some(guarded(|| read::latest(&self.core, key)).map(Sequence::new))
    }

    fn fetch_page_now(
        &self,
        key: &AggregateKey,
        fetch: Fetch,
    ) -> Option<Result<EventPage, DriverError>> {
        Some(guarded(|| read::page(&self.core, key, fetch)))
    }

    fn keys(&self, prefix: &str, after: Option<&AggregateKey>) -> KeyPages {
        let (core, keys) = (self.core.clone(), list::KeyLister::begin(&self.core, prefix));
        paged_keys(after.cloned(), move |after| guarded(|| keys.page(&core, after)))
    }

    fn snapshots(&self) -> Option<&dyn SnapshotStore> {
        Some(self)
    }

    fn log(&self) -> Option<&dyn LogStore> {
        Some(self)
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn needs_io(&self) -> bool {
        false
    }

    fn stats(&self) -> DriverStats {
        figures::stats(&self.core)
    }

    fn limits(&self) -> Limits {
        // A frame takes an event's record fields beside what counts as its size, some 64 bytes.
        let quarter =
            usize::try_from(self.core.options.journal_file_bytes / 4).unwrap_or(usize::MAX);
        let default = Limits::default();
        Limits {
            aggregates_per_put: 1_000,
            events_per_put: default.events_per_put.min(quarter / 64),
            bytes_per_put: default.bytes_per_put.min(quarter),
            bytes_per_event: default.bytes_per_event.min(quarter),
            ..default
        }
    }
}

#[async_trait]
impl SnapshotStore for RedbDriver {
    async fn load_snapshot(&self, key: &AggregateKey) -> Result<Option<Bytes>, DriverError> {
        self.core.open()?;
        if let Some(pending) = self.core.pending_snapshots.get(key) {
            return Ok(Some(pending));
        }
        guarded(|| snapshots::stored(&begin_read(&*self.core.database()?)?, key))
    }

    async fn save_snapshot(&self, key: &AggregateKey, snapshot: Bytes) -> Result<(), DriverError> {
        self.core.open()?;
        let before = self.core.pending_snapshots.bytes();
        self.core.pending_snapshots.save(key.clone(), snapshot);
        if self.core.pace.is_passed(before, self.core.pending_snapshots.bytes()) {
            let _signals = self.core.signals();
            self.core.apply_wakes.notify_all();
        }
        Ok(())
    }
}

/// Under [`Durability::Written`](super::Durability::Written) an event is shown when it is written:
/// like an answered put, a loss of power may take it back.
#[async_trait]
impl LogStore for RedbDriver {
    fn log_page_now(&self, fetch: LogFetch) -> Result<LogPage, DriverError> {
        let from = fetch.from.map(Position::get);
        let events = guarded(|| match fetch.backwards {
            false => list::log_page(&self.core, from.unwrap_or(1), fetch.limit),
            true => list::log_page_backwards(&self.core, from, fetch.limit),
        });
        events.map(LogPage::new)
    }

    fn last_position(&self) -> Result<Position, DriverError> {
        self.core.open()?;
        Ok(Position::new(self.core.readable.load(Ordering::Acquire)))
    }

    fn bell(&self) -> &LogBell {
        &self.core.bell
    }

    async fn load_checkpoint(&self, name: &str) -> Result<Option<Bytes>, DriverError> {
        self.core.open()?;
        self.core.checkpoints.get(name)
    }

    async fn save_checkpoint(&self, name: &str, checkpoint: Bytes) -> Result<(), DriverError> {
        self.core.open()?;
        check_checkpoint_name(name)?;
        let max = self.limits().bytes_per_event;
        if checkpoint.len() > max {
            return Err(LimitExceeded::new(Limit::BytesPerEvent, max, checkpoint.len()).into());
        }
        let (done, saved) = oneshot::channel();
        let checkpoint = Checkpoint { name: name.into(), bytes: checkpoint };
        self.core.queue.push_saving(PendingCheckpoint { checkpoint, done });
        let saved = user_code::with_guarded_waker(saved).await;
        saved.unwrap_or_else(|_| Err(DriverError::unknown("the writer thread died")))
    }
}
