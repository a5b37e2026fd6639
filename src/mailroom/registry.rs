//! Which aggregates are resident: key → slot.
//!
//! A slot outlives the actors that serve it. It leaves the registry only while it has no lease. A
//! lease is taken under the lock of the map's shard, and removal checks the leases under the same
//! lock, so no mail reaches a slot that has left.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::admission::Wait;
use super::conflict_cache::ConflictCache;
use super::line::Place;
use super::recency::Recency;
use super::seat_line::SeatLine;
use super::shared::Shared;
use super::slot::{Arrival, Batch, Lease, Mail, Slot, StartActor, arrive};
use crate::driver::answer_together;
use crate::error::AppendError;
use crate::event::{AggregateKey, Sequence};
use crate::sync::{DashMap, Entry, Mutex, MutexGuard};

/// What a writer finds in the registry.
pub(super) enum Lookup {
    Resident(Lease),
    NotResident,
    /// Resident, and its latest durable sequence is at least this: more than the writer expects.
    Stale(Sequence),
}

/// Which aggregates a search for room leaves alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spares {
    /// Those that have a lease, or were used since they were last looked at.
    Used,
    /// Those that have a lease.
    Leased,
}

/// What became of an aggregate that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Passivated,
    Stays,
}

/// The resident aggregates of one store.
pub(super) struct Registry {
    slots: DashMap<AggregateKey, Arc<Slot>>,
    recency: Recency,
    conflicts: ConflictCache,
    seat_line: Mutex<SeatLine>,
    shared: Arc<Shared>,
    start_actor: StartActor,
}

