//! One resident aggregate: what any thread can see, and what outlives the actors that serve it.
//!
//! ```text
//! callers ── mail ─▶ inbox ─▶ actor ── takes the put permit ─▶ batch ─▶ in flight, here ─▶ settled
//!    └── idle: takes the put permit ───────────────────────────▶┘
//! ```
//!
//! These files own parts of each other: a slot holds an inbox of mail, a mail holds a lease on the
//! slot, a batch in flight holds mail and the put permit, and the permit returns to the slot.
//!
//! # What must stay true
//!
//! - [`AggregateFacts`] go with the put permit from hand to hand. Without the permit nobody reads
//!   or changes them, and no lock is held while something is decided on them.
//! - The actor takes its mail and the put permit in one step. Where the permit is taken already,
//!   and where mail is left behind a put, the slot notes in the same step that the actor awaits it.
//!   So a free permit that nobody awaits means that the actor holds no mail, and a caller that
//!   takes it overtakes nobody.
//! - A batch in flight is taken once, by what settles it: the driver's answer, or the watch for
//!   overdue batches. It is taken by its number, so that a late answer does not take its successor.
//! - Nobody is woken, and no mail or permit is dropped, while the slot is locked: both return to
//!   it.

mod arrival;
mod batch;
mod closure;
mod inbox;
mod lease;
mod mail;
mod mail_queue;
mod put_permit;

use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::Instant;

pub(super) use arrival::{Arrival, arrive};
pub(super) use batch::{Batch, BatchItem, BatchItems, HeldRefusal, Undecided};
pub(super) use closure::AppendClosure;
pub(crate) use closure::DecideEvents;
use inbox::{Inbox, PendingWake};
pub(crate) use lease::Lease;
use lease::Ticket;
pub(super) use mail::{AppendAnswer, CommandOutcome, Mail, MailAnswer, ReplyTo};
pub(super) use mail_queue::MailQueue;
pub(super) use put_permit::{AggregateFacts, PutPermit};

use super::arbiters::ThreadIndex;
use super::line::Line;
use super::shared::Shared;
use crate::event::{AggregateKey, Sequence};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Starts an actor for the slot. It is handed in, because an actor knows its slot and not the other
/// way round.
pub(super) type StartActor = fn(&Arc<Slot>);

/// One resident aggregate.
pub(super) struct Slot {
    key: AggregateKey,
    thread: ThreadIndex,
    start_actor: StartActor,
    shared: Arc<Shared>,
    /// The latest sequence known to be durable: a lower bound of what is stored.
    latest: AtomicU64,
    leases: AtomicUsize,
    last_used: AtomicU64,
    /// What the entity's state weighs, and what was counted of it as leaving.
    state_bytes: AtomicUsize,
    leaving_bytes: AtomicUsize,
    free_permits: AtomicUsize,
    permit_line: Line<Mail>,
    state: Mutex<SlotState>,
}

/// What one lock guards. An append takes the lock when it arrives, when the actor takes it, when
/// its put is sent, and when the put is settled.
pub(super) struct SlotState {
    pub(super) inbox: Inbox,
    /// `None` while the put permit is taken.
    facts: Option<AggregateFacts>,
    /// The actor holds mail, and waits for the put permit. Cleared by the actor, when it has it.
    permit_is_awaited: bool,
    /// Of the latest batch that was sent.
    batch_number: u64,
    /// A put whose driver answers by callback, so that no task waits for it.
    in_flight: Option<Batch>,
}

impl Slot {
    /// A slot on a seat that the caller has taken. The slot gives it back when it is dropped.
    pub(super) fn new(key: AggregateKey, shared: Arc<Shared>, start_actor: StartActor) -> Self {
        Slot {
            thread: shared.arbiters.thread_of(&key),
            start_actor,
            key,
            latest: AtomicU64::new(0),
            leases: AtomicUsize::new(0),
            last_used: AtomicU64::new(0),
            state_bytes: AtomicUsize::new(0),
            leaving_bytes: AtomicUsize::new(0),
            free_permits: AtomicUsize::new(shared.config.permits_per_aggregate),
            permit_line: Line::new(),
            state: Mutex::new(SlotState {
                inbox: Inbox::default(),
                facts: Some(AggregateFacts::default()),
                permit_is_awaited: false,
                batch_number: 0,
                in_flight: None,
            }),
            shared,
        }
    }

    pub(super) fn key(&self) -> &AggregateKey {
        &self.key
    }

