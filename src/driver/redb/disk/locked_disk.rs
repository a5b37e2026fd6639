//! A disk that can be used only until its lock is released, whoever still holds a file of it.
//!
//! Another opener may come when the lock is released, and a late write to a file would be a write
//! into its store. So the driver has no other way to a disk or a file than through this one.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use crate::driver::redb::disk::files::{Disk, DiskFile};

/// A [`Disk`] until it is released; clones are the same one.
#[derive(Clone)]
pub(in crate::driver::redb) struct LockedDisk(Arc<RwLock<Option<Arc<dyn Disk>>>>);

impl LockedDisk {
    pub(in crate::driver::redb) fn new(disk: Arc<dyn Disk>) -> Self {
        LockedDisk(Arc::new(RwLock::new(Some(disk))))
    }

    /// Runs `work` while the lock is held. Fails if it was released.
    fn held<T>(&self, work: impl FnOnce(&dyn Disk) -> io::Result<T>) -> io::Result<T> {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Some(disk) => work(&**disk),
            None => Err(io::Error::other("the store is closed: its directory is not locked")),
        }
    }

    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(LockedFile { file, disk: self.clone() })
    }
}

impl Disk for LockedDisk {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.held(|disk| disk.list(folder))
    }

    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let file = self.held(|disk| disk.open(name))?;
        Ok(file.map(|file| self.file(file)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.held(|disk| disk.create(name)).map(|file| self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.held(|disk| disk.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.held(|disk| disk.remove(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.held(|disk| disk.sync_names())
    }

    fn directory(&self) -> Option<PathBuf> {
        let disk = self.0.read().unwrap_or_else(PoisonError::into_inner);
        disk.as_ref().and_then(|disk| disk.directory())
    }

    /// Waits for work in progress.
    fn release(&self) {
        let mut disk = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(disk) = disk.take() {
            disk.release();
        }
    }
}

/// A file of a [`LockedDisk`].
struct LockedFile {
    file: Arc<dyn DiskFile>,
    disk: LockedDisk,
}

impl fmt::Debug for LockedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl DiskFile for LockedFile {
    fn size(&self) -> io::Result<u64> {
        self.disk.held(|_| self.file.size())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.held(|_| self.file.read_at(offset, out))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.held(|_| self.file.write_at(offset, data))
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.disk.held(|_| self.file.set_size(bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.held(|_| self.file.sync())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::driver::redb::disk::directory::Directory;
    use crate::driver::redb::disk::files::DirectoryDisk;

    #[test]
    fn nothing_is_touched_after_the_lock_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let disk = LockedDisk::new(Arc::new(DirectoryDisk::new(directory)));
        let file = disk.create("journal/000001").unwrap();
        file.write_at(0, b"before").unwrap();
        assert_eq!(disk.create("journal/000001").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        disk.release();
        file.write_at(0, b"after!").unwrap_err();
        file.set_size(0).unwrap_err();
        file.sync().unwrap_err();
        file.read_at(0, &mut [0; 6]).unwrap_err();
        file.size().unwrap_err();
        disk.open("journal/000001").unwrap_err();
        disk.create("journal/000002").unwrap_err();
        disk.remove("journal/000001").unwrap_err();
        disk.rename("journal/000001", "journal/000002").unwrap_err();
        disk.list("journal").unwrap_err();
        disk.sync_names().unwrap_err();
        assert_eq!(std::fs::read(folder.path().join("journal/000001")).unwrap(), b"before");
        // Nobody is kept out.
        Directory::open(folder.path()).unwrap();
    }
}
