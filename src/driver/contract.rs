//! The contract in types: what a driver is asked, and how it answers.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt;

use super::{DriverError, Limits, LogStore, Put, PutReceipt, async_trait};
use crate::event::{AggregateKey, KeyedEvent, Sequence};
use crate::stats::DriverStats;

/// Events page by page. A page is never empty; the stream ends after the last page, or with an
/// error.
pub type EventPages = Pin<Box<dyn Stream<Item = Result<Vec<KeyedEvent>, DriverError>> + Send>>;

/// Keys page by page, in the driver's order; a page may be empty. See [`Driver::keys`].
pub type KeyPages = Pin<Box<dyn Stream<Item = Result<Vec<AggregateKey>, DriverError>> + Send>>;

/// Takes a put's answer; see [`Driver::put_events_then`] and
/// [`answer_together`](super::answer_together).
pub type PutDone = Box<dyn FnOnce(Result<PutReceipt, DriverError>) + Send>;

/// Which of an aggregate's events to read.
///
/// ```
/// use seriatim::driver::Fetch;
///
/// // The latest event, as a driver is asked for it.
/// let latest = Fetch::ALL.backwards().limit(1);
/// assert_eq!((latest.backwards, latest.limit), (true, Some(1)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fetch {
    /// Only events after this one in the direction of reading: greater sequences forwards, smaller
    /// ones backwards. `None` begins at the aggregate's first event, or backwards at its last.
    pub after: Option<Sequence>,
    /// From the latest event to the first.
    pub backwards: bool,
    /// No more events than this.
    pub limit: Option<usize>,
}

impl Fetch {
    /// All events, forwards.
    pub const ALL: Fetch = Fetch { after: None, backwards: false, limit: None };

    /// Only events after this one in the direction of reading.
    pub fn after(mut self, sequence: Sequence) -> Self {
        self.after = Some(sequence);
        self
    }

    /// From the latest event to the first.
    pub fn backwards(mut self) -> Self {
        self.backwards = true;
        self
    }

    /// No more events than this.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The smallest and the greatest sequence to read; `None` if there can be none.
    pub fn bounds(&self) -> Option<(Sequence, Sequence)> {
        let greatest = Sequence::new(u64::MAX);
        let (low, high) = match (self.backwards, self.after) {
            (_, None) => (Sequence::FIRST, greatest),
            (false, Some(after)) if after == greatest => return None,
            (false, Some(after)) => (after.next(), greatest),
            (true, Some(after)) => (Sequence::FIRST, after.previous()),
        };
        (low <= high && self.limit != Some(0)).then_some((low, high))
    }
}

/// Durable storage for events. The [module](crate::driver) says what a driver must promise.
#[async_trait]
pub trait Driver: Any + Send + Sync {
    /// Whether this aggregate has an event with this sequence.
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError>;

    /// The aggregate's events in sequence order, forwards or backwards, page by page: the whole
    /// history is never in memory. An aggregate without events has no page.
    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages;

    /// Writes all of the put's events or none, durably. [`DriverError::Conflict`] if any
    /// (key, sequence) exists already.
    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError>;

    /// Ends the driver's work. Every later call answers [`DriverError::Closed`]. Closing twice is
    /// not an error.
    async fn close(&self) -> Result<(), DriverError>;

    /// The aggregate's latest sequence; [`Sequence::NONE`] where it has no event.
    ///
    /// Provided: a galloping search by `check_sequence`, about 2 log2(n) calls. A driver that needs
    /// only one read overrides it.
    async fn latest_sequence(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        let mut there = 0;
        let mut probe = 1;
        while self.check_sequence(key, Sequence::new(probe)).await? {
            there = probe;
            probe = probe.saturating_mul(2);
        }
        let mut missing = probe;
        while missing - there > 1 {
            let middle = there + (missing - there) / 2;
            if self.check_sequence(key, Sequence::new(middle)).await? {
                there = middle;
            } else {
                missing = middle;
            }
        }
        Ok(Sequence::new(there))
    }

    /// Like [`Driver::put_events`], but the driver calls `done` with the answer on the thread that
    /// knows it first. The answer then reaches the caller without a further change of thread.
    /// `done` does not block. It is called once, or dropped if the driver dies. A driver that
    /// answers several puts at a time does so inside [`answer_together`](super::answer_together).
    ///
    /// It is called on any thread, also on one of the application's that runs no runtime, and on
    /// threads that serve many aggregates. So it must not wait for a disk or for the network.
    ///
    /// Provided: returns `done`, and the store awaits `put_events`.
    ///
    /// # Errors
    ///
    /// `done`, not called, when the driver does not answer by callback.
    fn put_events_then(&self, put: Arc<Put>, done: PutDone) -> Result<(), PutDone> {
        let _ = put;
        Err(done)
    }

