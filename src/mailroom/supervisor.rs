//! Passivates actors that nobody needs, and watches over puts.
//!
//! The [`Supervisor`] is an actor too. One task of it passivates aggregates that were idle for the
//! idle timeout, and the least recently used ones when seats run short or the states of entities
//! weigh too much. It takes them in the order
//! of their last use ([`recency`](super::recency)), and gives way to the other tasks of its thread
//! ([`TimeSlice`]), so however many are resident, nothing waits for a search.
//!
//! actix's own supervision does not restart an actor that panicked. Here the next mail for the
//! aggregate finds that the actor is gone, and starts a new one (`slot::inbox`).

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, WrapFuture};
use futures_util::future::{Either, select};
use tokio::time::{MissedTickBehavior, interval_at};

use super::mailroom::Mailroom;
use super::registry::{Look, Spares};
use super::settle::send_overdue_again;
use super::time_slice::TimeSlice;

/// An idle aggregate is found at most this part of the idle timeout late.
const TICKS_PER_IDLE_TIMEOUT: u32 = 8;
const SHORTEST_TICK: Duration = Duration::from_millis(5);
/// So many are passivated before those that wait are seated.
const LONGEST_PASS: usize = 1_024;

/// Passivates, and watches for puts that the driver does not answer.
pub(super) struct Supervisor {
    mailroom: Arc<Mailroom>,
}

impl Supervisor {
    pub(super) fn new(mailroom: Arc<Mailroom>) -> Self {
        Supervisor { mailroom }
    }
}

/// The task that passivates. There is one for each store.
pub(super) struct Passivation {
    mailroom: Arc<Mailroom>,
    /// The numbers of the latest timer ticks, oldest first. Passivations for want of seats advance
    /// the tick too, so a difference between tick numbers is no measure of time.
    ticks: VecDeque<u64>,
    slice: TimeSlice,
}

impl Passivation {
    pub(super) fn new(mailroom: Arc<Mailroom>) -> Self {
        Passivation { mailroom, ticks: VecDeque::new(), slice: TimeSlice::begin() }
    }

    async fn run(mut self) {
        let length = self.mailroom.config.idle_timeout / TICKS_PER_IDLE_TIMEOUT;
        let length = length.max(SHORTEST_TICK);
        let mut timer = interval_at(tokio::time::Instant::now() + length, length);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mailroom = self.mailroom.clone();
        loop {
            // The timer first: a lasting want of seats must not hold up idle aggregates.
            let short = pin!(mailroom.seats.run_short());
            let is_tick = matches!(select(pin!(timer.tick()), short).await, Either::Left(_));
            match is_tick {
                true => self.passivate_idle().await,
                false => self.make_room().await,
            }
        }
    }

    /// One tick: passivates what was last used a whole idle timeout ago.
    async fn passivate_idle(&mut self) {
        self.ticks.push_back(self.mailroom.seats.advance_tick());
        if self.ticks.len() <= TICKS_PER_IDLE_TIMEOUT as usize {
            return;
        }
        let Some(idle_since) = self.ticks.pop_front() else { return };
        let passivated = self.passivate(usize::MAX, idle_since, Spares::Used).await;
        if passivated > 0 {
            tracing::debug!(passivated, "idle aggregates passivated");
        }
    }

    /// Passivates the least recently used aggregates without a lease, until the spare seats and one
    /// for each aggregate that waits are free. Then lets in those that wait.
    pub(super) async fn make_room(&mut self) {
        let mailroom = self.mailroom.clone();
        let seats = &mailroom.seats;
        let missing = seats.missing();
        let most = missing.min(LONGEST_PASS);
        let mut passivated = self.passivate(most, seats.advance_tick(), Spares::Used).await;
        if passivated < most && seats.are_wanted() {
            // All that is left has a lease or was used during this search. Somebody waits, so use
            // alone keeps no seat.
            let left = most - passivated;
            passivated += self.passivate(left, seats.advance_tick(), Spares::Leased).await;
        }
        passivated += self.lighten().await;
        mailroom.registry().seat_waiting();
        if most < missing && passivated >= most {
            seats.ask_for_more();
        }
        if passivated > 0 {
            tracing::debug!(passivated, "aggregates passivated to make room");
        }
    }

    /// If the states of entities weigh more than they may, passivates the least recently used
    /// aggregates without a lease until they do not. Returns how many.
    async fn lighten(&mut self) -> usize {
        let mailroom = self.mailroom.clone();
        let (seats, states) = (&mailroom.seats, &mailroom.states);
        let mut passivated = 0;
        if states.are_over() {
            for spares in [Spares::Used, Spares::Leased] {
                let is_wanted = |_| states.are_too_many();
                passivated += self.passivate_while(is_wanted, seats.advance_tick(), spares).await;
            }
        }
        passivated
    }

    /// Passivates up to `most` aggregates that were last used before `tick`. Returns how many.
    async fn passivate(&mut self, most: usize, tick: u64, spares: Spares) -> usize {
        self.passivate_while(|passivated| passivated < most, tick, spares).await
    }

    /// Passivates aggregates that were last used before `tick`, as long as more are wanted than so
    /// many. Returns how many.
    async fn passivate_while(
        &mut self,
        are_wanted: impl Fn(usize) -> bool,
        tick: u64,
        spares: Spares,
    ) -> usize {
        let mut passivated = 0;
        while are_wanted(passivated)
            && let Some(look) = self.mailroom.registry().look_at_oldest(tick, spares)
        {
            passivated += usize::from(look == Look::Passivated);
            self.slice.give_way_if_over().await;
        }
        passivated
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
        let watch = self.mailroom.config.put_attempt_timeout / 4;
        ctx.run_interval(watch.max(SHORTEST_TICK), |supervisor, _| {
            send_overdue_again(&supervisor.mailroom, supervisor.mailroom.registry());
        });
        let passivation = Passivation::new(self.mailroom.clone());
        ctx.spawn(passivation.run().into_actor(self));
    }
}
