//! What the driver's threads and its callers share.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use redb::Database;

use crate::driver::redb::apply::checkpoints::Checkpoints;
use crate::driver::redb::apply::entity_snapshots::PendingSnapshots;
use crate::driver::redb::apply::merge::Merger;
use crate::driver::redb::apply::pace::ApplyPace;
use crate::driver::redb::apply::tail::Tail;
use crate::driver::redb::disk::files::Disk;
use crate::driver::redb::disk::reserve::{DATABASE, DiskReserve};
use crate::driver::redb::failure::redb_failed;
use crate::driver::redb::format::tables::StoreState;
use crate::driver::redb::journal::committer::{Committer, Flushes};
use crate::driver::redb::journal::files::Journal;
use crate::driver::redb::journal::write_queue::WriteQueue;
use crate::driver::redb::options::RedbBuilder;
use crate::driver::redb::read::committed_view::CommittedView;
use crate::driver::redb::read::segment_cache::SegmentCache;
use crate::driver::{DriverError, LogBell};

pub(in crate::driver::redb) struct Core {
    pub(in crate::driver::redb) options: RedbBuilder,
    pub(in crate::driver::redb) disk: Arc<dyn Disk>,
    pub(in crate::driver::redb) room: Arc<DiskReserve>,
    pub(in crate::driver::redb) journal: Journal,
    pub(in crate::driver::redb) tail: Tail,
    pub(in crate::driver::redb) pace: ApplyPace,
    pub(in crate::driver::redb) segments: SegmentCache,
    pub(in crate::driver::redb) queue: WriteQueue,
    pub(in crate::driver::redb) pending_snapshots: PendingSnapshots,
    pub(in crate::driver::redb) checkpoints: Checkpoints,
    /// Rung when events became readable.
    pub(in crate::driver::redb) bell: LogBell,
    pub(in crate::driver::redb) committer: Mutex<Committer>,
    pub(in crate::driver::redb) flushes: Flushes,
    /// What the apply thread last wrote; nobody else writes to redb without it.
    pub(in crate::driver::redb) state: Mutex<AppliedState>,
    /// The position of the latest event in redb.
    pub(in crate::driver::redb) applied: AtomicU64,
    /// The number of events that are journaled.
    pub(in crate::driver::redb) journaled: AtomicU64,
    /// The position of the last event that can be read.
    pub(in crate::driver::redb) readable: AtomicU64,
    /// Between the writer, the apply thread and those who wait for it.
    signals: Mutex<Signals>,
    pub(in crate::driver::redb) apply_wakes: Condvar,
    pub(in crate::driver::redb) applied_more: Condvar,
    /// How many replace the index now: what it says of a latest sequence may be wrong.
    index_rebuilds: AtomicUsize,
    closed: AtomicBool,
    failed: OnceLock<DriverError>,
    database: Mutex<Option<Arc<Database>>>,
    /// Held for reading by whoever uses redb's file, so that closing waits for them: whoever held
    /// the file after the lock of the directory was released could write over the next opener's.
    database_users: RwLock<()>,
    snapshot: RwLock<Option<Arc<CommittedView>>>,
}

/// What redb's last commit holds.
#[derive(Clone)]
pub(in crate::driver::redb) struct AppliedState {
    pub(in crate::driver::redb) store: StoreState,
    /// The part of the index that is in no block yet.
    pub(in crate::driver::redb) merger: Merger,
}

/// redb, or a view of it, and the right to use its file; closing waits for it.
pub(in crate::driver::redb) struct FileLease<'a, T> {
    // Dropped before the right to use it.
    used: Arc<T>,
    _user: RwLockReadGuard<'a, ()>,
}

impl<T> Deref for FileLease<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.used
    }
}

/// While this is there, no put gets a sequence.
pub(in crate::driver::redb) struct IndexRebuild<'a>(&'a Core);

impl Drop for IndexRebuild<'_> {
    fn drop(&mut self) {
        self.0.index_rebuilds.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Default)]
pub(in crate::driver::redb) struct Signals {
    /// Everything is to be applied, then the thread is to end.
    pub(in crate::driver::redb) stop: bool,
    /// Somebody waits until everything up to this position is in redb.
    pub(in crate::driver::redb) awaited: u64,
    /// Why the apply thread cannot go on for now.
    pub(in crate::driver::redb) blocked: Option<DriverError>,
}

impl Core {
    pub(in crate::driver::redb) fn new(
        options: RedbBuilder,
        disk: Arc<dyn Disk>,
        room: Arc<DiskReserve>,
        journal: Journal,
        database: Database,
        applied: AppliedState,
    ) -> Result<Self, DriverError> {
        let snapshot = CommittedView::take(&database, applied.merger.unmerged())?;
        let state = &applied.store;
        let core = Core {
            committer: Mutex::new(Committer::new(&journal, state)),
            flushes: Flushes::default(),
            segments: SegmentCache::new(options.segment_cache_bytes),
            pace: ApplyPace::new(&options),
            options,
            disk,
            room,
            journal,
            tail: Tail::default(),
            queue: WriteQueue::default(),
            pending_snapshots: PendingSnapshots::default(),
            checkpoints: Checkpoints::load(&database)?,
            bell: LogBell::default(),
            readable: AtomicU64::new(state.applied),
            applied: AtomicU64::new(state.applied),
            journaled: AtomicU64::new(state.applied),
            state: Mutex::new(applied),
            signals: Mutex::default(),
            apply_wakes: Condvar::new(),
            applied_more: Condvar::new(),
            index_rebuilds: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            failed: OnceLock::new(),
            database: Mutex::new(Some(Arc::new(database))),
            database_users: RwLock::default(),
            snapshot: RwLock::new(Some(Arc::new(snapshot))),
        };
        core.note_file_size();
        Ok(core)
    }

