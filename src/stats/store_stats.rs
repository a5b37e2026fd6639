//! What is told of a store.

use std::time::Duration;

use super::{Distribution, DriverStats};

/// Figures of a store, from [`EventStore::stats`](crate::EventStore::stats).
///
/// An append is counted when it is answered. Each is in one of the counters `appends`,
/// `repeated_appends`, `early_conflicts`, `conflicts`, `unknown_appends` and `failed_appends`.
///
/// ```
/// use seriatim::{Append, EventStore, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// store.append(Append::to("light/1").event(NewEvent::raw("SwitchedOn", "{}"))).await?;
/// let stats = store.stats();
/// assert_eq!((stats.appends, stats.events, stats.conflicts), (1, 1, 0));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Appends that were written, those of commands included.
    pub appends: u64,
    /// Events of these appends.
    pub events: u64,
    /// Appends that had been written before under the same commit id, those of commands included.
    pub repeated_appends: u64,
    /// Appends refused in the caller's thread, because their expectation was below a sequence known
    /// to be durable.
    pub early_conflicts: u64,
    /// Appends refused later, because their expectation was wrong.
    pub conflicts: u64,
    /// Appends and commands answered `Indeterminate`: it is not known whether they were written.
    pub unknown_appends: u64,
    /// Appends and commands answered with another error, such as a limit, a deadline or a failure
    /// of the driver. Without those that had entered no aggregate's mailbox.
    pub failed_appends: u64,
    /// Commands that were answered, with or without events.
    pub commands: u64,
    /// Commands that appended nothing: there was nothing to do, or the entity rejected them, could
    /// not be loaded or panicked. A command whose append failed counts there.
    pub commands_without_events: u64,
    /// Puts that the driver committed.
    pub puts: u64,
    /// Puts that the driver refused as conflicts: another process had written.
    pub driver_conflicts: u64,
    /// Puts sent again, because an earlier sending was not answered or its outcome was unknown.
    pub resent_puts: u64,
    /// Puts whose outcome was still unknown at their deadline.
    pub unknown_puts: u64,
    /// From forming a put until the driver committed it, over all its sendings.
    pub put_time: Distribution<Duration>,
    /// From the arrival of an append in its mailbox until it goes into a put.
    pub queue_time: Distribution<Duration>,
    /// How many appends went into each put.
    pub appends_per_put: Distribution<u64>,
    /// Aggregates whose mailbox is in memory now.
    pub residents: u64,
    /// Bytes of the entities' states that they hold, as
    /// [`Builder::max_resident_bytes`](crate::Builder::max_resident_bytes) counts them.
    pub resident_bytes: u64,
    /// Aggregates whose actor was stopped, because it was idle or another needed its place.
    pub passivations: u64,
    /// Appends and commands that are admitted and not answered.
    pub in_flight: u64,
    /// Bytes of these, as [`Builder::bytes_in_flight`](crate::Builder::bytes_in_flight) counts
    /// them.
    pub bytes_in_flight: u64,
    /// The consumers that run in this process, in order of their names.
    pub consumers: Vec<ConsumerStats>,
    /// What the driver tells of itself.
    pub driver: DriverStats,
}

/// Figures of a running consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStats {
    /// Its name.
    pub name: String,
    /// The number of events after its position, wanted or not.
    pub lag: u64,
    /// Aggregates that are parked now.
    pub parked: u64,
    /// Deliveries that failed and were repeated, in this run.
    pub retries: u64,
}
