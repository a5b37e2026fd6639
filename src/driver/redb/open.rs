//! Opening: the journal's rest goes into redb before anything is served.
//!
//! redb says how far it has come and where the next frame stands. From there each frame must carry
//! the expected number and position, in this place or at another file's start. The journal ends
//! where no such frame follows. If a later frame says that the missing one was flushed, the journal
//! is damaged, and opening fails with an error that names the position. Frames of another epoch or
//! store are stale.
//!
//! The transaction that ends the replay raises the epoch, so that nothing the old files hold is
//! ever taken for the present. Every opening raises it, and begins with a new file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable};

use crate::driver::redb::apply::checkpoints::Checkpoint;
use crate::driver::redb::apply::merge::Merger;
use crate::driver::redb::apply::transaction;
use crate::driver::redb::core::{AppliedState, Core};
use crate::driver::redb::disk::directory::Directory;
use crate::driver::redb::disk::files::DirectoryDisk;
use crate::driver::redb::disk::files::{Disk, DiskFile};
use crate::driver::redb::disk::locked_disk::LockedDisk;
use crate::driver::redb::disk::redb_file::{OnWrite, RedbFile};
use crate::driver::redb::disk::reserve::{DATABASE, DiskReserve};
use crate::driver::redb::disk::system_pages;
use crate::driver::redb::driver::RedbDriver;
use crate::driver::redb::failure::{guarded, io_failed, redb_failed};
use crate::driver::redb::format::tables::{EARLIER, JournalPlace, LATEST, LOG, STORE, StoreState};
use crate::driver::redb::journal::files::Journal;
use crate::driver::redb::journal::frame::{ALIGN, ExpectedFrame, HEADER_BYTES, Header, decode};
use crate::driver::redb::journal::frame_events::FrameEvents;
use crate::driver::redb::journal::journal_file::{FOLDER, file_id, file_name};
use crate::driver::redb::options::{RedbBuilder, Step};
use crate::driver::redb::read::committed_view::{missing, read_segment};
use crate::driver::redb::reindex;
use crate::driver::{Driver, DriverError};
use crate::event::Timestamp;

/// redb's file while it is made: a crash in the middle leaves one that redb does not open.
const UNFINISHED: &str = "events.new";
/// Events of about so many bytes go into redb at once while replaying.
const BATCH_BYTES: u64 = 16 << 20;

impl RedbBuilder {
    /// Opens the store in the directory `path`, and makes it where there is none. Blocks until the
    /// journal's rest is in redb.
    ///
    /// # Errors
    ///
    /// [`DriverError::Failed`] when the directory cannot be made, is no directory, or is open
    /// elsewhere (the message names the holder); [`DriverError::Damaged`] when its format is
    /// unknown, or when the journal or redb's file is damaged (the message names the position).
    pub fn open(self, path: impl AsRef<Path>) -> Result<RedbDriver, DriverError> {
        let directory = Directory::open(path.as_ref())?;
        self.open_on(Arc::new(DirectoryDisk::new(directory)))
    }

    /// Opens the store on a disk of the caller's own. Nothing but the disk itself keeps a second
    /// opener out.
    ///
    /// # Errors
    ///
    /// Those of [`RedbBuilder::open`].
    pub fn open_on(self, disk: Arc<dyn Disk>) -> Result<RedbDriver, DriverError> {
        open(self, Arc::new(LockedDisk::new(disk)))
    }
}

fn open(options: RedbBuilder, disk: Arc<dyn Disk>) -> Result<RedbDriver, DriverError> {
    match guarded(|| open_core(options, disk.clone())) {
        Ok(core) => RedbDriver::start(core),
        Err(error) => {
            disk.release();
            Err(error)
        }
    }
}

/// redb's file with all that was answered in it, and what its opener found beside it.
pub(in crate::driver::redb) struct Recovered {
    pub(in crate::driver::redb) room: Arc<DiskReserve>,
    pub(in crate::driver::redb) database: Database,
    pub(in crate::driver::redb) applied: AppliedState,
    /// Of the earlier journal: all that they hold is in redb.
    pub(in crate::driver::redb) files: JournalFiles,
}

