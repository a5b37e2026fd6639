//! Figures of a running store, for programs that watch it: [`EventStore::stats`].
//!
//! ```text
//! threads ── each counts in a stripe of its own ─▶ Stripes ─┐
//! driver  ── Driver::stats ────────────────────────────────▶├─▶ StoreStats
//! consumers ── their positions ─────────────────────────────┘
//! ```
//!
//! Counting costs a few instructions, takes no lock and shares no cache line. Nothing is computed
//! until somebody asks. Counters begin at 0 when the store is opened, never decrease, and stay
//! readable after closing. The figures of one answer are read one after another, while the store
//! works: they may be some appends apart.
//!
//! # Layout
//!
//! - `distribution`: the measured values, as readers see them; `cells`: the same, being counted
//! - `stripes`: one set of cells for each thread
//! - `store_stats`, `driver_stats`: what is told of a store and of its driver
//!
//! [`EventStore::stats`]: crate::EventStore::stats

mod cells;
mod distribution;
mod driver_stats;
mod store_stats;
mod stripes;

pub(crate) use cells::{Count, DistributionCells};
pub use distribution::{Distribution, Measure};
pub use driver_stats::{CacheStats, DriverStats, JournalStats};
pub use store_stats::{ConsumerStats, StoreStats};
pub(crate) use stripes::{Owner, Stripes};
