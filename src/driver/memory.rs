//! The driver `memory:`: everything in this process's memory, nothing on a disk.
//!
//! For tests, and for data that may be lost. It keeps every promise of a driver but durability,
//! refuses puts that would leave a gap, and gives positions.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::put::refuse_unless_next;
use super::{
    Driver, DriverError, EventPage, EventPages, Fetch, KeyPages, Limits, LogBell, LogFetch,
    LogPage, LogStore, Put, PutDone, PutReceipt, SnapshotStore, async_trait, check_checkpoint_name,
    paged, paged_keys,
};
use crate::event::{AggregateKey, KeyedEvent, Position, Sequence, Timestamp};
use crate::stats::DriverStats;

const PAGE_EVENTS: usize = 1_000;
const PAGE_KEYS: usize = 1_000;
const LOG_PAGE_BYTES: usize = 1 << 20;

/// Events in memory. See the [module](self).
///
/// ```
/// use std::sync::Arc;
/// use seriatim::driver::memory::MemoryDriver;
/// use seriatim::{Append, EventStore, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let driver = MemoryDriver::new();
/// let next_run = driver.reopen();
///
/// let store = EventStore::builder().driver(Arc::new(driver)).open().await?;
/// store.append(Append::to("light/1").event(NewEvent::raw("SwitchedOn", "{}"))).await?;
/// store.close().await?;
///
/// let store = EventStore::builder().driver(Arc::new(next_run)).open().await?;
/// assert_eq!(store.latest_sequence("light/1").await?, 1);
/// # Ok(()) }
/// ```
pub struct MemoryDriver {
    events: Arc<RwLock<Events>>,
    bell: Arc<LogBell>,
    closed: Arc<AtomicBool>,
}

#[derive(Default)]
struct Events {
    /// The event with position n has index n - 1.
    log: Vec<KeyedEvent>,
    /// Indexes into the log, by aggregate; the event with sequence n has index n - 1 here.
    by_key: BTreeMap<AggregateKey, Vec<usize>>,
    latest_time: Timestamp,
    snapshots: BTreeMap<AggregateKey, Bytes>,
    checkpoints: BTreeMap<String, Bytes>,
}

impl Default for MemoryDriver {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryDriver {
    /// A driver without events.
    pub fn new() -> Self {
        MemoryDriver { events: Arc::default(), bell: Arc::default(), closed: Arc::default() }
    }

    /// Another driver over the same events, open whether or not this one is closed: what a second
    /// process, or the next run of this one, sees of a durable driver.
    pub fn reopen(&self) -> Self {
        MemoryDriver {
            events: self.events.clone(),
            bell: self.bell.clone(),
            closed: Arc::default(),
        }
    }

    // A poisoned lock is safe to use: a put changes nothing before all its checks have passed, and
    // only an allocation can panic after that.
    fn read(&self) -> Result<RwLockReadGuard<'_, Events>, DriverError> {
        self.open()?;
        Ok(self.events.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self) -> Result<RwLockWriteGuard<'_, Events>, DriverError> {
        self.open()?;
        Ok(self.events.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn put_now(&self, put: &Put) -> Result<PutReceipt, DriverError> {
        self.limits().check(put)?;
        let receipt = self.write()?.put(put);
        self.bell.ring();
        receipt
    }

    fn open(&self) -> Result<(), DriverError> {
        if self.closed.load(Ordering::Acquire) { Err(DriverError::Closed) } else { Ok(()) }
    }

    fn page(&self, key: &AggregateKey, fetch: Fetch) -> Result<EventPage, DriverError> {
        let events = self.read()?;
        let (Some(all), Some((low, high))) = (events.by_key.get(key), fetch.bounds()) else {
            return Ok(EventPage::default());
        };
        let start = usize::try_from(low.get() - 1).unwrap_or(usize::MAX).min(all.len());
        let end = usize::try_from(high.get()).unwrap_or(usize::MAX).min(all.len());
        let wanted = all.get(start..end).unwrap_or_default();
        let count = wanted.len().min(fetch.limit.unwrap_or(usize::MAX)).min(PAGE_EVENTS);
        let page = match fetch.backwards {
            false => events.at(wanted.iter().take(count)),
            true => events.at(wanted.iter().rev().take(count)),
        };
        Ok(EventPage::new(page, count < wanted.len()))
    }

    fn keys_page(
        &self,
        prefix: &str,
        after: Option<&AggregateKey>,
    ) -> Result<Vec<AggregateKey>, DriverError> {
        let events = self.read()?;
        let prefix_key = AggregateKey::new(prefix).ok();
        let start = match (after, &prefix_key) {
            (Some(after), Some(prefix)) if after < prefix => Bound::Included(prefix),
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(prefix)) => Bound::Included(prefix),
            // Every key has the empty prefix; no key has another prefix that is not a key itself.
            (None, None) => Bound::Unbounded,
        };
        Ok(events
            .by_key
            .range((start, Bound::Unbounded))
            .map(|(key, _)| key)
            .take_while(|key| key.as_str().starts_with(prefix))
            .take(PAGE_KEYS)
            .cloned()
            .collect())
    }
}

impl Events {
    fn at<'a>(&self, places: impl Iterator<Item = &'a usize>) -> Vec<KeyedEvent> {
        places.filter_map(|place| self.log.get(*place)).cloned().collect()
    }

