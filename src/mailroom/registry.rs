//! Which aggregates are resident: key → slot.
//!
//! A slot outlives the actors that serve it. It leaves the registry only while nobody leases it: a lease is
//! taken under the shard's lock, and removal looks at the leases under the same lock, so no mail can fall
//! between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::Semaphore;

use super::hot::HotSlots;
use super::settle::Batch;
use super::slot::Slot;
use super::{Common, Wait};
use crate::error::AppendError;
use crate::event::{AggregateKey, Sequence};

/// What a writer finds in the registry.
pub(super) enum Found {
    Resident(Lease),
    NotResident,
    /// Resident, and this is its latest durable sequence at least: more than the writer expects.
    Stale(Sequence),
}

/// Keeps an aggregate resident.
pub(crate) struct Lease(Arc<Slot>);

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
        let room = &self.0.common().room;
        if self.0.leases.fetch_sub(1, Ordering::SeqCst) == 1
            && room.wanted.load(Ordering::SeqCst) > 0
        {
            room.ask_for_more();
        }
    }
}

/// How many aggregates may be resident, and who wants to become so.
pub(super) struct Room {
    max_resident: usize,
    seats: Semaphore,
    /// Callers that wait for a seat.
    wanted: AtomicUsize,
    asked: AtomicBool,
    /// Told when seats run short; the supervisor listens.
    short: tokio::sync::Notify,
    /// Grows with time and with every passivation; orders slots by last use.
    tick: AtomicU64,
}

impl Room {
    pub(super) fn new(max_resident: usize) -> Self {
        Room {
            max_resident,
            seats: Semaphore::new(max_resident),
            wanted: AtomicUsize::new(0),
            asked: AtomicBool::new(false),
            short: tokio::sync::Notify::new(),
            tick: AtomicU64::new(0),
        }
    }

    pub(super) fn tick(&self) -> u64 {
        self.tick.load(Ordering::Relaxed)
    }

    /// Seats kept free ahead of demand, so that a new aggregate seldom waits.
    fn spare_seats(&self) -> usize {
        self.max_resident / 16
    }

    /// Gives a seat back.
    pub(super) fn leave(&self) {
        self.seats.add_permits(1);
    }

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
    common: Arc<Common>,
}

impl Registry {
    pub(super) fn new(common: Arc<Common>) -> Self {
        Registry { slots: DashMap::new(), hot: HotSlots::new(), common }
    }

    /// By the seats taken: a sum over the map's shards would count who moves between them twice.
    pub(super) fn resident(&self) -> usize {
        let room = &self.common.room;
        room.max_resident.saturating_sub(room.seats.available_permits())
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
        let room = &self.common.room;
        let seat = match room.seats.try_acquire() {
            Ok(seat) => seat,
            Err(_) if wait == Wait::Never => {
                room.ask_for_more();
                return Err(AppendError::Busy { key: key.clone() });
            }
            Err(_) => {
                let _wanting = Wanting::new(room);
                room.ask_for_more();
                room.seats.acquire().await.map_err(|_| AppendError::Closed)?
            }
        };
        // Half, because making room looks at every resident aggregate: seldom, and then for many.
        if room.seats.available_permits() < room.spare_seats() / 2 {
            room.ask_for_more();
        }
        match self.slots.entry(key.clone()) {
            Entry::Occupied(resident) => Ok(Lease::new(resident.get())),
            Entry::Vacant(place) => {
                let slot = Arc::new(Slot::new(key.clone(), self.common.clone()));
                // From here on the slot gives it back.
                seat.forget();
                let lease = Lease::new(&slot);
                place.insert(slot);
                Ok(lease)
            }
        }
    }

    /// Until somebody needs a seat.
    pub(super) async fn seats_run_short(&self) {
        self.common.room.short.notified().await;
    }

    /// Passivates the least recently used aggregates that nobody leases, until the spare seats (and one
    /// for each who waits) are free or nobody is left. Says how many.
    pub(super) fn make_room(&self) -> usize {
        self.common.room.asked.store(false, Ordering::SeqCst);
        let free = self.common.room.seats.available_permits();
        let wanted =
            self.common.room.spare_seats() + self.common.room.wanted.load(Ordering::SeqCst);
        let missing = wanted.max(1).saturating_sub(free);
        if missing == 0 {
            return 0;
        }
        let mut idle: Vec<(u64, AggregateKey)> = self
            .slots
            .iter()
            .filter(|slot| slot.leases.load(Ordering::SeqCst) == 0)
            .map(|slot| (slot.last_used(), slot.key().clone()))
            .collect();
        if missing < idle.len() {
            idle.select_nth_unstable(missing);
            idle.truncate(missing);
        }
        self.common.room.tick.fetch_add(1, Ordering::Relaxed);
        idle.into_iter().filter(|(_, key)| self.passivate_if(key, |_| true)).count()
    }

    /// Time passed: gives the tick that slots used from now on carry.
    pub(super) fn advance_tick(&self) -> u64 {
        self.common.room.tick.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Passivates what nobody leases and nobody used since `tick`. Says how many.
    pub(super) fn passivate_unused_since(&self, tick: u64) -> usize {
        let unused = |slot: &Slot| slot.last_used() < tick;
        let idle: Vec<AggregateKey> =
            self.slots.iter().filter(|slot| unused(slot)).map(|slot| slot.key().clone()).collect();
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

    /// The batches that were formed before `moment` and are not answered, or all of them; whoever gets them here
    /// settles them.
    pub(super) fn overdue(&self, moment: Option<Instant>) -> Vec<Batch> {
        self.slots.iter().filter_map(|slot| slot.overdue(moment)).collect()
    }

    /// Passivates everything, leased or not: the store has ended. Batches that are still in flight are
    /// dropped, and so answered.
    pub(super) fn clear(&self) {
        drop(self.overdue(None));
        self.slots.retain(|_, slot| {
            self.hot.forget(slot);
            slot.passivate();
            false
        });
    }
}
