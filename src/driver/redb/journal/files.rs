//! The journal's files, used in turn and recycled.
//!
//! ```text
//! spare ──▶ current ──▶ behind ──▶ spare …
//!   ▲ made by the keeper   │ all its events are in redb
//! ```
//!
//! A flush into space that was written before changes no metadata of the file system, and takes
//! half the time. So a thread of its own, the keeper, fills files with zeros ahead of the writer,
//! step by step. Under [`Durability::Written`] the keeper also flushes.
//!
//! Until files can be recycled, everything is written twice, zeros first, which delays the flushes.
//! So the writer leaves a file long before it is full: few files circulate, and soon. Only a frame
//! that is larger than that uses more of a file.
//!
//! A frame never spans files. The keeper finds a full disk before a frame needs the space. Puts are
//! refused then, until there is room.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::driver::DriverError;
use crate::driver::redb::disk::files::Disk;
use crate::driver::redb::disk::reserve::DiskReserve;
use crate::driver::redb::disk::sync_gate::SyncGate;
use crate::driver::redb::journal::journal_file::{FOLDER, JournalFile, file_id, file_name, make};
use crate::driver::redb::options::{Durability, RedbBuilder};

/// Bytes of a file that are used before the next file.
const TURN: u64 = 4 << 20;
/// How soon the keeper tries again after a failure.
const RETRY: Duration = Duration::from_millis(200);

/// Where the writer stands.
#[derive(Clone, Debug)]
pub(in crate::driver::redb) struct Cursor {
    pub(in crate::driver::redb) file: Arc<JournalFile>,
    pub(in crate::driver::redb) offset: u64,
}

pub(in crate::driver::redb) struct Journal {
    disk: Arc<dyn Disk>,
    room: Arc<DiskReserve>,
    /// Of the names in the store's directory.
    names: SyncGate,
    file_bytes: u64,
    flush_interval: Option<Duration>,
    files: Mutex<Files>,
    /// Waited for by the keeper.
    work: Condvar,
    /// Waited for by the writer.
    space: Condvar,
    /// The writer's offset in the current file.
    used: AtomicU64,
    /// The number of the last frame written, and of the last one flushed.
    written: AtomicU64,
    flushed: AtomicU64,
}

struct Files {
    current: Arc<JournalFile>,
    spare: Vec<Arc<JournalFile>>,
    /// Full files, each with the number of the last frame in it.
    behind: VecDeque<(u64, Arc<JournalFile>)>,
    next_id: u64,
    /// Why there is no space ahead; cleared when there is.
    failure: Option<io::Error>,
    /// The writer waits for this much of the current file, or for a spare one.
    awaited: Option<u64>,
    stop: bool,
}

