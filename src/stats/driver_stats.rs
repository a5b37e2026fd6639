//! What a driver tells of itself.

use std::time::Duration;

use super::Distribution;

/// Figures of a driver, from [`Driver::stats`](crate::driver::Driver::stats). `None` where the
/// driver does not know, or would have to work for it.
///
/// A driver fills in what it has:
///
/// ```
/// use seriatim::stats::DriverStats;
///
/// let mut stats = DriverStats::default();
/// stats.events = Some(12);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriverStats {
    /// Events that can be read.
    pub events: Option<u64>,
    /// Aggregates with events. redb: those in its index, without new ones that are in the tail
    /// only.
    pub keys: Option<u64>,
    /// Bytes on the disk: redb's file, the journal and the reserve.
    pub disk_bytes: Option<u64>,
    /// Of a driver with a journal.
    pub journal: Option<JournalStats>,
    /// Of a driver that keeps in memory what was read.
    pub cache: Option<CacheStats>,
}

/// Figures of a journal, and of how far the main file is behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalStats {
    /// Files: the current one, those not yet applied, and spare ones.
    pub files: u64,
    /// The size of these files in bytes.
    pub bytes: u64,
    /// Bytes in memory of what is journaled and not yet applied.
    pub tail_bytes: u64,
    /// Events that are journaled and not yet applied.
    pub apply_lag_events: u64,
    /// How long the oldest of them has waited. Zero if there is none.
    pub apply_lag: Duration,
    /// Bytes set aside on the disk for the next transaction.
    pub reserve_bytes: u64,
    /// The time of each flush that puts waited for, with the write before it.
    pub flush_time: Distribution<Duration>,
    /// How many puts shared each of these flushes.
    pub puts_per_flush: Distribution<u64>,
}

/// Figures of a cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Bytes held now.
    pub bytes: u64,
    /// Looked for and found.
    pub hits: u64,
    /// Looked for and read from the file.
    pub misses: u64,
}