/// Opens redb's file, and moves the journal's rest into it.
pub(in crate::driver::redb) fn recover(
    options: &RedbBuilder,
    disk: &Arc<dyn Disk>,
    on_write: Option<OnWrite>,
) -> Result<Recovered, DriverError> {
    let is_new = disk.open(DATABASE).map_err(journal_failed)?.is_none();
    if is_new {
        refuse_orphaned_journal(&**disk)?;
    }
    let room = Arc::new(DiskReserve::new(disk.clone()));
    room.remove().map_err(journal_failed)?;
    if is_new {
        make_database(options, &**disk, &room)?;
    }
    let database = open_database(options, &**disk, &room, DATABASE, on_write)?;
    let mut state = read_state(&database)?;
    if options.rebuild_index {
        reindex::rebuild(&database, options, &mut state)?;
    }
    let files = journal_files(&**disk)?;
    let merger = load_deltas(&database, options, &state)?;
    let mut applied = AppliedState { store: state, merger };
    if !applied.store.clean {
        Replay { options, database: &database, files: &files }.run(&mut applied)?;
    }
    Ok(Recovered { room, database, applied, files })
}

fn open_core(options: RedbBuilder, disk: Arc<dyn Disk>) -> Result<Core, DriverError> {
    let Recovered { room, database, mut applied, files } = recover(&options, &disk, None)?;
    let last_id = files.keys().next_back().copied().unwrap_or(0);
    let journal = Journal::start(disk.clone(), room.clone(), &options, last_id);
    let journal = journal.map_err(journal_failed)?;
    let state = &mut applied.store;
    state.epoch += 1;
    state.frame = 0;
    state.place = JournalPlace { file: journal.cursor().file.id, offset: 0 };
    state.clean = false;
    transaction::write(&database, &[], &[], &mut applied)?;
    for id in files.keys() {
        disk.remove(&file_name(*id)).map_err(journal_failed)?;
    }
    Core::new(options, disk, room, journal, database, applied)
}

/// A journal without redb's file may hold the only copy of answered events: a new store is not
/// begun over it. redb's file is durable before the first file of the journal is made.
fn refuse_orphaned_journal(disk: &dyn Disk) -> Result<(), DriverError> {
    let names = disk.list(FOLDER).map_err(journal_failed)?;
    match names.iter().find(|name| file_id(name).is_some()) {
        None => Ok(()),
        Some(name) => Err(DriverError::damaged(format!(
            "{DATABASE} is missing, but {name} is there and may hold events. Nothing was changed: \
             restore {DATABASE}, or move the folder {FOLDER} away to begin an empty store"
        ))),
    }
}

/// Makes redb's file with its tables and the store's id.
fn make_database(
    options: &RedbBuilder,
    disk: &dyn Disk,
    room: &Arc<DiskReserve>,
) -> Result<(), DriverError> {
    if disk.open(UNFINISHED).map_err(journal_failed)?.is_some() {
        disk.remove(UNFINISHED).map_err(journal_failed)?;
    }
    disk.create(UNFINISHED).map_err(journal_failed)?;
    let database = open_database(options, disk, room, UNFINISHED, None)?;
    let transaction = database.begin_write().map_err(redb_failed)?;
    transaction.open_table(LOG).map_err(redb_failed)?;
    transaction.open_table(LATEST).map_err(redb_failed)?;
    transaction.open_table(EARLIER).map_err(redb_failed)?;
    StoreState::new().write(&mut transaction.open_table(STORE).map_err(redb_failed)?)?;
    transaction.commit().map_err(redb_failed)?;
    database.close().map_err(redb_failed)?;
    disk.rename(UNFINISHED, DATABASE).map_err(journal_failed)?;
    disk.sync_names().map_err(|error| {
        // A later flush may succeed without this name. The next opening begins again.
        let _ = disk.rename(DATABASE, UNFINISHED);
        journal_failed(error)
    })
}

fn open_database(
    options: &RedbBuilder,
    disk: &dyn Disk,
    room: &Arc<DiskReserve>,
    name: &str,
    on_write: Option<OnWrite>,
) -> Result<Database, DriverError> {
    let file = disk.open(name).map_err(journal_failed)?;
    let file = file.ok_or_else(|| DriverError::damaged(format!("{name} is missing")))?;
    if let Some(damage) = system_pages::find_damage(&*file).map_err(|e| io_failed(name, e))? {
        return Err(unusable(name, &damage));
    }
    let told = options.clone();
    let backend = RedbFile::new(file, room.clone(), on_write);
    Database::builder()
        .set_cache_size(options.cache_bytes)
        .set_repair_callback(move |session| {
            told.tell(Step::Repairing, (session.progress() * 1000.0) as u64, 1000);
        })
        .create_with_backend(backend)
        .map_err(redb_failed)
}

