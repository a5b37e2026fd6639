//! The directory that a backup is written into.
//!
//! One backup at a time holds `lock`. Restores and checks share `readers`, and while they do, no
//! file is removed. A file is written under a temporary name, made durable and renamed; then the
//! manifest follows in the same way. A process that is killed leaves files that no manifest names:
//! they are ignored, and removed by the next backup.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::Hasher as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use twox_hash::XxHash3_64;

use super::error::BackupError;
use super::manifest::{Digest, ListedFile, Manifest};
use crate::event::{Position, Timestamp};
use crate::sync_directory::sync_directory;

pub(super) const MANIFEST: &str = "manifest";
const MANIFEST_NEW: &str = "manifest.new";
const EVENTS_NEW: &str = "events.new";
const LOCK: &str = "lock";
pub(super) const READERS: &str = "readers";

/// Begins each file of events: a magic number and the version.
pub(super) const FILE_HEADER: [u8; 8] = *b"srtmbak\x01";

/// Bytes after which a file being written is flushed. One flush of a whole file would hold up the
/// flushes of the store's journal on the same disk.
const FLUSHED_TOGETHER: u64 = 4 << 20;

/// The target of a backup, held by this process.
pub(super) struct Target {
    path: PathBuf,
    pub(super) manifest: Manifest,
    _lock: File,
}

impl Target {
    /// Makes the directory where there is none, and refuses one that holds something else.
    pub(super) fn open(path: &Path) -> Result<Self, BackupError> {
        let failed = BackupError::io(path);
        fs::create_dir_all(path).map_err(&failed)?;
        if !path.join(MANIFEST).exists() {
            for entry in fs::read_dir(path).map_err(&failed)? {
                let found = entry.map_err(&failed)?.file_name().to_string_lossy().into_owned();
                if !is_ours(&found) {
                    return Err(BackupError::NotEmpty { target: path.to_owned(), found });
                }
            }
        }
        let lock = open_lock(&path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(BackupError::InUse { target: path.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let manifest = read_manifest(path)?.unwrap_or_default();
        for file in &manifest.files {
            check_listed(path, file)?;
        }
        Ok(Target { path: path.to_owned(), manifest, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A file of events, begun under a temporary name.
    pub(super) fn begin_file(&self) -> Result<FileWriter, BackupError> {
        let path = self.path.join(EVENTS_NEW);
        let file = File::create(&path).map_err(BackupError::io(&path))?;
        let sum = XxHash3_64::new();
        let mut writer = FileWriter { path, file, sum, bytes: 0, flushed: 0 };
        writer.write(&FILE_HEADER)?;
        Ok(writer)
    }

    /// Makes the file durable under the name that its positions give it.
    pub(super) fn finish_file(
        &self,
        writer: FileWriter,
        (first, last): (Position, Position),
        last_recorded_at: Timestamp,
    ) -> Result<ListedFile, BackupError> {
        let checksum = Digest(writer.sum.finish());
        let listed = ListedFile { first, last, last_recorded_at, bytes: writer.bytes, checksum };
        writer.file.sync_all().map_err(BackupError::io(&writer.path))?;
        self.rename(&writer.path, &self.path.join(listed.name()))?;
        Ok(listed)
    }

    /// From here on the backup is what this manifest lists.
    pub(super) fn replace_manifest(&mut self, manifest: Manifest) -> Result<(), BackupError> {
        let path = self.path.join(MANIFEST_NEW);
        let failed = BackupError::io(&path);
        let text = manifest.encode().map_err(|e| failed(e.into()))?;
        let mut file = File::create(&path).map_err(&failed)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(&failed)?;
        // Windows renames no open file.
        drop(file);
        self.rename(&path, &self.path.join(MANIFEST))?;
        self.manifest = manifest;
        Ok(())
    }

    /// Removes what no manifest names, unless somebody reads the backup, who may have the manifest
    /// before this one.
    pub(super) fn remove_leftovers(&self) -> Result<(), BackupError> {
        let readers = open_lock(&self.path.join(READERS))?;
        if readers.try_lock().is_err() {
            return Ok(());
        }
        let failed = BackupError::io(&self.path);
        let listed: Vec<String> = self.manifest.files.iter().map(ListedFile::name).collect();
        for entry in fs::read_dir(&self.path).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_leftover = [EVENTS_NEW, MANIFEST_NEW].contains(&name.as_str())
                || (is_events(&name) && listed.binary_search(&name).is_err());
            if is_leftover {
                fs::remove_file(entry.path()).map_err(BackupError::io(&entry.path()))?;
            }
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), BackupError> {
        fs::rename(from, to).map_err(BackupError::io(to))?;
        sync_directory(&self.path).map_err(BackupError::io(&self.path))
    }
}

/// A file of events on its way into the target.
pub(super) struct FileWriter {
    path: PathBuf,
    file: File,
    sum: XxHash3_64,
    bytes: u64,
    flushed: u64,
}

impl FileWriter {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        let failed = BackupError::io(&self.path);
        self.file.write_all(bytes).map_err(&failed)?;
        self.sum.write(bytes);
        self.bytes += bytes.len() as u64;
        if self.bytes - self.flushed >= FLUSHED_TOGETHER {
            self.file.sync_data().map_err(&failed)?;
            self.flushed = self.bytes;
        }
        Ok(())
    }
}

/// The manifest of this directory; `None` where there is none.
pub(super) fn read_manifest(directory: &Path) -> Result<Option<Manifest>, BackupError> {
    let path = directory.join(MANIFEST);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(BackupError::io(&path)(error)),
    };
    let manifest = Manifest::decode(&text).map_err(|m| BackupError::damaged(&path, m))?;
    Ok(Some(manifest))
}

/// Whether the listed file is there, as long as it was.
pub(super) fn check_listed(directory: &Path, file: &ListedFile) -> Result<(), BackupError> {
    let path = directory.join(file.name());
    match fs::metadata(&path) {
        Ok(found) if found.len() == file.bytes => Ok(()),
        Ok(found) => {
            let message = format!("it has {} bytes and not {}", found.len(), file.bytes);
            Err(BackupError::damaged(&path, message))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(BackupError::damaged(&path, "the file is missing"))
        }
        Err(error) => Err(BackupError::io(&path)(error)),
    }
}

fn open_lock(path: &Path) -> Result<File, BackupError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(BackupError::io(path))
}

fn is_events(name: &str) -> bool {
    name.strip_prefix("events-").is_some_and(|rest| {
        rest.len() == 41 && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
    })
}

/// Whether a backup makes files of this name.
fn is_ours(name: &str) -> bool {
    [MANIFEST, MANIFEST_NEW, EVENTS_NEW, LOCK, READERS].contains(&name) || is_events(name)
}
