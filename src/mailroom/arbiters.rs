//! The store's threads for actors.
//!
//! Every actor of the store runs on one of them: threads of the store's own, so it serves callers from any runtime
//! and outlives each. An aggregate always lands on the same one.
//!
//! A thread that has nothing to do lingers a moment before it sleeps ([`crate::spin_wait`]). It cannot see who wakes
//! its tasks; so whoever does calls it besides, afterwards. A call that is missed or comes late costs that moment and
//! no more, for the wake-up itself is never in doubt.

use std::hash::{BuildHasher, Hash, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use actix::{Actor, AsyncContext};
use actix_rt::{Arbiter, ArbiterHandle};
use tokio::runtime::Builder;

use super::aggregate_actor::AggregateActor;
use super::inbox::Reader;
use super::slot::Slot;
use crate::spin_wait::SpinWait;

pub(super) struct Arbiters {
    threads: Vec<Thread>,
    hasher: RandomState,
}

struct Thread {
    arbiter: ArbiterHandle,
    call: Arc<Call>,
}

/// Which thread serves an aggregate.
#[derive(Clone, Copy)]
pub(super) struct Place(usize);

/// Whether somebody has work for a thread.
#[derive(Default)]
struct Call(AtomicBool);

impl Call {
    // Both write only what changes: the other side mostly has the cache line.

    fn give(&self) {
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Release);
        }
    }

    fn take(&self) {
        if self.0.load(Ordering::Relaxed) {
            self.0.store(false, Ordering::Relaxed);
        }
    }

    fn is_given(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Thread {
    fn start(needs_io: bool) -> io::Result<Self> {
        let call = Arc::<Call>::default();
        let heard = call.clone();
        let arbiter = Arbiter::try_with_tokio_rt(move || {
            let mut runtime = Builder::new_current_thread();
            match needs_io {
                true => runtime.enable_all(),
                false => runtime.enable_time(),
            };
            let spin_wait = SpinWait::default();
            runtime.on_thread_park(move || spin_wait.wait_until(|| heard.is_given()));
            runtime.build()
        })?;
        Ok(Thread { arbiter: arbiter.handle(), call })
    }
}

impl Arbiters {
    /// Starts so many threads, of the running actix system, with tokio's I/O driver if that is needed.
    pub(super) fn start(count: usize, needs_io: bool) -> io::Result<Self> {
        let mut arbiters = Arbiters { threads: Vec::new(), hasher: RandomState::new() };
        for _ in 0..count {
            // One that cannot be started must not leave the others running.
            let started = Thread::start(needs_io).inspect_err(|_| arbiters.stop());
            arbiters.threads.push(started?);
        }
        Ok(arbiters)
    }

    /// The place of everything that belongs to `value`.
    pub(super) fn place(&self, value: &impl Hash) -> Place {
        let hash = self.hasher.hash_one(value);
        Place((hash % self.threads.len().max(1) as u64) as usize)
    }

    /// An actor for this aggregate. It takes over from one that died by learning from the driver what it
    /// needs; the slot's put permit makes it wait for a put that is still in flight.
    pub(super) fn start_actor(&self, slot: &Arc<Slot>) {
        let actor = AggregateActor::new(slot.clone());
        // Dropped where no arbiter takes it, and what is in the inbox with it.
        let reader = Reader::new(slot.clone());
        if let Some(thread) = self.threads.get(slot.place().0) {
            AggregateActor::start_in_arbiter(&thread.arbiter, |ctx| {
                ctx.spawn(reader);
                actor
            });
            thread.call.give();
        }
    }

    /// Wakes a task of the thread at this place.
    pub(super) fn wake(&self, place: Place, waker: Waker) {
        waker.wake();
        if let Some(thread) = self.threads.get(place.0) {
            thread.call.give();
        }
    }

    /// A task at this place is about to do what it was woken for.
    pub(super) fn heard(&self, place: Place) {
        if let Some(thread) = self.threads.get(place.0) {
            thread.call.take();
        }
    }

    /// Runs a future on one of the threads. False when they have ended.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> bool {
        let any = self.place(&fastrand::usize(..));
        self.threads.get(any.0).is_some_and(|thread| {
            let is_taken = thread.arbiter.spawn(future);
            thread.call.give();
            is_taken
        })
    }

    /// Ends them. Not waited for: one that a driver blocks for ever must not keep the answer from whoever closes.
    pub(super) fn stop(&self) {
        for thread in &self.threads {
            thread.arbiter.stop();
        }
    }
}