/// A file that redb cannot use, whatever of its log is sound.
fn unusable(name: &str, damage: &str) -> DriverError {
    DriverError::damaged(format!(
        "{name} is damaged in what redb keeps for itself: {damage}. Nothing was changed: restore a \
         backup into another directory, or put back a copy of this one"
    ))
}

/// The store's state, checked against where the log ends.
fn read_state(database: &Database) -> Result<StoreState, DriverError> {
    let transaction = database.begin_read().map_err(redb_failed)?;
    let state = StoreState::read(&transaction.open_table(STORE).map_err(redb_failed)?)?;
    let log = transaction.open_table(LOG).map_err(redb_failed)?;
    let next = match log.last().map_err(redb_failed)? {
        Some((first, stored)) => read_segment(first.value(), stored.value())?.next_position(),
        None => 1,
    };
    if next != state.applied + 1 {
        return Err(missing(next.min(state.applied + 1)));
    }
    Ok(state)
}

/// The part of the index that is in no block yet.
fn load_deltas(
    database: &Database,
    options: &RedbBuilder,
    state: &StoreState,
) -> Result<Merger, DriverError> {
    let transaction = database.begin_read().map_err(redb_failed)?;
    let latest = transaction.open_table(LATEST).map_err(redb_failed)?;
    let is_known = |key: &str| Ok(latest.get(key).map_err(redb_failed)?.is_some());
    let mut merger = Merger::new(options.tail_bytes);
    merger.load(&transaction, (state.indexed, state.applied), is_known)?;
    Ok(merger)
}

pub(in crate::driver::redb) type JournalFiles = BTreeMap<u64, (Arc<dyn DiskFile>, u64)>;

fn journal_files(disk: &dyn Disk) -> Result<JournalFiles, DriverError> {
    let mut files = BTreeMap::new();
    for name in disk.list(FOLDER).map_err(journal_failed)? {
        let (Some(id), Some(file)) = (file_id(&name), disk.open(&name).map_err(journal_failed)?)
        else {
            continue;
        };
        let size = file.size().map_err(journal_failed)?;
        files.insert(id, (file, size));
    }
    Ok(files)
}

pub(in crate::driver::redb) fn journal_failed(error: std::io::Error) -> DriverError {
    io_failed("the store's files", error)
}

struct Replay<'a> {
    options: &'a RedbBuilder,
    database: &'a Database,
    files: &'a JournalFiles,
}

/// Whole frames on their way into redb.
#[derive(Default)]
struct ReplayBatch {
    events: Vec<FrameEvents>,
    latest_time: Option<Timestamp>,
    checkpoints: Vec<Checkpoint>,
    bytes: u64,
}

