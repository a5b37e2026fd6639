//! redb's file on a [`Disk`](crate::driver::redb::disk::files::Disk).
//!
//! redb writes the pages of a transaction one by one, in no order, and flushes once at its end.
//! Here they are kept until the flush and then written in the file's order, neighbours in one
//! write: that takes the system a fraction of the work. Nothing is promised before the flush, so
//! nothing is lost by waiting for it; reads see what is kept.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use crate::driver::redb::disk::files::DiskFile;
use crate::driver::redb::disk::reserve::DiskReserve;
use crate::driver::redb::disk::sync_gate::SyncGate;
use crate::spin_wait::yield_now;

/// When the kept pages take more than this, they are written before the flush.
const KEPT_BYTES: usize = 16 << 20;
/// One write takes no more than this.
const WRITE_BYTES: usize = 256 << 10;
/// The buffers of written pages are reused for the next pages: so many, of at most this size. The
/// system would otherwise give and clear that memory for every transaction.
const SPARE_PAGES: usize = 2_048;
const SPARE_BYTES: usize = 4 << 10;
/// A flush of the journal waits for a flush of redb's file that is under way, so the bytes to flush
/// are kept few.
const FLUSH_EVERY: usize = 512 << 10;

/// Hears how many bytes were written.
pub(in crate::driver::redb) type OnWrite = Box<dyn Fn(u64) + Send + Sync>;

/// redb's file.
pub(in crate::driver::redb) struct RedbFile {
    file: Arc<dyn DiskFile>,
    room: Arc<DiskReserve>,
    on_write: Option<OnWrite>,
    gate: SyncGate,
    /// Held by whoever writes, for as long as the disk takes.
    turn: Mutex<()>,
    /// Never held while the disk works: readers of pages that were written long ago pass here too.
    kept: Mutex<KeptPages>,
}

/// What redb wrote and the file does not have yet, by offset. No two overlap.
#[derive(Default)]
struct KeptPages {
    pages: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
    /// Empty.
    spare: Vec<Vec<u8>>,
}

impl KeptPages {
    /// The page that has all of this range; an error where a part of the range is in some page.
    fn find(&self, offset: u64, len: usize) -> Result<Option<&[u8]>, Overlap> {
        let end = offset + len as u64;
        let Some((start, page)) = self.pages.range(..end).next_back() else { return Ok(None) };
        if start + page.len() as u64 <= offset {
            return Ok(None);
        }
        let from = offset.checked_sub(*start).ok_or(Overlap)? as usize;
        page.get(from..from + len).map(Some).ok_or(Overlap)
    }

    /// The first pages that follow one another, as one.
    fn first_run(&self, run: &mut Vec<u8>) -> Option<u64> {
        let (&start, _) = self.pages.first_key_value()?;
        run.clear();
        for (offset, page) in &self.pages {
            let follows = *offset == start + run.len() as u64;
            if !follows || run.len() + page.len() > WRITE_BYTES && !run.is_empty() {
                break;
            }
            run.extend_from_slice(page);
        }
        Some(start)
    }

    fn keep(&mut self, offset: u64, data: &[u8]) {
        let mut page = match data.len() <= SPARE_BYTES {
            true => self.spare.pop().unwrap_or_default(),
            false => Vec::new(),
        };
        page.extend_from_slice(data);
        self.bytes += data.len();
        self.pages.insert(offset, page);
    }

    fn remove_before(&mut self, end: u64) {
        while let Some(page) = self.pages.first_entry().filter(|page| *page.key() < end) {
            let mut page = page.remove();
            self.bytes -= page.len();
            if page.capacity() <= SPARE_BYTES && self.spare.len() < SPARE_PAGES {
                page.clear();
                self.spare.push(page);
            }
        }
    }
}

/// A range that begins or ends inside a kept page.
struct Overlap;

impl RedbFile {
    pub(in crate::driver::redb) fn new(
        file: Arc<dyn DiskFile>,
        room: Arc<DiskReserve>,
        on_write: Option<OnWrite>,
    ) -> Self {
        RedbFile {
            file,
            room,
            on_write,
            gate: SyncGate::default(),
            turn: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, KeptPages> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync(&self) -> io::Result<()> {
        self.gate.pass("redb's file", || self.file.sync())
    }

    /// Writes what is kept. What could not be written stays kept: redb gives up the file then.
    fn write_kept(&self, _turn: &MutexGuard<'_, ()>) -> io::Result<()> {
        let (mut run, mut unflushed) = (Vec::new(), 0);
        loop {
            let Some(start) = self.kept().first_run(&mut run) else { return Ok(()) };
            if unflushed >= FLUSH_EVERY {
                self.sync()?;
                unflushed = 0;
            }
            self.room.give_up_for(|| self.file.write_at(start, &run))?;
            if let Some(on_write) = &self.on_write {
                on_write(run.len() as u64);
            }
            unflushed += run.len();
            self.kept().remove_before(start + run.len() as u64);
            yield_now();
        }
    }
}

impl fmt::Debug for RedbFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedbFile").field(&self.file).finish()
    }
}

