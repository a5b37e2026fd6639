//! Starts actors, and ends those that nobody needs.
//!
//! Every actor of the store runs on one of its arbiters: threads of the store's own, so it serves
//! callers from any runtime and outlives each. An aggregate always lands on the same one. The
//! [`Supervisor`] itself is an actor too: it passivates what was idle for the idle timeout, and the
//! least recently used when seats run short.
//!
//! actix's own supervision does not restart an actor that panicked. Here an actor that is gone is noticed
//! by the next mail for its aggregate, and [`Arbiters::start_actor`] gives that a fresh one.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, WrapFuture};
use actix_rt::ArbiterHandle;

use super::Mailroom;
use super::aggregate_actor::AggregateActor;
use super::inbox::Reader;
use super::settle::send_overdue_again;
use super::slot::Slot;

/// An idle aggregate is found after the idle timeout and at most this part of it.
const TICKS_PER_IDLE_TIMEOUT: u32 = 8;
const SHORTEST_TICK: Duration = Duration::from_millis(5);

/// The store's threads for actors.
pub(super) struct Arbiters {
    handles: Vec<ArbiterHandle>,
    hasher: RandomState,
}

impl Arbiters {
    pub(super) fn new(handles: Vec<ArbiterHandle>) -> Self {
        Arbiters { handles, hasher: RandomState::new() }
    }

    /// An actor for this aggregate. It takes over from one that died by learning from the driver what it
    /// needs; the slot's put permit makes it wait for a put that is still in flight.
    pub(super) fn start_actor(&self, slot: &Arc<Slot>) {
        let actor = AggregateActor::new(slot.clone());
        // Dropped where no arbiter takes it, and what is in the inbox with it.
        let reader = Reader::new(slot.clone());
        if let Some(arbiter) = self.arbiter(slot.key()) {
            AggregateActor::start_in_arbiter(arbiter, |ctx| {
                ctx.spawn(reader);
                actor
            });
        }
    }

    fn arbiter(&self, value: &impl std::hash::Hash) -> Option<&ArbiterHandle> {
        let count = u64::try_from(self.handles.len()).ok().filter(|count| *count > 0)?;
        let index = self.hasher.hash_one(value) % count;
        self.handles.get(usize::try_from(index).ok()?)
    }

    /// Runs a future on one of the arbiters. False when they have ended.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> bool {
        let any = fastrand::usize(..);
        self.arbiter(&any).is_some_and(|arbiter| arbiter.spawn(future))
    }

    pub(super) fn stop(&self) {
        for arbiter in &self.handles {
            arbiter.stop();
        }
    }
}

/// Passivates, and watches for puts that their driver does not answer.
pub(super) struct Supervisor {
    mailroom: Arc<Mailroom>,
    ticks: u64,
}

impl Supervisor {
    pub(super) fn new(mailroom: Arc<Mailroom>) -> Self {
        Supervisor { mailroom, ticks: 0 }
    }

    /// One tick: what was last used a whole idle timeout ago is passivated.
    fn tick(&mut self) {
        self.ticks = self.mailroom.registry.advance_tick();
        let idle_since = self.ticks.saturating_sub(u64::from(TICKS_PER_IDLE_TIMEOUT));
        let passivated = self.mailroom.registry.passivate_unused_since(idle_since);
        if passivated > 0 {
            tracing::debug!(passivated, "idle aggregates passivated");
        }
    }
}

/// Answered once the supervisor runs.
pub(super) struct Started;

impl Message for Started {
    type Result = ();
}

impl Handler<Started> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Started, _: &mut Self::Context) {}
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let tick = self.mailroom.config.idle_timeout / TICKS_PER_IDLE_TIMEOUT;
        ctx.run_interval(tick.max(SHORTEST_TICK), |supervisor, _| supervisor.tick());
        let watch = self.mailroom.config.put_attempt_timeout / 4;
        ctx.run_interval(watch.max(SHORTEST_TICK), |supervisor, _| {
            send_overdue_again(&supervisor.mailroom);
        });
        let mailroom = self.mailroom.clone();
        let make_room = async move {
            loop {
                mailroom.registry.seats_run_short().await;
                let passivated = mailroom.registry.make_room();
                tracing::debug!(passivated, "aggregates passivated to make room");
            }
        };
        ctx.spawn(make_room.into_actor(self));
    }
}
