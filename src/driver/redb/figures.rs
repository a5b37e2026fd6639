//! What the driver tells of itself.
//!
//! Flushes are counted by whoever holds the committer, and cache hits once for each page that is
//! read. Everything else is looked up when somebody asks.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::driver::redb::core::Core;
use crate::driver::redb::disk::reserve::{DATABASE, RESERVE};
use crate::driver::redb::failure::guarded;
use crate::stats::{CacheStats, DriverStats, JournalStats};

pub(in crate::driver::redb) fn stats(core: &Core) -> DriverStats {
    let mut stats = DriverStats::default();
    let journal = journal_stats(core);
    stats.events = Some(core.readable.load(Ordering::Acquire));
    stats.keys = guarded(|| core.snapshot()?.aggregates()).ok();
    stats.disk_bytes =
        file_bytes(core, DATABASE).map(|file| file + journal.bytes + journal.reserve_bytes);
    stats.journal = Some(journal);
    let mut cache = CacheStats::default();
    (cache.bytes, cache.hits, cache.misses) = core.segments.figures();
    stats.cache = Some(cache);
    stats
}

fn journal_stats(core: &Core) -> JournalStats {
    let mut stats = JournalStats::default();
    (stats.files, stats.bytes) = core.journal.size();
    stats.tail_bytes = core.tail.bytes() as u64;
    // In this order: what is applied is journaled.
    let applied = core.applied.load(Ordering::Acquire);
    stats.apply_lag_events = core.journaled.load(Ordering::Acquire).saturating_sub(applied);
    stats.apply_lag = core.tail.age().unwrap_or(Duration::ZERO);
    stats.reserve_bytes = file_bytes(core, RESERVE).unwrap_or(0);
    core.flushes.time.add_to(&mut stats.flush_time);
    core.flushes.puts.add_to(&mut stats.puts_per_flush);
    stats
}

/// After closing there may be another owner's file, or none.
fn file_bytes(core: &Core, name: &str) -> Option<u64> {
    core.open().ok()?;
    core.disk.open(name).ok()??.size().ok()
}