impl Registry {
    pub(super) fn new(shared: Arc<Shared>, start_actor: StartActor) -> Self {
        let conflicts = ConflictCache::new();
        let seat_line = Mutex::default();
        let (slots, recency) = (DashMap::new(), Recency::default());
        Registry { slots, recency, conflicts, seat_line, shared, start_actor }
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

    /// Brings mail to its aggregate, which becomes resident if it is not. With [`Wait::Never`] it
    /// is answered if it would have to wait.
    pub(super) fn arrive(&self, mail: Mail, wait: Wait) -> Arrival {
        let seats = &self.shared.seats;
        if self.shared.admission.is_closed() {
            mail.answer(Err(AppendError::Closed));
            return Arrival::Answered;
        }
        if !seats.are_wanted() && seats.try_take() {
            seats.ask_if_few();
            let lease = self.seated(&mail.append.key);
            if seats.are_wanted() {
                self.let_in_residents(&mail.append.key);
            }
            return arrive(lease, mail, wait);
        }
        seats.ask_for_more();
        if wait == Wait::Never {
            let key = mail.append.key.clone();
            mail.answer(Err(AppendError::Busy { key }));
            return Arrival::Answered;
        }
        self.wait_for_seat(mail)
    }

    fn line(&self) -> MutexGuard<'_, SeatLine> {
        self.seat_line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_seat(&self, mut mail: Mail) -> Arrival {
        let (key, place) = (mail.append.key.clone(), self.shared.admission.next_place());
        mail.place = Some(place);
        {
            let mut line = self.line();
            if line.is_closed {
                drop(line);
                mail.answer(Err(AppendError::Closed));
                return Arrival::Answered;
            }
            line.join(place, mail);
            self.shared.seats.set_wanted(line.len());
        }
        // It may have become resident before the line was seen. Nobody waits for what is there.
        self.let_in_residents(&key);
        self.shared.seats.ask_for_more();
        Arrival::Waits(place)
    }

    /// If the aggregate is resident, its mail needs no seat of its own.
    fn let_in_residents(&self, key: &AggregateKey) {
        answer_together(|| {
            let mut line = self.line();
            if let Some(slot) = self.slots.get(key) {
                self.bring(&mut line, &slot);
            }
        });
    }

    /// Gives free seats to the aggregates that wait.
    pub(super) fn seat_waiting(&self) {
        // No caller is woken while something is locked here.
        while answer_together(|| self.seat_one()) {}
    }

    fn seat_one(&self) -> bool {
        let mut line = self.line();
        let Some(key) = line.head() else { return false };
        if !self.shared.seats.try_take() {
            return false;
        }
        match self.slots.entry(key) {
            Entry::Occupied(resident) => {
                self.shared.seats.give_back();
                self.bring(&mut line, resident.get());
            }
            Entry::Vacant(vacant) => {
                // Its mail comes first: who finds the slot overtakes nobody.
                let slot = self.new_slot(vacant.key());
                self.bring(&mut line, &slot);
                vacant.insert(slot);
            }
        }
        true
    }

    /// Brings the mail of this aggregate out of the line.
    fn bring(&self, line: &mut SeatLine, slot: &Arc<Slot>) {
        for mail in line.take(slot.key()) {
            // To the actor: a turn is not taken under these locks.
            arrive(Lease::new(slot), mail, Wait::ForRoom).go_on();
        }
        self.shared.seats.set_wanted(line.len());
    }

    /// Takes mail out that no longer waits, wherever it waits.
    pub(super) fn withdraw(&self, key: &AggregateKey, place: Place) {
        let from_line = || {
            let mut line = self.line();
            let mail = line.withdraw(key, place);
            self.shared.seats.set_wanted(line.len());
            mail
        };
        let slot = || self.slots.get(key).map(|slot| slot.clone());
        let mail = from_line().or_else(|| slot()?.withdraw(place));
        if mail.is_none() {
            drop(self.shared.admission.withdraw(place));
        }
    }

    /// Answers everybody who waits for a seat, now or later, that the store is closed.
    pub(super) fn close_seats(&self) {
        let waiting = self.line().close();
        self.shared.seats.set_wanted(0);
        for mail in waiting {
            mail.answer(Err(AppendError::Closed));
        }
    }

    /// On a seat that was taken: from here on the slot gives it back. The caller enters it into the
    /// map under the lock that it holds.
    fn new_slot(&self, key: &AggregateKey) -> Arc<Slot> {
        let slot = Arc::new(Slot::new(key.clone(), self.shared.clone(), self.start_actor));
        slot.mark_used();
        self.recency.put(slot.clone());
        slot
    }

    /// A lease on an aggregate for which a seat was taken.
    fn seated(&self, key: &AggregateKey) -> Lease {
        match self.slots.entry(key.clone()) {
            Entry::Occupied(resident) => {
                self.shared.seats.give_back();
                Lease::new(resident.get())
            }
            Entry::Vacant(vacant) => {
                let slot = self.new_slot(key);
                Lease::new(&vacant.insert(slot))
            }
        }
    }

    /// Looks at the aggregate that was used least recently, if that was before `tick`, and
    /// passivates it unless `spares` says that it stays. `None` if there is none.
    pub(super) fn look_at_oldest(&self, tick: u64, spares: Spares) -> Option<Look> {
        let (row, slot) = self.recency.take_oldest(tick)?;
        let mut is_resident = false;
        let removed = self.slots.remove_if(slot.key(), |_, resident| {
            is_resident = Arc::ptr_eq(resident, &slot);
            let is_needed = match spares {
                Spares::Used => slot.is_leased() || slot.last_used() > row,
                Spares::Leased => slot.is_leased(),
            };
            is_resident && !is_needed
        });
        if removed.is_some() {
            self.leave(&slot);
            self.shared.figures.passivated();
            return Some(Look::Passivated);
        }
        if is_resident {
            if slot.is_leased() {
                // A lease is in use for as long as it lasts.
                slot.mark_used();
            }
            self.recency.put(slot);
        }
        Some(Look::Stays)
    }

    /// The slot is out of the map, or goes out of it now.
    fn leave(&self, slot: &Arc<Slot>) {
        self.conflicts.forget(slot);
        self.shared.seats.one_leaves();
        slot.passivate();
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
            slot.refuse_waiting();
            self.leave(slot);
            false
        });
        self.recency.clear();
    }
}