    fn log_page(&self, fetch: LogFetch) -> LogPage {
        let mut bytes = 0;
        let fits = |event: &&KeyedEvent| {
            let fits = bytes < LOG_PAGE_BYTES;
            bytes += event.size_bytes();
            fits
        };
        let limit = fetch.limit.min(PAGE_EVENTS);
        let place = |from: Position| usize::try_from(from.get()).unwrap_or(usize::MAX);
        let events = if fetch.backwards {
            let end = fetch.from.map_or(usize::MAX, place).min(self.log.len());
            let before = self.log.get(..end).unwrap_or_default().iter().rev();
            before.take(limit).take_while(fits).cloned().collect()
        } else {
            let start = fetch.from.map_or(0, place).saturating_sub(1).min(self.log.len());
            let behind = self.log.get(start..).unwrap_or_default().iter();
            behind.take(limit).take_while(fits).cloned().collect()
        };
        LogPage::new(events)
    }

    fn latest(&self, key: &AggregateKey) -> Sequence {
        Sequence::new(self.by_key.get(key).map_or(0, |events| events.len() as u64))
    }

    fn put(&mut self, put: &Put) -> Result<PutReceipt, DriverError> {
        for aggregate in put.aggregates() {
            let Some(first) = aggregate.first() else { continue };
            let latest = self.latest(&first.key);
            refuse_unless_next(&first.key, first.sequence, latest)?;
        }
        let first_position = Position::new(self.log.len() as u64 + 1);
        for event in put.events() {
            let mut event = event.clone();
            let place = self.log.len();
            event.position = Some(Position::new(place as u64 + 1));
            // Recorded-at never decreases along positions, whatever the clock did.
            self.latest_time = self.latest_time.max(event.recorded_at);
            event.recorded_at = self.latest_time;
            match self.by_key.get_mut(&event.key) {
                Some(places) => places.push(place),
                None => {
                    self.by_key.insert(event.key.clone(), vec![place]);
                }
            }
            self.log.push(event);
        }
        Ok(PutReceipt::at(first_position))
    }
}

#[async_trait]
impl Driver for MemoryDriver {
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        Ok(sequence != Sequence::NONE && sequence <= self.read()?.latest(key))
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        let (driver, key) = (self.view(), key.clone());
        paged(fetch, move |fetch| driver.page(&key, fetch))
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        self.put_now(&put)
    }

    fn put_events_then(&self, put: Arc<Put>, done: PutDone) -> Result<(), PutDone> {
        done(self.put_now(&put));
        Ok(())
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.closed.store(true, Ordering::Release);
        self.bell.ring();
        Ok(())
    }

    async fn latest_sequence(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        Ok(self.read()?.latest(key))
    }

    fn latest_sequence_now(&self, key: &AggregateKey) -> Option<Result<Sequence, DriverError>> {
        Some(self.read().map(|events| events.latest(key)))
    }

    fn fetch_page_now(
        &self,
        key: &AggregateKey,
        fetch: Fetch,
    ) -> Option<Result<EventPage, DriverError>> {
        Some(self.page(key, fetch))
    }

    fn keys(&self, prefix: &str, after: Option<&AggregateKey>) -> KeyPages {
        let (driver, prefix) = (self.view(), prefix.to_owned());
        paged_keys(after.cloned(), move |after| driver.keys_page(&prefix, after))
    }

    fn snapshots(&self) -> Option<&dyn SnapshotStore> {
        Some(self)
    }

    fn log(&self) -> Option<&dyn LogStore> {
        Some(self)
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn needs_io(&self) -> bool {
        false
    }

    fn stats(&self) -> DriverStats {
        let mut stats = DriverStats::default();
        if let Ok(events) = self.read() {
            stats.events = Some(events.log.len() as u64);
            stats.keys = Some(events.by_key.len() as u64);
        }
        stats
    }

    fn limits(&self) -> Limits {
        Limits { aggregates_per_put: 1_000, ..Limits::default() }
    }
}

#[async_trait]
impl SnapshotStore for MemoryDriver {
    async fn load_snapshot(&self, key: &AggregateKey) -> Result<Option<Bytes>, DriverError> {
        Ok(self.read()?.snapshots.get(key).cloned())
    }

    async fn save_snapshot(&self, key: &AggregateKey, snapshot: Bytes) -> Result<(), DriverError> {
        self.write()?.snapshots.insert(key.clone(), snapshot);
        Ok(())
    }
}

#[async_trait]
impl LogStore for MemoryDriver {
    fn log_page_now(&self, fetch: LogFetch) -> Result<LogPage, DriverError> {
        Ok(self.read()?.log_page(fetch))
    }

    fn last_position(&self) -> Result<Position, DriverError> {
        Ok(Position::new(self.read()?.log.len() as u64))
    }

    fn bell(&self) -> &LogBell {
        &self.bell
    }

    async fn load_checkpoint(&self, name: &str) -> Result<Option<Bytes>, DriverError> {
        Ok(self.read()?.checkpoints.get(name).cloned())
    }

    async fn save_checkpoint(&self, name: &str, checkpoint: Bytes) -> Result<(), DriverError> {
        check_checkpoint_name(name)?;
        self.write()?.checkpoints.insert(name.to_owned(), checkpoint);
        Ok(())
    }
}

impl MemoryDriver {
    /// The same driver, closed together with this one. Streams of pages hold it.
    fn view(&self) -> Self {
        MemoryDriver {
            events: self.events.clone(),
            bell: self.bell.clone(),
            closed: self.closed.clone(),
        }
    }
}
