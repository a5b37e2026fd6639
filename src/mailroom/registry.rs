//! Which aggregates are resident: key → slot.
//!
//! A slot outlives the actors that serve it. It holds what must be seen from any thread: the mailbox, the
//! permits, the latest durable sequence, and the one put permit. It leaves the registry only while
//! nobody leases it: a lease is taken under the shard's lock, and removal looks at the leases under the
//! same lock, so no mail can fall between.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Wait;
use super::courtesy::Courtesy;
use super::decide::Window;
use super::hot::HotSlots;
use super::inbox::Inbox;
use super::settle::Batch;
use crate::error::AppendError;
use crate::event::{AggregateKey, Sequence};

/// One resident aggregate.
pub(super) struct Slot {
    key: AggregateKey,
    permits: Semaphore,
    /// What is known to be durable: a lower bound of what is there.
    latest: AtomicU64,
    leases: AtomicUsize,
    last_used: AtomicU64,
    inbox: Mutex<Inbox>,
    gate: Mutex<Gate>,
    room: Arc<Room>,
    _resident: OwnedSemaphorePermit,
}

/// Whose turn it is to put, and what is known of the aggregate besides its latest sequence. Both change
/// only in the hands of who holds the put permit.
#[derive(Default)]
pub(super) struct Gate {
    taken: bool,
    /// The actor has mail that waits for the permit.
    waited_for: bool,
    /// The driver was asked for the latest sequence, or said it: `latest` may be built upon even if 0.
    pub(super) learned: bool,
    /// The latest commit ids, once somebody needed them.
    pub(super) window: Option<Box<Window>>,
    /// How many puts failed: an entity's state folded before the last one may hold what never was.
    pub(super) failed_puts: u64,
    pub(super) courtesy: Courtesy,
    /// A put whose driver answers by itself, so that no task waits for it: the watch for overdue ones.
    in_flight: Option<(Instant, Sent)>,
}

/// A batch sent off: taken by whoever settles it, the driver's answer or the watch.
pub(super) type Sent = Arc<Mutex<Option<Batch>>>;

impl Slot {
    pub(super) fn key(&self) -> &AggregateKey {
        &self.key
    }

    pub(super) fn permits(&self) -> &Semaphore {
        &self.permits
    }

    /// The latest sequence known to be durable.
    pub(super) fn latest(&self) -> Sequence {
        Sequence::new(self.latest.load(Ordering::Acquire))
    }

    /// Something durable was seen at this sequence. Never lowers what is known.
    pub(super) fn saw(&self, sequence: Sequence) {
        self.latest.fetch_max(sequence.get(), Ordering::AcqRel);
    }

    /// What is known to be durable, if it is above what a writer expects. Counts as a use.
    fn above(&self, expected: Sequence) -> Option<Sequence> {
        let latest = self.latest();
        let is_above = expected < latest;
        if is_above {
            self.used();
        }
        is_above.then_some(latest)
    }

    fn used(&self) {
        let tick = self.room.tick.load(Ordering::Relaxed);
        // Written only when it changes, so that readers on other cores keep their copy of the line.
        if self.last_used.load(Ordering::Relaxed) != tick {
            self.last_used.store(tick, Ordering::Relaxed);
        }
    }

    pub(super) fn gate(&self) -> MutexGuard<'_, Gate> {
        // Nothing panics while the gate is locked; if it did, `learned` and `window` are re-read.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a batch in sight until its driver answers.
    pub(super) fn watch(&self, batch: Batch) -> Sent {
        let sent = Arc::new(Mutex::new(Some(batch)));
        self.gate().in_flight = Some((Instant::now(), sent.clone()));
        sent
    }

