//! Why a backup or a restore failed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{DriverError, NoLog, ReadError};
use crate::event::Position;

/// Why a backup, its check or a restore failed.
///
/// A backup that failed leaves the target as good as it was: what the last manifest lists is still
/// whole. The next backup into the same target goes on from there.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A file of the backup could not be read or written: the disk is full, rights are missing …
    /// Remove the cause, then do the same again; it goes on where it was.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        source: Arc<io::Error>,
    },
    /// The directory holds no backup. Check the path.
    #[error("there is no backup in {}", target.display())]
    NoBackup {
        /// The directory.
        target: PathBuf,
    },
    /// The directory holds something else. A backup needs one that is absent or empty, or holds an
    /// earlier backup of the same store.
    #[error("{} holds {found}, which is no part of a backup", target.display())]
    NotEmpty {
        /// The directory.
        target: PathBuf,
        /// What is in it.
        found: String,
    },
    /// The target is the backup of another store, or of another state of this one: the store's
    /// event at this position is not the backup's. Choose another target.
    #[error(
        "{} is the backup of another store: the event at position {position} is not this store's",
        target.display()
    )]
    OtherStore {
        /// The directory.
        target: PathBuf,
        /// A position at which store and backup differ.
        position: Position,
    },
    /// Another backup into this target is running. Wait for its end.
    #[error("another backup into {} is running", target.display())]
    InUse {
        /// The directory.
        target: PathBuf,
    },
    /// A file of the backup is damaged or missing, or a later version wrote it. Restore from
    /// another copy; a damaged target takes no further backup.
    #[error("{}: {message}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it, and at which position.
        message: String,
    },
    /// The backup ends before the position that was asked for.
    #[error("the backup ends with position {last}, before {wanted}")]
    EndsBefore {
        /// The position that was asked for.
        wanted: Position,
        /// The last one that the backup has.
        last: Position,
    },
    /// The store to restore into holds events that the backup, or the part of it that is wanted,
    /// does not have. Restore into an empty store.
    #[error("the store holds other events than the backup, from position {position} on")]
    OtherEvents {
        /// The first position at which they differ.
        position: Position,
    },
    /// The store's log could not be read.
    #[error("reading the store: {0}")]
    Read(#[from] ReadError),
    /// The store to restore into could not be read or written. Restoring again goes on with what is
    /// missing.
    #[error("restoring: {0}")]
    Driver(#[from] DriverError),
    /// The driver keeps no log, so it has no positions to back up or to restore.
    #[error(transparent)]
    NoLog(#[from] NoLog),
}

impl BackupError {
    /// Always false: a backup expects no sequence.
    pub fn is_conflict(&self) -> bool {
        false
    }

    /// Whether the same call may succeed later, without anybody's doing.
    pub fn is_retryable(&self) -> bool {
        match self {
            BackupError::InUse { .. } => true,
            BackupError::Read(source) => source.is_retryable(),
            BackupError::Driver(source) => source.is_retryable(),
            _ => false,
        }
    }

    /// Names the file whose operation failed.
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> BackupError + use<> {
        let path = path.to_owned();
        move |error| BackupError::Io { path: path.clone(), source: Arc::new(error) }
    }

    pub(super) fn damaged(file: &Path, message: impl Into<String>) -> BackupError {
        BackupError::Damaged { file: file.to_owned(), message: message.into() }
    }
}
