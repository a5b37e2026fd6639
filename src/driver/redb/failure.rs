//! Failures of redb, as the driver reports them.

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

/// A failure of redb, as the driver's.
pub(in crate::driver::redb) fn redb_failed(error: impl Into<redb::Error>) -> DriverError {
    match error.into() {
        redb::Error::Corrupted(message) => {
            DriverError::damaged(format!("events.redb is damaged: {message}"))
        }
        redb::Error::DatabaseClosed => DriverError::Closed,
        other => DriverError::failed(format!("redb failed: {other}")).caused_by(other),
    }
}