    /// The batch, if nobody else has taken it to settle it.
    pub(super) fn unwatch(&self, sent: &Sent) -> Option<Batch> {
        // A late answer must not take the watch from the put after its own.
        self.gate().in_flight.take_if(|(_, watched)| Arc::ptr_eq(watched, sent));
        sent.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The put permit, if no put is in flight; else the actor is told when it is free.
    pub(super) fn take_put_permit(self: &Arc<Self>) -> Option<PutPermit> {
        let mut gate = self.gate();
        if gate.taken {
            gate.waited_for = true;
            return None;
        }
        gate.taken = true;
        drop(gate);
        Some(PutPermit { slot: self.clone() })
    }

    pub(super) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // Mail is moved under the lock, and nothing else: it cannot be left half done.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its actor ends after the mail it has.
    fn passivate(&self) {
        let waker = self.inbox().end();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The right to have a put in flight for one aggregate. Given back on drop, wherever that happens.
pub(super) struct PutPermit {
    slot: Arc<Slot>,
}

impl PutPermit {
    pub(super) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }
}

impl Drop for PutPermit {
    fn drop(&mut self) {
        let waited_for = {
            let mut gate = self.slot.gate();
            gate.taken = false;
            std::mem::take(&mut gate.waited_for)
        };
        if waited_for {
            let waker = self.slot.inbox().waker();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// What a writer finds in the registry.
pub(super) enum Found {
    Resident(Lease),
    NotResident,
    /// Resident, and this is its latest durable sequence at least: more than the writer expects.
    Stale(Sequence),
}

/// Keeps an aggregate resident.
pub(super) struct Lease(Arc<Slot>);

impl Lease {
    fn new(slot: &Arc<Slot>) -> Self {
        slot.leases.fetch_add(1, Ordering::SeqCst);
        slot.used();
        Lease(slot.clone())
    }

    pub(super) fn slot(&self) -> &Arc<Slot> {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let room = &self.0.room;
        if self.0.leases.fetch_sub(1, Ordering::SeqCst) == 1
            && room.wanted.load(Ordering::SeqCst) > 0
        {
            room.ask_for_more();
        }
    }
}

/// How many aggregates may be resident, and who wants to become so.
struct Room {
    seats: Arc<Semaphore>,
    /// Callers that wait for a seat.
    wanted: AtomicUsize,
    asked: AtomicBool,
    /// Told when seats run short; the supervisor listens.
    short: tokio::sync::Notify,
    /// Grows with time and with every passivation; orders slots by last use.
    tick: AtomicU64,
}

impl Room {
    fn ask_for_more(&self) {
        if !self.asked.swap(true, Ordering::SeqCst) {
            self.short.notify_one();
        }
    }
}

/// Counts a caller as waiting for a seat, also when its future is dropped.
struct Wanting<'a>(&'a Room);

impl<'a> Wanting<'a> {
    fn new(room: &'a Room) -> Self {
        room.wanted.fetch_add(1, Ordering::SeqCst);
        Wanting(room)
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The resident aggregates of one store.
pub(super) struct Registry {
    slots: DashMap<AggregateKey, Arc<Slot>>,
    hot: HotSlots,
    room: Arc<Room>,
    max_resident: usize,
    permits_per_aggregate: usize,
}

impl Registry {
    pub(super) fn new(max_resident: usize, permits_per_aggregate: usize) -> Self {
        Registry {
            slots: DashMap::new(),
            hot: HotSlots::new(),
            room: Arc::new(Room {
                seats: Arc::new(Semaphore::new(max_resident)),
                wanted: AtomicUsize::new(0),
                asked: AtomicBool::new(false),
                short: tokio::sync::Notify::new(),
                tick: AtomicU64::new(0),
            }),
            max_resident,
            permits_per_aggregate,
        }
    }

    /// By the seats taken: a sum over the map's shards would count who moves between them twice.
    pub(super) fn resident(&self) -> usize {
        self.max_resident.saturating_sub(self.room.seats.available_permits())
    }

    /// A lease on the aggregate, for a writer who expects this to be the latest sequence, if that is said.
    pub(super) fn find(&self, key: &AggregateKey, expected: Option<Sequence>) -> Found {
        if let Some(expected) = expected
            && let Some(actual) = self.hot.look(key, |slot| slot.above(expected))
        {
            return Found::Stale(actual);
        }
        let Some(slot) = self.slots.get(key) else { return Found::NotResident };
        match expected.and_then(|expected| slot.above(expected)) {
            Some(actual) => {
                self.hot.note(&slot);
                Found::Stale(actual)
            }
            None => Found::Resident(Lease::new(&slot)),
        }
    }

    /// A lease on the aggregate, which becomes resident if it is not. Waits for a seat, or says that it
    /// would.
    pub(super) async fn lease(&self, key: &AggregateKey, wait: Wait) -> Result<Lease, AppendError> {
        let seat = match self.room.seats.clone().try_acquire_owned() {
            Ok(seat) => seat,
            Err(_) if wait == Wait::Never => {
                self.room.ask_for_more();
                return Err(AppendError::Busy { key: key.clone() });
            }
            Err(_) => {
                let _wanting = Wanting::new(&self.room);
                self.room.ask_for_more();
                let seats = self.room.seats.clone();
                seats.acquire_owned().await.map_err(|_| AppendError::Closed)?
            }
        };
        // Half, because making room looks at every resident aggregate: seldom, and then for many.
        if self.room.seats.available_permits() < self.spare_seats() / 2 {
            self.room.ask_for_more();
        }
        match self.slots.entry(key.clone()) {
            Entry::Occupied(resident) => Ok(Lease::new(resident.get())),
            Entry::Vacant(place) => {
                let slot = Arc::new(Slot {
                    key: key.clone(),
                    permits: Semaphore::new(self.permits_per_aggregate),
                    latest: AtomicU64::new(0),
                    leases: AtomicUsize::new(0),
                    last_used: AtomicU64::new(0),
                    inbox: Mutex::default(),
                    gate: Mutex::default(),
                    room: self.room.clone(),
                    _resident: seat,
                });
                let lease = Lease::new(&slot);
                place.insert(slot);
                Ok(lease)
            }
        }
    }

    /// Seats kept free ahead of demand, so that a new aggregate seldom waits.
    fn spare_seats(&self) -> usize {
        self.max_resident / 16
    }

    /// Until somebody needs a seat.
    pub(super) async fn seats_run_short(&self) {
        self.room.short.notified().await;
    }

    /// Passivates the least recently used aggregates that nobody leases, until the spare seats (and one
    /// for each who waits) are free or nobody is left. Says how many.
    pub(super) fn make_room(&self) -> usize {
        self.room.asked.store(false, Ordering::SeqCst);
        let free = self.room.seats.available_permits();
        let wanted = self.spare_seats() + self.room.wanted.load(Ordering::SeqCst);
        let missing = wanted.max(1).saturating_sub(free);
        if missing == 0 {
            return 0;
        }
        let mut idle: Vec<(u64, AggregateKey)> = self
            .slots
            .iter()
            .filter(|slot| slot.leases.load(Ordering::SeqCst) == 0)
            .map(|slot| (slot.last_used.load(Ordering::Relaxed), slot.key.clone()))
            .collect();
        if missing < idle.len() {
            idle.select_nth_unstable(missing);
            idle.truncate(missing);
        }
        self.room.tick.fetch_add(1, Ordering::Relaxed);
        idle.into_iter().filter(|(_, key)| self.passivate_if(key, |_| true)).count()
    }

    /// Time passed: gives the tick that slots used from now on carry.
    pub(super) fn advance_tick(&self) -> u64 {
        self.room.tick.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Passivates what nobody leases and nobody used since `tick`. Says how many.
    pub(super) fn passivate_unused_since(&self, tick: u64) -> usize {
        let unused = |slot: &Slot| slot.last_used.load(Ordering::Relaxed) < tick;
        let idle: Vec<AggregateKey> =
            self.slots.iter().filter(|slot| unused(slot)).map(|slot| slot.key.clone()).collect();
        idle.into_iter().filter(|key| self.passivate_if(key, unused)).count()
    }

    fn passivate_if(&self, key: &AggregateKey, condition: impl Fn(&Slot) -> bool) -> bool {
        let removed = self
            .slots
            .remove_if(key, |_, slot| slot.leases.load(Ordering::SeqCst) == 0 && condition(slot));
        match removed {
            Some((_, slot)) => {
                self.hot.forget(&slot);
                slot.passivate();
                true
            }
            None => false,
        }
    }

    /// The batches that were sent off before `moment` and are not answered; whoever gets them here
    /// settles them.
    pub(super) fn overdue(&self, moment: Instant) -> Vec<Batch> {
        self.in_flight(|since| since < moment)
    }

    fn in_flight(&self, which: impl Fn(Instant) -> bool) -> Vec<Batch> {
        let mut batches = Vec::new();
        for slot in &self.slots {
            let sent = match &slot.gate().in_flight {
                Some((since, sent)) if which(*since) => sent.clone(),
                _ => continue,
            };
            batches.extend(slot.unwatch(&sent));
        }
        batches
    }

    /// Passivates everything, leased or not: the store has ended. Batches that are still in flight are
    /// dropped, and so answered.
    pub(super) fn clear(&self) {
        drop(self.in_flight(|_| true));
        self.slots.retain(|_, slot| {
            self.hot.forget(slot);
            slot.passivate();
            false
        });
    }
}
