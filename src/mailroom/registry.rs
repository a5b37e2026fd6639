//! Which aggregates are resident: key → slot.
//!
//! A slot outlives the actors that serve it. It leaves the registry only while it has no lease. A
//! lease is taken under the lock of the map's shard, and removal checks the leases under the same
//! lock, so no mail reaches a slot that has left.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::admission::Wait;
use super::conflict_cache::ConflictCache;
use super::line::Place;
use super::seat_line::SeatLine;
use super::shared::Shared;
use super::slot::{Batch, Lease, Mail, Slot, StartActor, arrive};
use crate::driver::answer_together;
use crate::error::AppendError;
use crate::event::{AggregateKey, Sequence};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

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
    seat_line: Mutex<SeatLine>,
    shared: Arc<Shared>,
    start_actor: StartActor,
}

impl Registry {
    pub(super) fn new(shared: Arc<Shared>, start_actor: StartActor) -> Self {
        let conflicts = ConflictCache::new();
        let seat_line = Mutex::default();
        Registry { slots: DashMap::new(), conflicts, seat_line, shared, start_actor }
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

    /// Brings mail to its aggregate, which becomes resident if it is not. Returns the mail's place
    /// if it waits in a line. With [`Wait::Never`] it is answered instead that it would.
    pub(super) fn arrive(&self, mail: Mail, wait: Wait) -> Option<Place> {
        let seats = &self.shared.seats;
        if self.shared.admission.is_closed() {
            mail.answer(Err(AppendError::Closed));
            return None;
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
            return None;
        }
        self.wait_for_seat(mail)
    }

    fn line(&self) -> MutexGuard<'_, SeatLine> {
        self.seat_line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_seat(&self, mut mail: Mail) -> Option<Place> {
        let (key, place) = (mail.append.key.clone(), self.shared.admission.next_place());
        mail.place = Some(place);
        {
            let mut line = self.line();
            if line.is_closed {
                drop(line);
                mail.answer(Err(AppendError::Closed));
                return None;
            }
            line.join(place, mail);
            self.shared.seats.set_wanted(line.len());
        }
        // It may have become resident before the line was seen. Nobody waits for what is there.
        self.let_in_residents(&key);
        self.shared.seats.ask_for_more();
        Some(place)
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
            arrive(Lease::new(slot), mail, Wait::ForRoom);
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

    /// On a seat that was taken: from here on the slot gives it back.
    fn new_slot(&self, key: &AggregateKey) -> Arc<Slot> {
        Arc::new(Slot::new(key.clone(), self.shared.clone(), self.start_actor))
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
                self.shared.figures.passivated();
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
            slot.refuse_waiting();
            slot.passivate();
            false
        });
    }
}
