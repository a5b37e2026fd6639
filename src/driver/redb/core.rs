//! What the driver's threads and its callers share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use redb::{Database, ReadableDatabase};

use super::checkpoints::Checkpoints;
use super::files::Disk;
use super::journal::Journal;
use super::options::RedbBuilder;
use super::queue::Queue;
use super::read::Snapshot;
use super::redb_failed;
use super::room::Room;
use super::segment_cache::SegmentCache;
use super::snapshots::Pending;
use super::tables::State;
use super::tail::Tail;
use super::writer::Committer;
use crate::driver::{DriverError, LogBell};

pub(super) struct Core {
    pub(super) options: RedbBuilder,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) room: Arc<Room>,
    pub(super) journal: Journal,
    pub(super) tail: Tail,
    pub(super) segments: SegmentCache,
    pub(super) queue: Queue,
    pub(super) pending_snapshots: Pending,
    pub(super) checkpoints: Checkpoints,
    /// Rung when events became readable.
    pub(super) bell: LogBell,
    pub(super) committer: Mutex<Committer>,
    /// What the apply thread last wrote; nobody else writes to redb without it.
    pub(super) state: Mutex<State>,
    /// The position of the latest event in redb.
    pub(super) applied: AtomicU64,
    /// The number of events that are journaled.
    pub(super) journaled: AtomicU64,
    /// The position of the last event that can be read.
    pub(super) readable: AtomicU64,
    /// Between the writer, the apply thread and those who wait for it.
    signals: Mutex<Signals>,
    pub(super) apply_wakes: Condvar,
    pub(super) applied_more: Condvar,
    closed: AtomicBool,
    failed: OnceLock<DriverError>,
    database: Mutex<Option<Arc<Database>>>,
    snapshot: RwLock<Option<Arc<Snapshot>>>,
}

#[derive(Default)]
pub(super) struct Signals {
    /// Everything is to be applied, then the thread is to end.
    pub(super) stop: bool,
    /// Somebody waits until everything up to this position is in redb.
    pub(super) awaited: u64,
    /// Why the apply thread cannot go on for now.
    pub(super) blocked: Option<DriverError>,
}

impl Core {
    pub(super) fn new(
        options: RedbBuilder,
        disk: Arc<dyn Disk>,
        room: Arc<Room>,
        journal: Journal,
        database: Database,
        state: State,
    ) -> Result<Self, DriverError> {
        let snapshot = Snapshot::take(&database)?;
        Ok(Core {
            committer: Mutex::new(Committer::new(&journal, &state)),
            segments: SegmentCache::new(options.segment_cache_bytes),
            options,
            disk,
            room,
            journal,
            tail: Tail::default(),
            queue: Queue::default(),
            pending_snapshots: Pending::default(),
            checkpoints: Checkpoints::load(&database)?,
            bell: LogBell::default(),
            readable: AtomicU64::new(state.applied),
            applied: AtomicU64::new(state.applied),
            journaled: AtomicU64::new(state.applied),
            state: Mutex::new(state),
            signals: Mutex::default(),
            apply_wakes: Condvar::new(),
            applied_more: Condvar::new(),
            closed: AtomicBool::new(false),
            failed: OnceLock::new(),
            database: Mutex::new(Some(Arc::new(database))),
            snapshot: RwLock::new(Some(Arc::new(snapshot))),
        })
    }

    pub(super) fn signals(&self) -> MutexGuard<'_, Signals> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// redb's latest committed state. Taken after the tail was looked at: what has left the tail
    /// by then is in it.
    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>, DriverError> {
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        snapshot.clone().ok_or(DriverError::Closed)
    }

    /// Shows readers what was just committed.
    pub(super) fn renew_snapshot(&self) -> Result<(), DriverError> {
        let fresh = Arc::new(Snapshot::take(&*self.database()?)?);
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
        Ok(())
    }

    pub(super) fn database(&self) -> Result<Arc<Database>, DriverError> {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        database.clone().ok_or(DriverError::Closed)
    }

    /// Closes redb's file. Reads under way get an error that says so.
    pub(super) fn close_database(&self) -> Result<(), DriverError> {
        self.snapshot.write().unwrap_or_else(PoisonError::into_inner).take();
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner).take();
        match database.map(Arc::try_unwrap) {
            None => Ok(()),
            Some(Ok(database)) => database.close().map_err(redb_failed),
            // A verification holds it, and closes it when it ends.
            Some(Err(_shared)) => Ok(()),
        }
    }

    pub(super) fn open(&self) -> Result<(), DriverError> {
        if self.closed.load(Ordering::Acquire) { Err(DriverError::Closed) } else { Ok(()) }
    }

    /// Whether it was closed before.
    pub(super) fn set_closed(&self) -> bool {
        let before = self.closed.swap(true, Ordering::AcqRel);
        self.bell.ring();
        before
    }

    /// After a failed write or flush nobody can say what the disk holds: no put is taken any more.
    pub(super) fn fail(&self, error: DriverError) {
        tracing::error!(%error, "the redb driver failed; puts are refused until it is opened anew");
        let _ = self.failed.set(error);
        let _signals = self.signals();
        self.apply_wakes.notify_all();
        self.applied_more.notify_all();
    }

    /// What a put is refused with after a failure.
    pub(super) fn refusal(&self) -> Option<DriverError> {
        self.failed.get().map(|error| {
            DriverError::failed(format!(
                "an earlier write failed, and nobody can say what the disk holds: open the store anew \
                 ({error})"
            ))
        })
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.get().is_some()
    }

    /// Waits until everything journaled so far is in redb.
    pub(super) fn apply_all(&self) -> Result<u64, DriverError> {
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

/// Opens a read transaction; here so that only this file needs redb's trait for it.
pub(super) fn begin_read(database: &Database) -> Result<redb::ReadTransaction, DriverError> {
    database.begin_read().map_err(redb_failed)
}
