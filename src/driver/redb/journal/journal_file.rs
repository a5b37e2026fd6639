//! One file of the journal: its name, its space, its flushes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::driver::redb::disk::files::{Disk, DiskFile};
use crate::driver::redb::disk::sync_gate::SyncGate;

pub(in crate::driver::redb) const FOLDER: &str = "journal";
/// Bytes that are filled with zeros at a time. A flush of the writer waits for all of them.
const STEP: u64 = 512 << 10;
/// A step is written in pieces. The file system keeps together what was written at once, and a
/// flush of a small frame goes through all of it; a large frame over many small pieces takes
/// longer.
const PIECE: usize = 32 << 10;

pub(in crate::driver::redb) fn file_name(id: u64) -> String {
    format!("{FOLDER}/{id:06}")
}

/// The number of a file of the journal; `None` for a name that the journal does not give.
pub(in crate::driver::redb) fn file_id(name: &str) -> Option<u64> {
    let id = name.strip_prefix(FOLDER)?.strip_prefix('/')?.parse().ok()?;
    (file_name(id) == name).then_some(id)
}

/// One file of the journal.
#[derive(Debug)]
pub(in crate::driver::redb) struct JournalFile {
    pub(in crate::driver::redb) id: u64,
    pub(in crate::driver::redb) file: Arc<dyn DiskFile>,
    ready: AtomicU64,
    gate: SyncGate,
}

impl JournalFile {
    /// Flushes the file. The writer and the keeper both do.
    pub(in crate::driver::redb) fn sync(&self) -> io::Result<()> {
        self.gate.pass(&file_name(self.id), || self.file.sync())
    }

    /// Whether a flush has failed, which may have lost frames of it.
    pub(in crate::driver::redb) fn has_failed(&self) -> bool {
        self.gate.has_failed()
    }

    /// So far it is filled with zeros, durably.
    pub(in crate::driver::redb) fn ready(&self) -> u64 {
        self.ready.load(Ordering::Acquire)
    }

    /// Fills the next step.
    pub(in crate::driver::redb) fn extend(&self, file_bytes: u64) -> io::Result<()> {
        let at = self.ready();
        let end = (at + STEP).min(file_bytes);
        let zeros = vec![0; PIECE];
        for piece in (at..end).step_by(PIECE) {
            let bytes = (end - piece).min(PIECE as u64);
            self.file.write_at(piece, &zeros[..bytes as usize])?;
        }
        self.sync()?;
        self.ready.store(end, Ordering::Release);
        Ok(())
    }
}

/// A file whose first step is filled, durable with its name. Removed again if that fails.
pub(in crate::driver::redb) fn make(
    disk: &dyn Disk,
    names: &SyncGate,
    id: u64,
    file_bytes: u64,
) -> io::Result<JournalFile> {
    let name = file_name(id);
    let file = disk.create(&name)?;
    let made = JournalFile { id, file, ready: AtomicU64::new(0), gate: SyncGate::default() };
    let is_durable =
        made.extend(file_bytes).and_then(|()| names.pass(FOLDER, || disk.sync_names()));
    if is_durable.is_err() {
        // A file that is left is removed by the next opening.
        let _ = disk.remove(&name);
    }
    is_durable.map(|()| made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_the_journal_gives_are_its_own() {
        assert_eq!(file_id("journal/000007"), Some(7));
        assert_eq!(file_id("journal/1234567"), Some(1_234_567));
        for other in ["journal/7", "journal/+00007", "journal/0000007", "journal/x", "000007"] {
            assert_eq!(file_id(other), None, "{other}");
        }
    }
}
