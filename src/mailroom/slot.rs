//! One resident aggregate: what must be seen from any thread, and outlives the actors that serve it.
//!
//! ```text
//! callers ── mail ──▶ inbox ──▶ actor ── takes the put permit ──▶ batch ──▶ in flight, here ──▶ who settles it
//! ```
//!
//! What must stay true:
//!
//! - What is known of the aggregate besides its latest sequence ([`Known`]) goes with the put permit, from hand to
//!   hand: nobody reads or changes it without, and no lock is held while something is decided on it.
//! - A batch in flight is taken once, by whoever settles it: the driver's answer or the watch for overdue ones. It
//!   is taken by its number, so that a late answer does not take its successor.
//! - Nobody is woken, and neither a mail nor a permit is dropped, while the slot is locked: both come back to it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use tokio::sync::Semaphore;

use super::Common;
use super::arbiters::Place;
use super::courtesy::Courtesy;
use super::inbox::Inbox;
use super::settle::Batch;
use super::window::Window;
use crate::event::{AggregateKey, Sequence};

/// One resident aggregate.
pub(super) struct Slot {
    key: AggregateKey,
    place: Place,
    common: Arc<Common>,
    /// What is known to be durable: a lower bound of what is there.
    latest: AtomicU64,
    pub(super) leases: AtomicUsize,
    last_used: AtomicU64,
    permits: Semaphore,
    desk: Mutex<Desk>,
}

/// What one lock guards: an append passes it when it comes, when it is taken, when it is sent off and when it is
/// settled.
pub(super) struct Desk {
    pub(super) inbox: Inbox,
    /// Gone while somebody has the put permit.
    known: Option<Known>,
    /// The actor has mail that waits for the permit.
    waited_for: bool,
    /// Of the latest batch that was sent off.
    number: u64,
    /// A put whose driver answers by itself, so that no task waits for it.
    in_flight: Option<Batch>,
}

/// What is known of the aggregate besides its latest sequence.
#[derive(Default)]
pub(super) struct Known {
    /// The driver was asked for the latest sequence, or said it: `latest` may be built upon even if 0.
    pub(super) learned: bool,
    /// How many puts failed: an entity's state folded before the last one may hold what never was.
    pub(super) failed_puts: u32,
    /// The latest commit ids, once somebody needed them.
    pub(super) window: Option<Box<Window>>,
    /// Where other stores may put too.
    courtesy: Option<Box<Courtesy>>,
}

impl Known {
    pub(super) fn courtesy(&mut self) -> &mut Courtesy {
        self.courtesy.get_or_insert_default()
    }
}

impl Slot {
    /// A slot on a seat of the room's, which it gives back when it is gone.
    pub(super) fn new(key: AggregateKey, common: Arc<Common>) -> Self {
        Slot {
            place: common.arbiters.place(&key),
            key,
            latest: AtomicU64::new(0),
            leases: AtomicUsize::new(0),
            last_used: AtomicU64::new(0),
            permits: Semaphore::new(common.config.permits_per_aggregate),
            desk: Mutex::new(Desk {
                inbox: Inbox::default(),
                known: Some(Known::default()),
                waited_for: false,
                number: 0,
                in_flight: None,
            }),
            common,
        }
    }

    pub(super) fn key(&self) -> &AggregateKey {
        &self.key
    }

    /// Where its actors run.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    pub(super) fn common(&self) -> &Arc<Common> {
        &self.common
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
    pub(super) fn above(&self, expected: Sequence) -> Option<Sequence> {
        let latest = self.latest();
        let is_above = expected < latest;
        if is_above {
            self.used();
        }
        is_above.then_some(latest)
    }

    pub(super) fn used(&self) {
        let tick = self.common.room.tick();
        // Written only when it changes, so that readers on other cores keep their copy of the line.
        if self.last_used() != tick {
            self.last_used.store(tick, Ordering::Relaxed);
        }
    }

    pub(super) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        // Things are moved under the lock, and nothing else: they cannot be left half done.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The put permit, if no put is in flight; else the actor is woken when it is free.
    pub(super) fn take_put_permit(self: &Arc<Self>) -> Option<PutPermit> {
        let mut desk = self.desk();
        let known = desk.known.take();
        desk.waited_for = known.is_none();
        Some(PutPermit { known: known?, slot: self.clone() })
    }

    /// Keeps a batch until its driver answers; by this number it is taken again.
    pub(super) fn watch(&self, batch: Batch) -> u64 {
        let mut desk = self.desk();
        desk.number += 1;
        desk.in_flight = Some(batch);
        desk.number
    }

    /// The batch, if nobody else has taken it to settle it.
    pub(super) fn unwatch(&self, number: u64) -> Option<Batch> {
        let mut desk = self.desk();
        if desk.number == number { desk.in_flight.take() } else { None }
    }

    /// The batch in flight, if it was formed before `moment`.
    pub(super) fn overdue(&self, moment: Option<Instant>) -> Option<Batch> {
        let is_overdue = |batch: &mut Batch| moment.is_none_or(|moment| batch.formed < moment);
        self.desk().in_flight.take_if(is_overdue)
    }

    /// Its actor ends after the mail it has.
    pub(super) fn passivate(&self) {
        let waker = self.desk().inbox.end();
        if let Some(waker) = waker {
            self.wake(waker);
        }
    }

    /// Wakes its actor.
    pub(super) fn wake(&self, waker: Waker) {
        self.common.arbiters.wake(self.place, waker);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.common.room.leave();
    }
}

/// The right to have a put in flight for one aggregate, and what its decisions rest on. Given back on drop,
/// wherever that happens.
pub(super) struct PutPermit {
    slot: Arc<Slot>,
    pub(super) known: Known,
}

impl PutPermit {
    pub(super) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }
}

impl Drop for PutPermit {
    fn drop(&mut self) {
        let waker = {
            let mut desk = self.slot.desk();
            desk.known = Some(std::mem::take(&mut self.known));
            match std::mem::take(&mut desk.waited_for) {
                true => desk.inbox.waker(),
                false => None,
            }
        };
        if let Some(waker) = waker {
            self.slot.wake(waker);
        }
    }
}
