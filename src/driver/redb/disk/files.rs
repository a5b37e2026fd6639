//! The files of a store, behind two small traits.
//!
//! Everything the driver writes goes through a [`Disk`]: the journal's files directly, redb's file
//! by way of redb's `StorageBackend`. [`DirectoryDisk`] is the real one. Tests bring their own,
//! which lose, tear and reorder what was not flushed, fill up, or fail.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
#[cfg(not(unix))]
use std::sync::{Mutex, PoisonError};

use crate::driver::redb::disk::directory::Directory;
use crate::sync_directory::sync_directory;

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

    /// The directory of this machine that the files are in, if there is one. Provided: none.
    fn directory(&self) -> Option<PathBuf> {
        None
    }

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

/// A directory of this machine. Whoever drops it gives up the directory's lock.
pub(in crate::driver::redb) struct DirectoryDisk(Directory);

impl DirectoryDisk {
    pub(in crate::driver::redb) fn new(directory: Directory) -> Self {
        DirectoryDisk(directory)
    }

    /// The path of a file, if the directory still stands where it was locked.
    fn checked_path(&self, name: &str) -> io::Result<PathBuf> {
        self.0.check_place()?;
        Ok(self.0.path().join(name))
    }
}

/// The error with the operation and the file.
fn named(operation: &str, path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{operation} {}: {error}", path.display()))
}

impl Disk for DirectoryDisk {
    fn directory(&self) -> Option<PathBuf> {
        Some(self.0.path().to_owned())
    }

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
            Ok(file) => Ok(Some(Arc::new(RealFile::new(file)))),
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
        Ok(Arc::new(RealFile::new(file.map_err(named("making", &path))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let from = self.checked_path(from)?;
        fs::rename(&from, self.0.path().join(to)).map_err(named("renaming", &from))
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
        sync_directory(self.0.path()).map_err(named("flushing", self.0.path()))
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

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file().metadata()?.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write(offset, data)
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.file().set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file().sync_data()
    }
}
