//! A driver that fails on demand, around any other: for tests of stores and of applications.
//!
//! A test plans faults. Each planned fault meets one put or one read; a call that no fault is
//! planned for goes straight to the driver inside. All puts can also be held at a gate, and let
//! through one by one. Calls are counted by method.
//!
//! ```
//! use seriatim::driver::memory::MemoryDriver;
//! use seriatim::testing::faulty_driver::{FaultyDriver, PutFault};
//! use seriatim::{Append, EventStore, NewEvent};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let faults = FaultyDriver::around(MemoryDriver::new());
//! let store = EventStore::builder().driver(faults.clone()).open().await?;
//!
//! // The put is written and its answer is lost: the store sends it again and finds it written.
//! faults.next_put(PutFault::WrittenThenTimeout);
//! store.append(Append::to("a").event(NewEvent::raw("E", "{}"))).await?;
//! assert_eq!(store.latest_sequence("a").await?, 1);
//! assert_eq!(faults.counts().put_events, 2);
//! # Ok(()) }
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{Notify, Semaphore, watch};
use uuid::Uuid;

use crate::driver::{
    Driver, DriverError, EventPage, EventPages, Fetch, KeyPages, Limits, LogBell, LogStore, Put,
    PutDone, PutReceipt, SnapshotStore, async_trait,
};
use crate::event::{AggregateKey, NewEvent, Sequence, Timestamp};
use crate::stats::DriverStats;

/// What happens to a put.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PutFault {
    /// It is written, and the answer is [`DriverError::Unknown`].
    WrittenThenTimeout,
    /// It is not written, and the answer is [`DriverError::Unknown`].
    TimeoutOnly,
    /// It is not written, and this is the answer.
    Fails(DriverError),
    /// It is written after this time.
    Slow(Duration),
    /// It is never written, and never answered.
    Hangs,
    /// The call panics, and nothing is written.
    Panics,
    /// Another writer writes this event at the put's first sequence; the put arrives after it.
    Overtaken(NewEvent),
    /// None: the put goes to the driver inside. For one of the sendings that
    /// [`FaultyDriver::next_put_sendings`] plans.
    Passes,
}

/// What happens to a read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReadFault {
    /// This is the answer.
    Fails(DriverError),
    /// It is never answered.
    Hangs,
    /// The call panics.
    Panics,
}

/// What happens to a record that a consumer saves: its checkpoint, or its parked aggregates.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CheckpointFault {
    /// It is not saved, and this is the answer.
    Fails(DriverError),
    /// It is saved, and this is the answer.
    SavedThenFails(DriverError),
    /// It is not saved, and never answered.
    Hangs,
}

/// How often each method was called. A page read at once counts as a fetch, a put with a callback
/// as a put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Calls of `check_sequence`.
    pub check_sequence: u64,
    /// Calls of `fetch_events` and `fetch_page_now`.
    pub fetch_events: u64,
    /// Events in the pages of those.
    pub events_fetched: u64,
    /// Calls of `put_events` and `put_events_then`.
    pub put_events: u64,
    /// Calls of `latest_sequence`.
    pub latest_sequence: u64,
    /// Calls of `keys`.
    pub keys: u64,
    /// Loads of snapshots.
    pub load_snapshot: u64,
    /// Calls of `close`.
    pub close: u64,
}

impl Counts {
    /// All calls that a store makes to answer an append or a read.
    pub fn total(&self) -> u64 {
        self.check_sequence
            + self.fetch_events
            + self.put_events
            + self.latest_sequence
            + self.keys
            + self.load_snapshot
    }
}

/// A driver around another one, see the [module](self).
///
/// ```
/// use seriatim::driver::memory::MemoryDriver;
/// use seriatim::testing::faulty_driver::{FaultyDriver, PutFault};
/// use seriatim::{Append, EventStore, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let driver = FaultyDriver::around(MemoryDriver::new());
/// let store = EventStore::builder().driver(driver.clone()).open().await?;
///
/// // The write succeeds, and its answer is lost: the store sends the same put again.
/// driver.next_put(PutFault::WrittenThenTimeout);
/// let append = Append::to("light/1").event(NewEvent::raw("SwitchedOn", "{}"));
/// assert_eq!(store.append(append).await?.last, 1);
/// assert_eq!(store.latest_sequence("light/1").await?, 1);
/// # Ok(()) }
/// ```
pub struct FaultyDriver {
    pub(super) inner: Arc<dyn Driver>,
    limits: Limits,
    plan: Arc<Mutex<Plan>>,
    /// Where the driver inside has no log.
    pub(super) silent_bell: LogBell,
    /// One permit a put, while puts are held.
    gate: Semaphore,
}