impl StorageBackend for RedbFile {
    fn len(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let found = match self.kept().find(offset, out.len()) {
            Ok(Some(page)) => {
                out.copy_from_slice(page);
                return Ok(());
            }
            Ok(None) => Ok(()),
            Err(Overlap) => Err(Overlap),
        };
        if let Err(Overlap) = found {
            self.write_kept(&self.turn())?;
        }
        self.file.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let turn = self.turn();
        // The file may become shorter than what is kept.
        self.write_kept(&turn)?;
        self.room.give_up_for(|| self.file.set_size(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.write_kept(&self.turn())?;
        self.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let turn = self.turn();
        let full = {
            let mut kept = self.kept();
            let same = kept.pages.get_mut(&offset).filter(|page| page.len() == data.len());
            if let Some(page) = same {
                page.copy_from_slice(data);
                return Ok(());
            }
            kept.bytes >= KEPT_BYTES || !matches!(kept.find(offset, data.len()), Ok(None))
        };
        if full {
            self.write_kept(&turn)?;
        }
        self.kept().keep(offset, data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use proptest::prelude::*;

    use super::*;
    use crate::driver::redb::samples::{Plain, PlainDisk};

    fn backend() -> (Arc<Plain>, RedbFile) {
        let file = Arc::new(Plain::default());
        let room = Arc::new(DiskReserve::new(Arc::new(PlainDisk)));
        (file.clone(), RedbFile::new(file, room, None))
    }

    #[test]
    fn neighbours_are_written_at_once() {
        let (file, backend) = backend();
        backend.set_len(64 * 4096).unwrap();
        for page in [5, 3, 4, 9, 2, 8] {
            backend.write(page * 4096, &[page as u8; 4096]).unwrap();
        }
        assert_eq!(file.writes.load(Ordering::SeqCst), 0);
        backend.sync_data().unwrap();
        assert_eq!(file.writes.load(Ordering::SeqCst), 2);
    }

    /// A flush in the middle of a large write is heard of by whoever writes, and redb ignores some
    /// failures of writes.
    #[test]
    fn a_failed_flush_is_the_last() {
        let (file, backend) = backend();
        backend.set_len(64 * 4096).unwrap();
        backend.write(0, &[1; 4096]).unwrap();
        file.fail_next_sync.store(true, Ordering::SeqCst);
        assert!(backend.sync_data().is_err());
        backend.write(4096, &[1; 4096]).unwrap();
        assert!(backend.sync_data().is_err(), "the page at 0 may be lost");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(usize, usize, u8),
        Read(usize, usize),
        SetLen(usize),
        Sync,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let range = (0..60usize, 1..9usize);
        prop_oneof![
            4 => (range.clone(), any::<u8>())
                .prop_map(|((at, len), fill)| Step::Write(at, len, fill)),
            2 => range.prop_map(|(at, len)| Step::Read(at, len)),
            1 => (20..70usize).prop_map(Step::SetLen),
            1 => Just(Step::Sync),
        ]
    }

    proptest! {
        /// Like a file that is written at once, whatever overlaps.
        #[test]
        fn reads_see_what_was_written(steps in prop::collection::vec(any_step(), 1..60)) {
            let (file, backend) = backend();
            let mut model = vec![0; 70];
            backend.set_len(70).unwrap();
            for step in steps {
                match step {
                    Step::Write(at, len, fill) if at + len <= model.len() => {
                        backend.write(at as u64, &vec![fill; len]).unwrap();
                        model[at..at + len].fill(fill);
                    }
                    Step::Read(at, len) if at + len <= model.len() => {
                        let mut out = vec![0; len];
                        backend.read(at as u64, &mut out).unwrap();
                        prop_assert_eq!(&out, &model[at..at + len]);
                    }
                    Step::SetLen(len) => {
                        backend.set_len(len as u64).unwrap();
                        model.resize(len, 0);
                    }
                    Step::Sync => {
                        backend.sync_data().unwrap();
                        prop_assert_eq!(&*file.bytes.lock().unwrap(), &model);
                    }
                    Step::Write(..) | Step::Read(..) => {}
                }
            }
        }
    }
}