    /// Where its actors run.
    pub(super) fn thread(&self) -> ThreadIndex {
        self.thread
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn is_leased(&self) -> bool {
        self.leases.load(Ordering::SeqCst) > 0
    }

    /// The latest sequence known to be durable.
    pub(super) fn latest(&self) -> Sequence {
        Sequence::new(self.latest.load(Ordering::Acquire))
    }

    /// A durable event with this sequence was seen. Never lowers the latest sequence.
    pub(super) fn raise_latest(&self, sequence: Sequence) {
        self.latest.fetch_max(sequence.get(), Ordering::AcqRel);
    }

    /// The latest durable sequence, if it is above what a writer expects. Counts as a use.
    pub(super) fn latest_above(&self, expected: Sequence) -> Option<Sequence> {
        let latest = self.latest();
        let is_above = expected < latest;
        if is_above {
            self.mark_used();
        }
        is_above.then_some(latest)
    }

    pub(super) fn mark_used(&self) {
        let tick = self.shared.seats.tick();
        // Written only on a change, so that readers on other cores keep their copy of the cache
        // line.
        if self.last_used() != tick {
            self.last_used.store(tick, Ordering::Relaxed);
        }
    }

    pub(super) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, SlotState> {
        // Under the lock things are only moved, so a panic cannot leave them half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The put permit for an actor that holds mail, if no put is in flight. Otherwise the actor is
    /// woken when it is free.
    pub(super) fn take_put_permit(self: &Arc<Self>) -> Option<PutPermit> {
        let facts = self.lock().take_facts_or_await();
        Some(PutPermit::new(self.clone(), facts?))
    }

    /// Brings mail to the aggregate. If the aggregate is idle, returns the mail with the put
    /// permit, for a turn of the caller's. Otherwise the mail goes to the actor.
    pub(super) fn bring(self: &Arc<Self>, mail: Mail) -> Result<(Mail, PutPermit), PendingWake> {
        let mut state = self.lock();
        match state.is_idle().then(|| state.facts.take()).flatten() {
            Some(facts) => Ok((mail, PutPermit::new(self.clone(), facts))),
            None => Err(state.inbox.push(mail)),
        }
    }

    /// Keeps a batch until its driver answers. [`Slot::unwatch`] takes it out by the number
    /// returned. Nobody takes the permit before the actor, if it has mail left.
    pub(super) fn watch(&self, batch: Batch, mail_is_left: bool) -> u64 {
        let mut state = self.lock();
        debug_assert!(state.facts.is_none(), "a batch without the put permit");
        debug_assert!(state.in_flight.is_none(), "a second put in flight");
        state.permit_is_awaited |= mail_is_left;
        state.batch_number += 1;
        state.in_flight = Some(batch);
        state.batch_number
    }

    /// The batch, unless somebody else has taken it to settle it.
    pub(super) fn unwatch(&self, number: u64) -> Option<Batch> {
        let mut state = self.lock();
        if state.batch_number == number { state.in_flight.take() } else { None }
    }

    /// The batch in flight, if it was formed before `moment`.
    pub(super) fn overdue(&self, moment: Option<Instant>) -> Option<Batch> {
        let is_overdue = |batch: &mut Batch| moment.is_none_or(|moment| batch.formed < moment);
        self.lock().in_flight.take_if(is_overdue)
    }

    /// The entity's state weighs so much now. Told by who has the put permit.
    pub(super) fn set_state_bytes(&self, bytes: usize) {
        let before = self.state_bytes.load(Ordering::SeqCst);
        if before == bytes {
            return;
        }
        self.state_bytes.store(bytes, Ordering::SeqCst);
        self.shared.states.change(before, bytes);
        if before < bytes && self.shared.states.are_over() {
            self.shared.seats.ask_for_more();
        }
    }

    /// Lets its actor end after the mail it has. The slot is out of the registry.
    pub(super) fn passivate(&self) {
        let bytes = self.state_bytes.load(Ordering::SeqCst);
        let counted = self.leaving_bytes.swap(bytes, Ordering::SeqCst);
        self.shared.states.leave(bytes);
        self.shared.states.have_left(counted);
        let waker = self.lock().inbox.end();
        if let Some(waker) = waker {
            self.wake(waker);
        }
    }

    /// Wakes its actor.
    pub(super) fn wake(&self, waker: Waker) {
        self.shared.arbiters.wake(self.thread, waker);
    }
}

impl SlotState {
    /// Nobody waits: neither in the inbox, nor at the actor for the put permit.
    fn is_idle(&self) -> bool {
        self.inbox.is_empty() && !self.permit_is_awaited
    }

    /// For an actor that holds mail.
    pub(super) fn take_facts_or_await(&mut self) -> Option<AggregateFacts> {
        let facts = self.facts.take();
        self.permit_is_awaited = facts.is_none();
        facts
    }

    /// The actor has got the permit with mail that came back.
    pub(super) fn permit_came_back(&mut self) {
        debug_assert!(self.facts.is_none(), "a put permit too many");
        self.permit_is_awaited = false;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let states = &self.shared.states;
        states.change(self.state_bytes.swap(0, Ordering::SeqCst), 0);
        states.have_left(self.leaving_bytes.swap(0, Ordering::SeqCst));
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // A state is the application's, and this thread may be a driver's.
        if let Some(entity) = state.facts.take().and_then(|facts| facts.entity) {
            self.shared.discard(entity);
        }
        self.shared.seats.one_has_left();
    }
}