#[derive(Default)]
pub(super) struct Plan {
    counts: Counts,
    /// Events in each put that came, in order.
    put_sizes: Vec<usize>,
    holds_puts: bool,
    /// Others put too, whatever the driver inside says.
    is_shared: bool,
    close_hangs: bool,
    is_closed: bool,
    puts: VecDeque<Planned>,
    /// What is left for puts that were sent and can come again.
    sendings: Vec<(Uuid, Sendings)>,
    every_put: Option<(u64, PutFault)>,
    checks: VecDeque<ReadFault>,
    latests: VecDeque<ReadFault>,
    /// Pages that go well before the fault, and the fault.
    pages: VecDeque<(usize, ReadFault)>,
    pub(super) checkpoints: VecDeque<CheckpointFault>,
    pub(super) checkpoint_loads: VecDeque<ReadFault>,
}

/// One fault for each sending of a put; the last one stays.
type Sendings = VecDeque<PutFault>;

enum Planned {
    Fault(PutFault),
    Sendings(Sendings),
    Late(Arc<Late>),
    Held(Arc<Held>),
}

impl FaultyDriver {
    /// A driver around `inner` that does just what that does, until told otherwise.
    pub fn around(inner: impl Driver) -> Arc<Self> {
        Self::around_shared(Arc::new(inner))
    }

    /// [`FaultyDriver::around`] a driver that is shared already.
    pub fn around_shared(inner: Arc<dyn Driver>) -> Arc<Self> {
        let limits = inner.limits();
        Self::with_limits(inner, limits)
    }

    /// [`FaultyDriver::around_shared`] with limits other than those of the driver inside.
    pub fn with_limits(inner: Arc<dyn Driver>, limits: Limits) -> Arc<Self> {
        let (plan, silent_bell) = (Arc::default(), LogBell::default());
        Arc::new(FaultyDriver { inner, limits, plan, silent_bell, gate: Semaphore::new(0) })
    }

    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next put that has no fault yet gets this one. Faults queue up.
    pub fn next_put(&self, fault: PutFault) {
        self.plan().puts.push_back(Planned::Fault(fault));
    }

    /// The next put that has no fault yet gets these, one for each time it is sent; the last one
    /// stays with it.
    pub fn next_put_sendings(&self, faults: impl IntoIterator<Item = PutFault>) {
        self.plan().puts.push_back(Planned::Sendings(faults.into_iter().collect()));
    }

    /// The next record that a consumer saves (its checkpoint, or its parked aggregates) gets this
    /// fault. Faults queue up.
    pub fn next_checkpoint(&self, fault: CheckpointFault) {
        self.plan().checkpoints.push_back(fault);
    }

    /// The next record of a consumer that is loaded gets this fault. Faults queue up.
    pub fn next_checkpoint_load(&self, fault: ReadFault) {
        self.plan().checkpoint_loads.push_back(fault);
    }

    /// Every put from here on waits at a gate, neither written nor answered.
    pub fn hold_puts(&self) {
        self.plan().holds_puts = true;
        self.gate.forget_permits(usize::MAX);
    }

    /// Lets so many held puts through, now or when they come.
    pub fn let_through(&self, puts: usize) {
        self.gate.add_permits(puts);
    }

    /// Opens the gate: no put is held any more.
    pub fn release_puts(&self) {
        self.plan().holds_puts = false;
        // Permits that nobody needs any more do no harm: holding forgets them.
        self.gate.add_permits(Semaphore::MAX_PERMITS / 2 - self.gate.available_permits());
    }

