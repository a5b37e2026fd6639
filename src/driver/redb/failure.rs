//! Failures of redb, as the driver reports them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::driver::DriverError;

/// redb believes its own pages and panics where they contradict each other.
pub(in crate::driver::redb) fn guarded<T>(
    read: impl FnOnce() -> Result<T, DriverError>,
) -> Result<T, DriverError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(redb_panicked()))
}

/// What a panic of redb means.
pub(in crate::driver::redb) fn redb_panicked() -> DriverError {
    DriverError::damaged("events.redb is damaged: redb cannot read it")
}

/// Whether the disk is full, or what this user may take of it.
pub(in crate::driver::redb) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A failed read or write of `what`, when no put rests on it. A full disk is worth another try.
pub(in crate::driver::redb) fn io_failed(what: &str, error: io::Error) -> DriverError {
    let failed = match is_full(&error) {
        true => DriverError::unavailable(format!("{what}: the disk is full: {error}")),
        false => DriverError::failed(format!("{what} could not be read or written: {error}")),
    };
    failed.caused_by(error)
}

/// A failure of redb, as the driver's.
pub(in crate::driver::redb) fn redb_failed(error: impl Into<redb::Error>) -> DriverError {
    match error.into() {
        redb::Error::Corrupted(message) => {
            DriverError::damaged(format!("events.redb is damaged: {message}"))
        }
        // The driver opens each table with one type, and these are always there.
        error @ (redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableDoesNotExist(_)
        // The keys before it are not what the driver wrote; redb panicked elsewhere.
        | redb::Error::UnorderedKey
        | redb::Error::LockPoisoned(_)) => {
            DriverError::damaged(format!("events.redb is damaged: {error}"))
        }
        redb::Error::UpgradeRequired(version) => {
            DriverError::damaged(format!("events.redb is damaged, or of redb's format {version}"))
        }
        redb::Error::DatabaseClosed => DriverError::Closed,
        // A page that says of another that it stands behind the file's end, and the like.
        redb::Error::Io(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            DriverError::damaged(format!("events.redb is damaged: {error}"))
        }
        redb::Error::Io(error) => io_failed("events.redb", error),
        error @ redb::Error::PreviousIo => DriverError::failed(
            "an earlier read or write of events.redb failed: close the store and open it again",
        )
        .caused_by(error),
        other => DriverError::failed(format!("redb failed: {other}")).caused_by(other),
    }
}
