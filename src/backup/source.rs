//! A backup being read: its manifest, and its files block by block.

use std::fs::File;
use std::hash::Hasher as _;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use twox_hash::XxHash3_64;

use super::block::{BlockHeader, HEADER_BYTES};
use super::error::BackupError;
use super::manifest::{ListedFile, Manifest};
use super::target::{FILE_HEADER, READERS, check_listed, read_manifest};
use crate::event::{KeyedEvent, Position, Timestamp};

/// A backup that keeps its files while this is held.
pub(super) struct OpenedBackup {
    pub(super) path: PathBuf,
    pub(super) manifest: Manifest,
    _readers: Option<File>,
}

impl OpenedBackup {
    pub(super) fn open(path: &Path) -> Result<Self, BackupError> {
        // A copy of a backup may lack the file, and then nobody removes anything from it.
        let readers = File::open(path.join(READERS)).ok();
        if let Some(readers) = &readers {
            readers.lock_shared().map_err(BackupError::io(&path.join(READERS)))?;
        }
        let no_backup = || BackupError::NoBackup { target: path.to_owned() };
        let manifest = read_manifest(path)?.ok_or_else(no_backup)?;
        Ok(OpenedBackup { path: path.to_owned(), manifest, _readers: readers })
    }

    pub(super) fn file(&self, listed: ListedFile) -> Result<FileReader, BackupError> {
        FileReader::open(&self.path, listed)
    }
}

/// One file of a backup, block by block. Its end is reached only if all of it is as it was written.
pub(super) struct FileReader {
    path: PathBuf,
    file: File,
    listed: ListedFile,
    left: u64,
    sum: XxHash3_64,
    next: Position,
    last_recorded_at: Timestamp,
}

/// A block as it stands in the file, and its events.
pub(super) struct ReadBlock {
    pub(super) header: [u8; HEADER_BYTES],
    pub(super) body: Bytes,
    pub(super) events: Vec<KeyedEvent>,
}

impl FileReader {
    pub(super) fn open(directory: &Path, listed: ListedFile) -> Result<Self, BackupError> {
        check_listed(directory, &listed)?;
        let path = directory.join(listed.name());
        let file = File::open(&path).map_err(BackupError::io(&path))?;
        let mut reader = FileReader {
            path,
            file,
            left: listed.bytes,
            sum: XxHash3_64::new(),
            next: listed.first,
            last_recorded_at: Timestamp::from_micros(i64::MIN),
            listed,
        };
        let mut header = [0; FILE_HEADER.len()];
        reader.take(&mut header)?;
        if header != FILE_HEADER {
            return Err(reader.damaged("it does not begin as a file of this version"));
        }
        Ok(reader)
    }

    /// The next block; `None` at the end.
    pub(super) fn next_block(&mut self) -> Result<Option<ReadBlock>, BackupError> {
        if self.left == 0 {
            return self.end().map(|()| None);
        }
        let mut header = [0; HEADER_BYTES];
        self.take(&mut header)?;
        let fields = BlockHeader::read(&header);
        if fields.body_bytes as u64 > self.left {
            return Err(self.damaged("the block is longer than the file"));
        }
        let mut body = vec![0; fields.body_bytes];
        self.take(&mut body)?;
        let body = Bytes::from(body);
        let events = fields.events(body.clone()).map_err(|message| self.damaged(&message))?;
        if fields.first != self.next {
            return Err(self.damaged(&format!("a block from position {} follows", fields.first)));
        }
        for event in &events {
            if event.recorded_at < self.last_recorded_at {
                return Err(self.damaged("times go back"));
            }
            self.last_recorded_at = event.recorded_at;
        }
        self.next = self.next.plus(events.len() as u64);
        Ok(Some(ReadBlock { header, body, events }))
    }

    fn end(&self) -> Result<(), BackupError> {
        if self.sum.finish() != self.listed.checksum.0 {
            return Err(BackupError::damaged(&self.path, "the file's checksum is wrong"));
        }
        match self.next == self.listed.last.plus(1) {
            true => Ok(()),
            false => Err(self.damaged("the file has other positions than are listed")),
        }
    }

    fn take(&mut self, out: &mut [u8]) -> Result<(), BackupError> {
        match self.file.read_exact(out) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.damaged("the file ends too early"));
            }
            Err(error) => return Err(BackupError::io(&self.path)(error)),
        }
        self.sum.write(out);
        self.left = self.left.saturating_sub(out.len() as u64);
        Ok(())
    }

    fn damaged(&self, message: &str) -> BackupError {
        BackupError::damaged(&self.path, format!("at position {}: {message}", self.next))
    }
}