    /// Tells the pace how large redb's file is.
    pub(in crate::driver::redb) fn note_file_size(&self) {
        if let Ok(Some(file)) = self.disk.open(DATABASE)
            && let Ok(bytes) = file.size()
        {
            self.pace.note_file(bytes);
        }
    }

    /// How much longer what waits for redb waits for more; `None` for as long as nothing comes.
    pub(in crate::driver::redb) fn apply_in(&self) -> Option<Duration> {
        let age = self.tail.age()?;
        self.pace.wait(self.tail.bytes() + self.pending_snapshots.bytes(), age)
    }

    pub(in crate::driver::redb) fn signals(&self) -> MutexGuard<'_, Signals> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// redb's latest committed state. Taken after the tail was looked at: what has left the tail
    /// by then is in it. The rule of [`Core::database`] holds for it too.
    pub(in crate::driver::redb) fn snapshot(
        &self,
    ) -> Result<FileLease<'_, CommittedView>, DriverError> {
        let user = self.database_users.read().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        let used = snapshot.clone().ok_or(DriverError::Closed)?;
        Ok(FileLease { used, _user: user })
    }

    /// Shows readers what was just committed. Whoever calls this holds the lock of the state, so
    /// nobody commits meanwhile.
    pub(in crate::driver::redb) fn renew_snapshot(
        &self,
        merger: &Merger,
    ) -> Result<(), DriverError> {
        let database = self.database()?;
        let fresh = Arc::new(CommittedView::take(&database, merger.unmerged())?);
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
        Ok(())
    }

    /// redb, which stays open as long as this is held. A thread that holds a lease must not ask for
    /// another: closing may wait between the two.
    pub(in crate::driver::redb) fn database(&self) -> Result<FileLease<'_, Database>, DriverError> {
        let user = self.database_users.read().unwrap_or_else(PoisonError::into_inner);
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let used = database.clone().ok_or(DriverError::Closed)?;
        Ok(FileLease { used, _user: user })
    }

    /// Closes redb's file, after everybody who uses it. Later reads get an error that says so.
    pub(in crate::driver::redb) fn close_database(&self) -> Result<(), DriverError> {
        let _nobody = self.database_users.write().unwrap_or_else(PoisonError::into_inner);
        self.snapshot.write().unwrap_or_else(PoisonError::into_inner).take();
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner).take();
        match database.map(Arc::try_unwrap) {
            None => Ok(()),
            Some(Ok(database)) => database.close().map_err(redb_failed),
            Some(Err(_shared)) => Err(DriverError::failed("redb's file is still in use")),
        }
    }

    pub(in crate::driver::redb) fn open(&self) -> Result<(), DriverError> {
        if self.closed.load(Ordering::Acquire) { Err(DriverError::Closed) } else { Ok(()) }
    }

    /// From now on puts are refused, until the answer is dropped.
    pub(in crate::driver::redb) fn rebuild_index(&self) -> IndexRebuild<'_> {
        self.index_rebuilds.fetch_add(1, Ordering::AcqRel);
        // The writer looks with this held: a put that it accepted before is journaled then.
        drop(self.committer.lock().unwrap_or_else(PoisonError::into_inner));
        IndexRebuild(self)
    }

    /// Fails while the index is rebuilt.
    pub(in crate::driver::redb) fn index_is_known(&self) -> Result<(), DriverError> {
        match self.index_rebuilds.load(Ordering::Acquire) {
            0 => Ok(()),
            _ => Err(DriverError::unavailable("the index is being rebuilt")),
        }
    }

    /// Whether it was closed before.
    pub(in crate::driver::redb) fn set_closed(&self) -> bool {
        let before = self.closed.swap(true, Ordering::AcqRel);
        self.bell.ring();
        before
    }

    /// After a failed write or flush nobody can say what the disk holds: no put is taken any more.
    pub(in crate::driver::redb) fn fail(&self, error: DriverError) {
        tracing::error!(%error, "the redb driver failed and refuses puts until it is opened again");
        let _ = self.failed.set(error);
        let _signals = self.signals();
        self.apply_wakes.notify_all();
        self.applied_more.notify_all();
    }

    /// What a put is refused with after a failure.
    pub(in crate::driver::redb) fn refusal(&self) -> Option<DriverError> {
        self.failed.get().map(|error| match error {
            DriverError::Damaged { .. } => error.clone(),
            _ => DriverError::failed(format!(
                "an earlier write failed, so it is not known what the disk holds: close the store \
                 and open it again ({error})"
            )),
        })
    }

    pub(in crate::driver::redb) fn has_failed(&self) -> bool {
        self.failed.get().is_some()
    }

    /// Waits until everything journaled so far is in redb.
    pub(in crate::driver::redb) fn apply_all(&self) -> Result<u64, DriverError> {
        let target = self.journaled.load(Ordering::Acquire);
        let mut signals = self.signals();
        loop {
            if self.applied.load(Ordering::Acquire) >= target {
                return Ok(target);
            }
            if let Some(refusal) = self.refusal() {
                return Err(refusal);
            }
            if signals.stop {
                return Err(DriverError::Closed);
            }
            signals.awaited = signals.awaited.max(target);
            self.apply_wakes.notify_all();
            signals = self.applied_more.wait(signals).unwrap_or_else(PoisonError::into_inner);
            if let Some(blocked) = &signals.blocked {
                return Err(blocked.clone());
            }
        }
    }
}
