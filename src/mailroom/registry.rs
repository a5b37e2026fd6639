//! Which aggregates are resident: key → slot.
//!
//! A slot outlives the actors that serve it. It leaves the registry only while it has no lease. A
//! lease is taken under the lock of the map's shard, and removal checks the leases under the same
//! lock, so no mail reaches a slot that has left.

use std::sync::Arc;
use std::time::Instant;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::TryAcquireError;

use super::admission::Wait;
use super::conflict_cache::ConflictCache;
use super::seats::SeatWanted;
use super::shared::Shared;
use super::slot::{Batch, Lease, Slot, StartActor};
use crate::error::AppendError;
use crate::event::{AggregateKey, Sequence};

/// What a writer finds in the registry.
pub(super) enum Lookup {
    Resident(Lease),
    NotResident,
    /// Resident, and its latest durable sequence is at least this: more than the writer expects.
    Stale(Sequence),
}

/// The resident aggregates of one store.
pub(super) struct Registry {
    slots: DashMap<AggregateKey, Arc<Slot>>,
    conflicts: ConflictCache,
    shared: Arc<Shared>,
    start_actor: StartActor,
}

impl Registry {
    pub(super) fn new(shared: Arc<Shared>, start_actor: StartActor) -> Self {
        let conflicts = ConflictCache::new();
        Registry { slots: DashMap::new(), conflicts, shared, start_actor }
    }

    /// The number of resident aggregates, by the seats taken. A sum over the map's shards would
    /// count an aggregate twice that moves between two of them.
    pub(super) fn resident(&self) -> usize {
        self.shared.seats.taken()
    }

    /// A lease on the aggregate if it is resident. With `expected`, the writer expects this to be
    /// the latest sequence.
    pub(super) fn find(&self, key: &AggregateKey, expected: Option<Sequence>) -> Lookup {
        if let Some(expected) = expected
            && let Some(actual) = self.conflicts.look(key, |slot| slot.latest_above(expected))
        {
            return Lookup::Stale(actual);
        }
        let Some(slot) = self.slots.get(key) else { return Lookup::NotResident };
        match expected.and_then(|expected| slot.latest_above(expected)) {
            Some(actual) => {
                self.conflicts.note(&slot);
                Lookup::Stale(actual)
            }
            None => Lookup::Resident(Lease::new(&slot)),
        }
    }

    /// A lease on the aggregate, which becomes resident if it is not. Waits for a seat, or answers
    /// that it would.
    pub(super) async fn lease(&self, key: &AggregateKey, wait: Wait) -> Result<Lease, AppendError> {
        let seats = &self.shared.seats;
        let seat = match seats.free.try_acquire() {
            Ok(seat) => seat,
            Err(TryAcquireError::Closed) => return Err(AppendError::Closed),
            Err(_) if wait == Wait::Never => {
                seats.ask_for_more();
                return Err(AppendError::Busy { key: key.clone() });
            }
            Err(_) => {
                let _wanted = SeatWanted::new(seats);
                seats.ask_for_more();
                seats.free.acquire().await.map_err(|_| AppendError::Closed)?
            }
        };
        // At half of the spare seats, because passivating looks at every resident aggregate: it
        // runs seldom, and then for many.
        if seats.free.available_permits() < seats.spare() / 2 {
            seats.ask_for_more();
        }
        match self.slots.entry(key.clone()) {
            Entry::Occupied(resident) => Ok(Lease::new(resident.get())),
            Entry::Vacant(vacant) => {
                let slot = Slot::new(key.clone(), self.shared.clone(), self.start_actor);
                let slot = Arc::new(slot);
                // From here on the slot gives it back.
                seat.forget();
                let lease = Lease::new(&slot);
                vacant.insert(slot);
                Ok(lease)
            }
        }
    }

    /// Passivates the least recently used aggregates without a lease, until the spare seats and one
    /// for each waiting caller are free. Returns how many.
    pub(super) fn make_room(&self) -> usize {
        let missing = self.shared.seats.missing();
        if missing == 0 {
            return 0;
        }
        let mut idle: Vec<(u64, AggregateKey)> = self
            .slots
            .iter()
            .filter(|slot| !slot.is_leased())
            .map(|slot| (slot.last_used(), slot.key().clone()))
            .collect();
        if missing < idle.len() {
            idle.select_nth_unstable(missing);
            idle.truncate(missing);
        }
        self.shared.seats.advance_tick();
        idle.into_iter().filter(|(_, key)| self.passivate_if(key, |_| true)).count()
    }

    /// Passivates what has no lease and was not used since `tick`. Returns how many.
    pub(super) fn passivate_unused_since(&self, tick: u64) -> usize {
        let is_unused = |slot: &Slot| slot.last_used() < tick;
        let unused = self.slots.iter().filter(|slot| is_unused(slot));
        let idle: Vec<AggregateKey> = unused.map(|slot| slot.key().clone()).collect();
        idle.into_iter().filter(|key| self.passivate_if(key, is_unused)).count()
    }

    fn passivate_if(&self, key: &AggregateKey, condition: impl Fn(&Slot) -> bool) -> bool {
        let may_leave = |slot: &Arc<Slot>| !slot.is_leased() && condition(slot);
        match self.slots.remove_if(key, |_, slot| may_leave(slot)) {
            Some((_, slot)) => {
                self.conflicts.forget(&slot);
                slot.passivate();
                true
            }
            None => false,
        }
    }

    /// The batches that were formed before `moment` and are not answered, or all of them. The
    /// caller settles them.
    pub(super) fn overdue(&self, moment: Option<Instant>) -> Vec<Batch> {
        self.slots.iter().filter_map(|slot| slot.overdue(moment)).collect()
    }

    /// Passivates everything, leased or not: the store has ended. Batches that are still in flight
    /// are dropped, which answers them.
    pub(super) fn clear(&self) {
        self.shared.end();
        drop(self.overdue(None));
        self.slots.retain(|_, slot| {
            self.conflicts.forget(slot);
            slot.permits().close();
            slot.passivate();
            false
        });
    }
}