    /// Whether other stores put to the same events too, which a driver in memory does not know.
    /// Call it before the store is opened.
    pub fn is_shared(&self, is_shared: bool) {
        self.plan().is_shared = is_shared;
    }

    /// From here on `close` does not end.
    pub fn close_hangs(&self) {
        self.plan().close_hangs = true;
    }

    /// Whether `close` was called and went through.
    pub fn is_closed(&self) -> bool {
        self.plan().is_closed
    }

    /// The puts that came, by how many events each has, in order. Each sending counts.
    pub fn put_sizes(&self) -> Vec<usize> {
        self.plan().put_sizes.clone()
    }

    /// Every put whose number (by [`Counts::put_events`]) `n` divides gets this fault, unless one
    /// is queued for it; 0 ends that.
    pub fn every_nth_put(&self, n: u64, fault: PutFault) {
        self.plan().every_put = (n > 0).then_some((n, fault));
    }

    /// The next put is answered [`DriverError::Unknown`] and not written, until told to land.
    pub fn next_put_lands_late(&self) -> LatePut {
        let late = Arc::new(Late::default());
        self.plan().puts.push_back(Planned::Late(late.clone()));
        LatePut { late, inner: self.inner.clone() }
    }

    /// The next put waits, neither written nor answered, until it is released.
    pub fn next_put_is_held(&self) -> HeldPut {
        let held = Arc::new(Held { sent: Notify::new(), released: watch::channel(false).0 });
        self.plan().puts.push_back(Planned::Held(held.clone()));
        HeldPut { held }
    }

    /// The next `check_sequence` gets this fault.
    pub fn next_check(&self, fault: ReadFault) {
        self.plan().checks.push_back(fault);
    }

    /// The next `latest_sequence` gets this fault.
    pub fn next_latest(&self, fault: ReadFault) {
        self.plan().latests.push_back(fault);
    }

    /// The next fetch gets this fault after so many pages that are as they should be.
    pub fn next_fetch(&self, good_pages: usize, fault: ReadFault) {
        self.plan().pages.push_back((good_pages, fault));
    }

    /// The calls so far.
    pub fn counts(&self) -> Counts {
        self.plan().counts
    }

    /// The calls since the last call of this, or from the beginning.
    pub fn take_counts(&self) -> Counts {
        std::mem::take(&mut self.plan().counts)
    }

    /// Counts the put, and says what is planned for it.
    fn planned(&self, put: &Put) -> Option<Planned> {
        let mut plan = self.plan();
        plan.count_put(put);
        if let Some((_, left)) = plan.sendings.iter_mut().find(|(id, _)| *id == put.id()) {
            return next_sending(left).map(Planned::Fault);
        }
        let number = plan.counts.put_events;
        let planned = plan.puts.pop_front().or_else(|| match &plan.every_put {
            Some((n, fault)) if number.is_multiple_of(*n) => Some(Planned::Fault(fault.clone())),
            _ => None,
        });
        match planned {
            Some(Planned::Sendings(mut left)) => {
                let first = next_sending(&mut left).map(Planned::Fault);
                plan.sendings.push((put.id(), left));
                first
            }
            planned => planned,
        }
    }

    /// Waits at the gate while puts are held.
    async fn pass_gate(&self) {
        if self.plan().holds_puts
            && let Ok(permit) = self.gate.acquire().await
        {
            permit.forget();
        }
    }

    /// Writes the event where the put was to begin.
    async fn overtake(&self, put: &Put, event: NewEvent) -> Result<(), DriverError> {
        let Some(first) = put.events().first() else { return Ok(()) };
        let unfit = |error: &dyn std::fmt::Display| DriverError::failed(error.to_string());
        let event = event.check().map_err(|error| unfit(&error))?;
        let event = event.place(&first.key, first.sequence, Uuid::now_v7(), Timestamp::now());
        let overtaking = Put::new(vec![event]).map_err(|error| unfit(&error))?;
        self.inner.put_events(Arc::new(overtaking)).await.map(drop)
    }