impl Replay<'_> {
    fn run(&self, applied: &mut AppliedState) -> Result<(), DriverError> {
        let state = &applied.store;
        if !self.files.contains_key(&state.place.file) {
            return Err(DriverError::damaged(format!(
                "the journal at position {}: the file {} is missing",
                state.applied + 1,
                file_name(state.place.file)
            )));
        }
        let total = self.files.values().map(|(_, size)| size).sum();
        let mut done = 0;
        let mut place = state.place;
        let mut next = ExpectedFrame { position: state.applied + 1, number: state.frame + 1 };
        let mut batch = ReplayBatch::default();
        while let Some((found, header, body)) = self.next_frame(&applied.store, place, next)? {
            let content = decode(&header, body).map_err(DriverError::damaged)?;
            batch.events.push(content.events);
            batch.latest_time = batch.latest_time.max(content.latest_time);
            batch.checkpoints.extend(content.checkpoints);
            place = JournalPlace { file: found.file, offset: found.offset + header.frame_bytes() };
            next = header.behind(next);
            batch.bytes += header.frame_bytes();
            done += header.frame_bytes();
            if batch.bytes >= BATCH_BYTES {
                self.write(std::mem::take(&mut batch), applied, (next, place))?;
                self.options.tell(Step::Replaying, done, total);
            }
        }
        self.refuse_later_frames(&applied.store, next)?;
        self.write(batch, applied, (next, place))?;
        self.options.tell(Step::Replaying, total, total);
        Ok(())
    }

    /// Writes the batch, behind which stands the frame `next` in `place`.
    fn write(
        &self,
        batch: ReplayBatch,
        applied: &mut AppliedState,
        (next, place): (ExpectedFrame, JournalPlace),
    ) -> Result<(), DriverError> {
        if batch.bytes == 0 {
            return Ok(());
        }
        let state = &mut applied.store;
        state.applied = next.position - 1;
        state.frame = next.number - 1;
        state.latest_time = state.latest_time.max(batch.latest_time.unwrap_or(state.latest_time));
        state.place = place;
        transaction::write(self.database, &batch.events, &batch.checkpoints, applied)
    }

    /// The frame `next`: in `place`, or at another file's start.
    fn next_frame(
        &self,
        state: &StoreState,
        place: JournalPlace,
        next: ExpectedFrame,
    ) -> Result<Option<(JournalPlace, Header, Bytes)>, DriverError> {
        let starts = self.files.keys().filter(|id| **id != place.file);
        let starts = starts.map(|id| JournalPlace { file: *id, offset: 0 });
        for place in std::iter::once(place).chain(starts) {
            if let Some((header, body)) = self.frame(state, place, |header| header.is(next))? {
                return Ok(Some((place, header, body)));
            }
        }
        Ok(None)
    }

    /// The whole frame of this store and epoch that stands in `place`, if one does and `is_wanted`.
    fn frame(
        &self,
        state: &StoreState,
        place: JournalPlace,
        is_wanted: impl Fn(&Header) -> bool,
    ) -> Result<Option<(Header, Bytes)>, DriverError> {
        let Some((file, size)) = self.files.get(&place.file) else { return Ok(None) };
        if place.offset + HEADER_BYTES as u64 > *size {
            return Ok(None);
        }
        let mut head = [0; HEADER_BYTES];
        file.read_at(place.offset, &mut head).map_err(journal_failed)?;
        let Some(header) = Header::read(&head) else { return Ok(None) };
        let end = place.offset + HEADER_BYTES as u64 + u64::from(header.body_bytes);
        let is_ours = header.store == state.store && header.epoch == state.epoch;
        if !is_ours || end > *size || !is_wanted(&header) {
            return Ok(None);
        }
        let mut body = vec![0; header.body_bytes as usize];
        file.read_at(place.offset + HEADER_BYTES as u64, &mut body).map_err(journal_failed)?;
        Ok(header.checks(&head, &body).then(|| (header, body.into())))
    }

    /// The journal ends before `next`, unless a later frame proves that it had been flushed.
    fn refuse_later_frames(
        &self,
        state: &StoreState,
        next: ExpectedFrame,
    ) -> Result<(), DriverError> {
        const CHUNK: u64 = 1 << 20;
        let mut chunk = vec![0; CHUNK as usize];
        for (id, (file, size)) in self.files {
            let mut offset = 0;
            while offset < *size {
                let bytes = CHUNK.min(size - offset) as usize;
                let Some(chunk) = chunk.get_mut(..bytes) else { break };
                file.read_at(offset, chunk).map_err(journal_failed)?;
                for (sector, at) in
                    chunk.chunks(ALIGN as usize).zip((offset..).step_by(ALIGN as usize))
                {
                    let Some(header) = Header::read(sector) else { continue };
                    if !header.proves_flushed(next) {
                        continue;
                    }
                    let place = JournalPlace { file: *id, offset: at };
                    if self.frame(state, place, |_| true)?.is_some() {
                        return Err(DriverError::damaged(format!(
                            "the journal at position {}: the frame is damaged or missing; \
                             position {} follows in {} at byte {at}",
                            next.position,
                            header.first_position,
                            file_name(*id),
                        )));
                    }
                }
                offset += CHUNK;
            }
        }
        Ok(())
    }
}

/// Opens `redb:` with what stands behind the first `:` of the URL: the directory's path, and
/// perhaps `?durability=written`.
pub(crate) async fn open_url(rest: &str) -> Result<Arc<dyn Driver>, DriverError> {
    let (builder, path) = RedbBuilder::from_url(rest)?;
    let opening = tokio::task::spawn_blocking(move || builder.open(path));
    match opening.await {
        Ok(opened) => Ok(Arc::new(opened?)),
        Err(_panic) => Err(DriverError::failed("redb panicked while opening")),
    }
}