    /// A read that is cheap enough for the caller's own thread: the first page of what
    /// [`Driver::fetch_events`] returns (empty if there is none), and whether more follow.
    ///
    /// Provided: `None`, and the store reads through `fetch_events` on its own runtime. Embedded
    /// drivers override it and save each reader two changes of thread.
    fn fetch_page_now(
        &self,
        key: &AggregateKey,
        fetch: Fetch,
    ) -> Option<Result<EventPage, DriverError>> {
        let _ = (key, fetch);
        None
    }

    /// Like [`Driver::latest_sequence`], where that is cheap enough for the caller's own thread. An
    /// append to an aggregate of which nothing is known yet then needs no change of thread.
    ///
    /// Provided: `None`, and the store asks `check_sequence` or `latest_sequence` on its own
    /// runtime.
    fn latest_sequence_now(&self, key: &AggregateKey) -> Option<Result<Sequence, DriverError>> {
        let _ = key;
        None
    }

    /// The keys that begin with `prefix` and come after `after`, in the driver's order, which is
    /// the same every time: ascending byte order where the engine keeps one, else the engine's own.
    /// So the last key of an earlier listing continues it. A page may be empty; the stream goes on.
    ///
    /// Provided: [`DriverError::Unsupported`].
    fn keys(&self, prefix: &str, after: Option<&AggregateKey>) -> KeyPages {
        let _ = (prefix, after);
        let refusal = DriverError::unsupported("this driver cannot list keys");
        futures_util::stream::iter([Err(refusal)]).boxed()
    }

    /// The store of entities' snapshots.
    ///
    /// Provided: none; entities are then folded from their first event.
    fn snapshots(&self) -> Option<&dyn SnapshotStore> {
        None
    }

    /// The log: every event in commit order.
    ///
    /// Provided: none; the store then has no subscriptions.
    fn log(&self) -> Option<&dyn LogStore> {
        None
    }

    /// Whether all puts go through this driver. If others can put too, a store that puts to one
    /// aggregate again and again pauses now and then; otherwise the others lose every race to it.
    ///
    /// Provided: false.
    fn is_exclusive(&self) -> bool {
        false
    }

    /// Whether its futures wait for sockets or pipes, and so need tokio's I/O driver on the threads
    /// that poll them. Without an I/O driver, each wake-up of such a thread costs one system call
    /// less. A driver that answers false and needs one gets tokio's panic, as a failed call.
    ///
    /// Provided: true.
    fn needs_io(&self) -> bool {
        true
    }

    /// How long [`Driver::put_events`] tries before it answers by itself. Unless told otherwise the
    /// store waits a little longer than this before it sends a put again: an engine that is down is
    /// then reported as [`DriverError::Unavailable`], and not as an unknown outcome.
    ///
    /// Provided: `None`, and the store waits 2 s.
    fn put_timeout(&self) -> Option<Duration> {
        None
    }

    /// Figures of the driver, for programs that watch the store. Called from any thread, about once
    /// a second, also after closing: it waits for no put and reads no event.
    ///
    /// Provided: none.
    fn stats(&self) -> DriverStats {
        DriverStats::default()
    }

    /// What a put may hold.
    ///
    /// Provided: [`Limits::default`].
    fn limits(&self) -> Limits {
        Limits::default()
    }
}

/// Keeps the latest snapshot of each entity's state. A snapshot only saves reading and decides
/// nothing: losing one costs time only.
#[async_trait]
pub trait SnapshotStore: Send + Sync {
    /// The latest snapshot.
    async fn load_snapshot(&self, key: &AggregateKey) -> Result<Option<Bytes>, DriverError>;

    /// Replaces the entity's snapshot.
    async fn save_snapshot(&self, key: &AggregateKey, snapshot: Bytes) -> Result<(), DriverError>;
}

/// A page read in the caller's thread; see [`Driver::fetch_page_now`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct EventPage {
    /// The events, in the order asked for.
    pub events: Vec<KeyedEvent>,
    /// Whether more events may follow the last one.
    pub more: bool,
}

impl EventPage {
    /// A page of these events.
    pub fn new(events: Vec<KeyedEvent>, more: bool) -> Self {
        EventPage { events, more }
    }
}
