//! What a backup holds, and how far the work on it is.

use super::manifest::Manifest;
use crate::event::{Position, Timestamp};

/// How far a backup, its check or a restore is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupProgress {
    /// Events that are done.
    pub events: u64,
    /// Events in all.
    pub total: u64,
}

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupContents {
    /// The last position; 0 if there is no event.
    pub last: Position,
    /// When the last event was recorded.
    pub last_recorded_at: Option<Timestamp>,
    /// Files of events.
    pub files: usize,
    /// The bytes of these files.
    pub bytes: u64,
}

impl BackupContents {
    pub(super) fn of(manifest: &Manifest) -> Self {
        BackupContents {
            last: manifest.last(),
            last_recorded_at: manifest.files.last().map(|file| file.last_recorded_at),
            files: manifest.files.len(),
            bytes: manifest.bytes(),
        }
    }
}

/// Called with the progress, now and then.
pub(super) type TellProgress = Box<dyn Fn(BackupProgress) + Send + Sync>;

pub(super) fn tell(on_progress: &Option<TellProgress>, events: u64, total: u64) {
    if let Some(tell) = on_progress {
        tell(BackupProgress { events, total });
    }
}