    async fn put_with(&self, put: Arc<Put>, fault: PutFault) -> Result<PutReceipt, DriverError> {
        match fault {
            PutFault::WrittenThenTimeout => {
                self.inner.put_events(put).await?;
                Err(lost())
            }
            PutFault::TimeoutOnly => Err(lost()),
            PutFault::Fails(error) => Err(error),
            PutFault::Slow(time) => {
                tokio::time::sleep(time).await;
                self.inner.put_events(put).await
            }
            PutFault::Hangs => std::future::pending().await,
            PutFault::Panics => on_demand(),
            PutFault::Overtaken(event) => {
                self.overtake(&put, event).await?;
                self.inner.put_events(put).await
            }
            PutFault::Passes => self.inner.put_events(put).await,
        }
    }
}

impl Plan {
    fn count_put(&mut self, put: &Put) {
        self.counts.put_events += 1;
        self.put_sizes.push(put.events().len());
    }
}

fn next_sending(left: &mut Sendings) -> Option<PutFault> {
    if left.len() > 1 { left.pop_front() } else { left.front().cloned() }
}

fn lost() -> DriverError {
    DriverError::unknown("the answer to the put was lost, on demand")
}

#[derive(Default)]
struct Late {
    put: Mutex<Option<Arc<Put>>>,
    sent: Notify,
}

/// A put that was answered `Unknown` and can still land.
pub struct LatePut {
    late: Arc<Late>,
    inner: Arc<dyn Driver>,
}

impl LatePut {
    /// Waits until the put was sent (and answered `Unknown`).
    pub async fn sent(&self) -> Arc<Put> {
        loop {
            let sent = self.late.sent.notified();
            let put = self.late.put.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(put) = put {
                return put;
            }
            sent.await;
        }
    }

    /// Now the write arrives at the driver; its answer is what the driver says to it.
    ///
    /// # Errors
    ///
    /// What the driver says: a conflict, if its place was taken meanwhile.
    pub async fn land(self) -> Result<PutReceipt, DriverError> {
        let put = self.sent().await;
        self.inner.put_events(put).await
    }
}

struct Held {
    sent: Notify,
    released: watch::Sender<bool>,
}

/// A put that waits at the driver's door. Dropping this leaves it there.
pub struct HeldPut {
    held: Arc<Held>,
}

impl HeldPut {
    /// Waits until the put has come to the door.
    pub async fn sent(&self) {
        self.held.sent.notified().await;
    }

    /// Lets it in.
    pub fn release(self) {
        self.held.released.send_replace(true);
    }
}

pub(super) async fn read_fault<T>(fault: ReadFault) -> Result<T, DriverError> {
    match fault {
        ReadFault::Fails(error) => Err(error),
        ReadFault::Hangs => std::future::pending().await,
        ReadFault::Panics => on_demand(),
    }
}

#[allow(clippy::panic, reason = "to panic is what was asked for")]
fn on_demand() -> ! {
    panic!("a driver that panics on demand")
}

