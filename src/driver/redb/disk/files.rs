//! The files of a store, behind two small traits.
//!
//! Everything the driver writes goes through a [`Disk`]: the journal's files directly, redb's file
//! by way of redb's `StorageBackend`. [`DirectoryDisk`] is the real one. Tests bring their own,
//! which lose, tear and reorder what was not flushed, fill up, or fail.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
#[cfg(not(unix))]
use std::sync::Mutex;
use std::sync::{Arc, PoisonError, RwLock};

use crate::driver::redb::disk::directory::{Directory, sync_directory};

/// Where a store's files are. Names are relative, with `/` between folder and file.
pub trait Disk: Send + Sync + 'static {
    /// The names of the files in `folder` (`"journal"`), each with the folder before it; none where
    /// there is no such folder.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Opens a file; `None` where there is none of that name.
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn DiskFile>>>;

    /// Makes an empty file. Fails if there is one of that name.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, in one step: after a crash it has the one or the other.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes it durable which files there are.
    fn sync_names(&self) -> io::Result<()>;

    /// Gives up what keeps other processes out; called once, after the last use.
    fn release(&self) {}
}

/// A file of a [`Disk`]. Called from several threads at once.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Its length in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Fills `out` from `offset`; an error where the file ends before.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data` at `offset`, and makes the file longer where needed.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Cuts the file off, or makes it longer with zeros.
    fn set_size(&self, bytes: u64) -> io::Result<()>;

    /// Returns when everything written before, and the length, survives a loss of power.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of this machine, locked for as long as the store is open. Its files hold the lock
/// too, so that nothing touches one of them after another opener may have come.
pub(in crate::driver::redb) struct DirectoryDisk {
    path: PathBuf,
    lock: DirectoryLock,
}

/// The lock of a directory, shared by its files.
#[derive(Clone)]
struct DirectoryLock(Arc<RwLock<Option<Directory>>>);

impl DirectoryLock {
    /// Runs `work` while the lock is held. Fails if it was released.
    fn held<T>(&self, work: impl FnOnce(&Directory) -> io::Result<T>) -> io::Result<T> {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Some(directory) => work(directory),
            None => Err(io::Error::other("the store is closed: its directory is not locked")),
        }
    }

    /// Waits for work in progress.
    fn release(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl DirectoryDisk {
    pub(in crate::driver::redb) fn new(directory: Directory) -> Self {
        let path = directory.path().to_owned();
        DirectoryDisk { path, lock: DirectoryLock(Arc::new(RwLock::new(Some(directory)))) }
    }

    /// The path of a file, if the directory still stands where it was locked.
    fn checked_path(&self, name: &str) -> io::Result<PathBuf> {
        self.lock.held(Directory::check_place)?;
        Ok(self.path.join(name))
    }
}

/// The error with the operation and the file.
fn named(operation: &str, path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{operation} {}: {error}", path.display()))
}

impl Disk for DirectoryDisk {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let path = self.checked_path(folder)?;
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(named("listing", &path)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            if let Some(name) = entry?.file_name().to_str() {
                names.push(format!("{folder}/{name}"));
            }
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let path = self.checked_path(name)?;
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => Ok(Some(Arc::new(LockedFile {
                file: RealFile::new(file),
                lock: self.lock.clone(),
            }))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(named("opening", &path)(error)),
        }
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.checked_path(name)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(named("making", folder))?;
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(&path);
        let file = RealFile::new(file.map_err(named("making", &path))?);
        Ok(Arc::new(LockedFile { file, lock: self.lock.clone() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let from = self.checked_path(from)?;
        fs::rename(&from, self.path.join(to)).map_err(named("renaming", &from))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.checked_path(name)?;
        fs::remove_file(&path).map_err(named("removing", &path))
    }

    fn sync_names(&self) -> io::Result<()> {
        let journal = self.checked_path("journal")?;
        if journal.is_dir() {
            sync_directory(&journal).map_err(named("flushing", &journal))?;
        }
        sync_directory(&self.path).map_err(named("flushing", &self.path))
    }

    fn release(&self) {
        self.lock.release();
    }
}

#[cfg(unix)]
#[derive(Debug)]
struct RealFile(File);

#[cfg(unix)]
impl RealFile {
    fn new(file: File) -> Self {
        RealFile(file)
    }

    fn file(&self) -> &File {
        &self.0
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, out, offset)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, data, offset)
    }
}

/// Without positioned reads and writes in the standard library, one user of the file at a time.
#[cfg(not(unix))]
#[derive(Debug)]
struct RealFile(File, Mutex<()>);

#[cfg(not(unix))]
impl RealFile {
    fn new(file: File) -> Self {
        RealFile(file, Mutex::new(()))
    }

    fn file(&self) -> &File {
        &self.0
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        use std::io::{Read, Seek, SeekFrom};
        let _alone = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        (&self.0).seek(SeekFrom::Start(offset))?;
        (&self.0).read_exact(out)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        use std::io::{Seek, SeekFrom, Write};
        let _alone = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        (&self.0).seek(SeekFrom::Start(offset))?;
        (&self.0).write_all(data)
    }
}

/// A file that can be used only while the directory is locked.
struct LockedFile {
    file: RealFile,
    lock: DirectoryLock,
}

impl Debug for LockedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(f)
    }
}

impl DiskFile for LockedFile {
    fn size(&self) -> io::Result<u64> {
        self.lock.held(|_| Ok(self.file.file().metadata()?.len()))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.lock.held(|_| self.file.read(offset, out))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.lock.held(|_| self.file.write(offset, data))
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.lock.held(|_| self.file.file().set_len(bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.lock.held(|_| self.file.file().sync_data())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_touched_after_the_lock_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let disk = DirectoryDisk::new(Directory::open(folder.path()).unwrap());
        let file = disk.create("journal/000001").unwrap();
        file.write_at(0, b"before").unwrap();
        assert_eq!(disk.create("journal/000001").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        disk.release();
        file.write_at(0, b"after!").unwrap_err();
        file.set_size(0).unwrap_err();
        file.sync().unwrap_err();
        file.read_at(0, &mut [0; 6]).unwrap_err();
        file.size().unwrap_err();
        disk.create("journal/000002").unwrap_err();
        disk.remove("journal/000001").unwrap_err();
        disk.rename("journal/000001", "journal/000002").unwrap_err();
        disk.list("journal").unwrap_err();
        disk.sync_names().unwrap_err();
        assert_eq!(fs::read(folder.path().join("journal/000001")).unwrap(), b"before");
        // Nobody is kept out.
        Directory::open(folder.path()).unwrap();
    }
}