impl Journal {
    /// A journal that begins with a new file, the first after `last_id`.
    pub(in crate::driver::redb) fn start(
        disk: Arc<dyn Disk>,
        room: Arc<DiskReserve>,
        options: &RedbBuilder,
        last_id: u64,
    ) -> io::Result<Self> {
        let names = SyncGate::default();
        let current = make(&*disk, &names, last_id + 1, options.journal_file_bytes)?;
        Ok(Journal {
            disk,
            room,
            names,
            file_bytes: options.journal_file_bytes,
            flush_interval: match options.durability {
                Durability::Flushed => None,
                Durability::Written => Some(options.flush_interval),
            },
            files: Mutex::new(Files {
                current: Arc::new(current),
                spare: Vec::new(),
                behind: VecDeque::new(),
                next_id: last_id + 2,
                failure: None,
                awaited: None,
                stop: false,
            }),
            work: Condvar::new(),
            space: Condvar::new(),
            used: AtomicU64::new(0),
            written: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
        })
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So much of a file is used, and filled ahead of the writer.
    fn turn(&self) -> u64 {
        TURN.min(self.file_bytes)
    }

    pub(in crate::driver::redb) fn cursor(&self) -> Cursor {
        Cursor { file: self.files().current.clone(), offset: 0 }
    }

    /// How many files there are, and their bytes.
    pub(in crate::driver::redb) fn size(&self) -> (u64, u64) {
        let files = self.files();
        let behind = files.behind.iter().map(|(_, file)| file);
        let all = behind.chain(&files.spare).chain([&files.current]);
        all.fold((0, 0), |(files, bytes), file| (files + 1, bytes + file.ready()))
    }

    /// Whether a frame of `bytes` can be written at once.
    fn has_room(&self, cursor: &Cursor, bytes: u64) -> bool {
        cursor.offset + bytes <= cursor.file.ready()
    }

    /// Moves `cursor` to where a frame of `bytes` has room, waiting for the keeper where needed.
    /// `last_frame` is the number of the last one written so far.
    pub(in crate::driver::redb) fn make_room(
        &self,
        cursor: &mut Cursor,
        bytes: u64,
        last_frame: u64,
    ) -> Result<(), DriverError> {
        let mut files = self.files();
        loop {
            if cursor.offset + bytes > self.turn().max(bytes) {
                if let Some(next) = files.spare.pop() {
                    if self.flush_interval.is_some() {
                        cursor.file.sync().map_err(|e| flush_failed(&e))?;
                        self.flushed.fetch_max(last_frame, Ordering::AcqRel);
                    }
                    let full = std::mem::replace(&mut files.current, next.clone());
                    files.behind.push_back((last_frame, full));
                    *cursor = Cursor { file: next, offset: 0 };
                    self.used.store(0, Ordering::Release);
                    continue;
                }
                files.awaited = Some(self.file_bytes + 1);
            } else if self.has_room(cursor, bytes) {
                files.awaited = None;
                return Ok(());
            } else {
                files.awaited = Some(cursor.offset + bytes);
            }
            if let Some(error) = &files.failure {
                let message = format!("the journal has no space for more events: {error}");
                files.awaited = None;
                // It may sleep, and is to find out whether that still holds.
                self.work.notify_one();
                return Err(DriverError::unavailable(message));
            }
            self.work.notify_one();
            files = self.space.wait(files).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Tells how far the current file is used, and wakes the keeper when space ahead runs short.
    pub(in crate::driver::redb) fn advance(&self, cursor: &Cursor, frame: u64) {
        let before = self.used.swap(cursor.offset, Ordering::AcqRel);
        let half = self.turn() / 2;
        let crossed = |mark: u64| before < mark && cursor.offset >= mark;
        let short = cursor.file.ready() < self.turn();
        let first_unflushed = self.flush_interval.is_some()
            && self.written.load(Ordering::Acquire) == self.flushed.load(Ordering::Acquire);
        self.written.store(frame, Ordering::Release);
        if short || crossed(half) || first_unflushed {
            let _files = self.files();
            self.work.notify_one();
        }
    }

    /// The number of the last frame known to be durable.
    pub(in crate::driver::redb) fn flushed(&self) -> u64 {
        self.flushed.load(Ordering::Acquire)
    }

    pub(in crate::driver::redb) fn note_flushed(&self, frame: u64) {
        self.flushed.fetch_max(frame, Ordering::AcqRel);
    }

    /// Takes back the files whose frames are all in redb: those up to this one.
    pub(in crate::driver::redb) fn recycle(&self, applied: u64) {
        let mut files = self.files();
        while files.behind.front().is_some_and(|(last, _)| *last <= applied) {
            if let Some((_, file)) = files.behind.pop_front() {
                files.spare.push(file);
            }
        }
        self.space.notify_all();
    }

    /// Removes the journal's files, and no others; the store was closed and everything is in redb.
    pub(in crate::driver::redb) fn remove(&self) -> io::Result<()> {
        for name in self.disk.list(FOLDER)?.iter().filter(|name| file_id(name).is_some()) {
            self.disk.remove(name)?;
        }
        self.names.pass(FOLDER, || self.disk.sync_names())
    }

    /// No more space will be made: wakes everybody who waits for it.
    pub(in crate::driver::redb) fn give_up(&self) {
        self.files().failure = Some(io::Error::other("its thread died"));
        self.space.notify_all();
    }

    pub(in crate::driver::redb) fn stop(&self) {
        self.files().stop = true;
        self.work.notify_all();
    }

    /// The keeper: makes space ahead, and flushes where the writer does not. Ends when the journal
    /// is stopped. `failed` hears of a flush that failed.
    pub(in crate::driver::redb) fn keep(&self, failed: impl Fn(DriverError)) {
        let mut flushed_at = Instant::now();
        let mut files = self.files();
        while !files.stop {
            let until_flush = self.flush_interval.filter(|_| self.unflushed());
            let until_flush = until_flush.map(|every| every.saturating_sub(flushed_at.elapsed()));
            // First, because a full disk always leaves another task to retry.
            if until_flush.is_some_and(|left| left.is_zero()) {
                drop(files);
                if let Err(error) = self.flush() {
                    failed(flush_failed(&error));
                    self.give_up();
                    return;
                }
                flushed_at = Instant::now();
                files = self.files();
                continue;
            }
            let Some(task) = self.next_task(&files) else {
                files = match until_flush {
                    Some(left) => {
                        let waited = self.work.wait_timeout(files, left);
                        waited.unwrap_or_else(PoisonError::into_inner).0
                    }
                    None => self.work.wait(files).unwrap_or_else(PoisonError::into_inner),
                };
                continue;
            };
            if files.failure.is_some() {
                let waited = self.work.wait_timeout(files, RETRY);
                files = waited.unwrap_or_else(PoisonError::into_inner).0;
                if files.stop {
                    return;
                }
            }
            drop(files);
            let began = Instant::now();
            let done = self.room.beside(|| match &task {
                Task::Extend(file) => file.extend(self.file_bytes).map(|()| None),
                Task::Make(id) => make(&*self.disk, &self.names, *id, self.file_bytes).map(Some),
            });
            files = self.files();
            match done {
                Ok(made) => {
                    files.failure = None;
                    if let Some(file) = made {
                        files.next_id = file.id + 1;
                        files.spare.push(Arc::new(file));
                    }
                }
                Err(error) => {
                    let is_lost = match &task {
                        // Frames may be lost that were written meanwhile.
                        Task::Extend(file) => {
                            file.has_failed() && !self.discard_spare(&mut files, file)
                        }
                        // No name that is made from now on can be known to be durable.
                        Task::Make(_) => self.names.has_failed(),
                    };
                    if is_lost {
                        drop(files);
                        failed(flush_failed(&error));
                        self.give_up();
                        return;
                    }
                    files.failure = Some(error);
                }
            }
            self.space.notify_all();
            // While nobody waits, the writer gets the disk for as long as the keeper had it.
            let nobody_waits = |files: &mut Files| {
                files.awaited.is_none() && files.failure.is_none() && !files.stop
            };
            let waited = self.work.wait_timeout_while(files, began.elapsed(), nobody_waits);
            files = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets go of a file that no frame was written to. False if one may have been.
    fn discard_spare(&self, files: &mut Files, file: &Arc<JournalFile>) -> bool {
        let before = files.spare.len();
        files.spare.retain(|spare| !Arc::ptr_eq(spare, file));
        let is_spare = files.spare.len() < before;
        if is_spare {
            // It is removed on closing at the latest, and no replay reads it.
            let _ = self.disk.remove(&file_name(file.id));
        }
        is_spare
    }

    fn next_task(&self, files: &Files) -> Option<Task> {
        let used = self.used.load(Ordering::Acquire);
        // More than a file has is awaited of the next one.
        let awaited = files.awaited.filter(|bytes| *bytes <= self.file_bytes).unwrap_or(0);
        let wanted = self.turn().max(awaited);
        if files.current.ready() < wanted {
            return Some(Task::Extend(files.current.clone()));
        }
        let switching = files.awaited.is_some_and(|bytes| bytes > self.file_bytes);
        if !switching && used < self.turn() / 2 {
            return None;
        }
        match files.spare.last() {
            None => Some(Task::Make(files.next_id)),
            // Filled before its turn comes, so that the writer's flushes have nothing of it to wait
            // for.
            Some(next) if !switching && next.ready() < self.turn() => {
                Some(Task::Extend(next.clone()))
            }
            Some(_) => None,
        }
    }

    fn unflushed(&self) -> bool {
        self.written.load(Ordering::Acquire) > self.flushed.load(Ordering::Acquire)
    }

    /// Flushes what was written. A file that was left is flushed already.
    pub(in crate::driver::redb) fn flush(&self) -> io::Result<()> {
        let (file, written) = {
            let files = self.files();
            (files.current.clone(), self.written.load(Ordering::Acquire))
        };
        file.sync()?;
        self.flushed.fetch_max(written, Ordering::AcqRel);
        Ok(())
    }
}

enum Task {
    Extend(Arc<JournalFile>),
    Make(u64),
}

pub(in crate::driver::redb) fn flush_failed(error: &io::Error) -> DriverError {
    DriverError::unknown(format!("the journal could not be flushed: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::driver::redb::samples::PlainDisk;

    /// A journal with nobody who makes space, whose current file is filled as far as it is used.
    fn journal() -> Journal {
        let disk = Arc::new(PlainDisk);
        let room = Arc::new(DiskReserve::new(disk.clone()));
        let journal = Journal::start(disk, room, &RedbBuilder::default(), 0).unwrap();
        let current = journal.cursor().file;
        while current.ready() < TURN {
            current.extend(journal.file_bytes).unwrap();
        }
        journal
    }

    fn next_task_when_awaited(bytes: u64) -> Option<Task> {
        let journal = journal();
        let mut files = journal.files();
        files.awaited = Some(bytes);
        journal.next_task(&files)
    }

    #[test]
    fn a_file_grows_beyond_its_turn_for_a_large_frame_only() {
        assert!(matches!(next_task_when_awaited(TURN + 1), Some(Task::Extend(_))));
        let next_file = RedbBuilder::default().journal_file_bytes + 1;
        assert!(matches!(next_task_when_awaited(next_file), Some(Task::Make(_))));
    }
}