#[async_trait]
impl Driver for FaultyDriver {
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        let fault = {
            let mut plan = self.plan();
            plan.counts.check_sequence += 1;
            plan.checks.pop_front()
        };
        match fault {
            Some(fault) => read_fault(fault).await,
            None => self.inner.check_sequence(key, sequence).await,
        }
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        let fault = {
            let mut plan = self.plan();
            plan.counts.fetch_events += 1;
            plan.pages.pop_front()
        };
        let counting = self.plan.clone();
        let pages = self.inner.fetch_events(key, fetch).inspect(move |page| {
            if let Ok(page) = page {
                let mut plan = counting.lock().unwrap_or_else(PoisonError::into_inner);
                plan.counts.events_fetched += page.len() as u64;
            }
        });
        match fault {
            None => pages.boxed(),
            Some((good, fault)) => {
                let fault = futures_util::stream::once(async move { read_fault(fault).await });
                pages.take(good).chain(fault).boxed()
            }
        }
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        let planned = self.planned(&put);
        self.pass_gate().await;
        match planned {
            None | Some(Planned::Sendings(_)) => self.inner.put_events(put).await,
            Some(Planned::Fault(fault)) => self.put_with(put, fault).await,
            Some(Planned::Late(late)) => {
                *late.put.lock().unwrap_or_else(PoisonError::into_inner) = Some(put);
                late.sent.notify_waiters();
                Err(lost())
            }
            Some(Planned::Held(held)) => {
                held.sent.notify_one();
                let mut released = held.released.subscribe();
                // The sender lives as long as `held` does.
                let _ = released.wait_for(|released| *released).await;
                self.inner.put_events(put).await
            }
        }
    }

    async fn close(&self) -> Result<(), DriverError> {
        let hangs = {
            let mut plan = self.plan();
            plan.counts.close += 1;
            plan.close_hangs
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        self.plan().is_closed = true;
        self.inner.close().await
    }

    async fn latest_sequence(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        let fault = {
            let mut plan = self.plan();
            plan.counts.latest_sequence += 1;
            plan.latests.pop_front()
        };
        match fault {
            Some(fault) => read_fault(fault).await,
            None => self.inner.latest_sequence(key).await,
        }
    }

    /// Where a put is to fail or to wait, the store awaits `put_events` instead.
    fn put_events_then(&self, put: Arc<Put>, done: PutDone) -> Result<(), PutDone> {
        {
            let plan = self.plan();
            let is_planned = !plan.puts.is_empty() || plan.every_put.is_some();
            if is_planned || plan.holds_puts || !plan.sendings.is_empty() {
                return Err(done);
            }
        }
        // Counted before the answer, so that whoever is answered finds the put counted; and not
        // before it is sure that the driver inside takes it this way.
        let done = Arc::new(Mutex::new(Some(done)));
        let (answered, plan, sent) = (done.clone(), self.plan.clone(), put.clone());
        let count_and_answer: PutDone = Box::new(move |answer| {
            plan.lock().unwrap_or_else(PoisonError::into_inner).count_put(&sent);
            let done = answered.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(done) = done {
                done(answer);
            }
        });
        if self.inner.put_events_then(put, count_and_answer).is_ok() {
            return Ok(());
        }
        match done.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(done) => Err(done),
            // It was answered and handed back: the driver inside broke the contract.
            None => Ok(()),
        }
    }

    /// Where a fetch is to fail, the store reads through `fetch_events` instead.
    fn fetch_page_now(
        &self,
        key: &AggregateKey,
        fetch: Fetch,
    ) -> Option<Result<EventPage, DriverError>> {
        if !self.plan().pages.is_empty() {
            return None;
        }
        let page = self.inner.fetch_page_now(key, fetch)?;
        let mut plan = self.plan();
        plan.counts.fetch_events += 1;
        plan.counts.events_fetched += page.as_ref().map_or(0, |page| page.events.len() as u64);
        Some(page)
    }

    fn keys(&self, prefix: &str, after: Option<&AggregateKey>) -> KeyPages {
        self.plan().counts.keys += 1;
        self.inner.keys(prefix, after)
    }

    fn snapshots(&self) -> Option<&dyn SnapshotStore> {
        self.inner.snapshots().map(|_| self as &dyn SnapshotStore)
    }

    fn log(&self) -> Option<&dyn LogStore> {
        self.inner.log().map(|_| self as &dyn LogStore)
    }

    fn is_exclusive(&self) -> bool {
        !self.plan().is_shared && self.inner.is_exclusive()
    }

    fn needs_io(&self) -> bool {
        self.inner.needs_io()
    }

    fn put_timeout(&self) -> Option<Duration> {
        self.inner.put_timeout()
    }

    fn stats(&self) -> DriverStats {
        self.inner.stats()
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}

#[async_trait]
impl SnapshotStore for FaultyDriver {
    async fn load_snapshot(&self, key: &AggregateKey) -> Result<Option<bytes::Bytes>, DriverError> {
        self.plan().counts.load_snapshot += 1;
        match self.inner.snapshots() {
            Some(snapshots) => snapshots.load_snapshot(key).await,
            None => Ok(None),
        }
    }

    async fn save_snapshot(
        &self,
        key: &AggregateKey,
        snapshot: bytes::Bytes,
    ) -> Result<(), DriverError> {
        match self.inner.snapshots() {
            Some(snapshots) => snapshots.save_snapshot(key, snapshot).await,
            None => Ok(()),
        }
    }
}
