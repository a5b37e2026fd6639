//! Passivates actors that nobody needs, and watches over puts.
//!
//! The [`Supervisor`] is an actor too. It passivates aggregates that were idle for the idle
//! timeout, and the least recently used ones when seats run short.
//!
//! actix's own supervision does not restart an actor that panicked. Here the next mail for the
//! aggregate finds that the actor is gone, and starts a new one (`slot::inbox`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, WrapFuture};

use super::mailroom::Mailroom;
use super::settle::send_overdue_again;

/// An idle aggregate is found at most this part of the idle timeout late.
const TICKS_PER_IDLE_TIMEOUT: u32 = 8;
const SHORTEST_TICK: Duration = Duration::from_millis(5);

/// Passivates, and watches for puts that the driver does not answer.
pub(super) struct Supervisor {
    mailroom: Arc<Mailroom>,
    /// The numbers of the latest timer ticks, oldest first. Passivations for want of seats advance
    /// the tick too, so a difference between tick numbers is no measure of time.
    ticks: VecDeque<u64>,
}

impl Supervisor {
    pub(super) fn new(mailroom: Arc<Mailroom>) -> Self {
        Supervisor { mailroom, ticks: VecDeque::new() }
    }

    /// One tick: passivates what was last used a whole idle timeout ago.
    fn tick(&mut self) {
        self.ticks.push_back(self.mailroom.seats.advance_tick());
        if self.ticks.len() <= TICKS_PER_IDLE_TIMEOUT as usize {
            return;
        }
        let Some(idle_since) = self.ticks.pop_front() else { return };
        let passivated = self.mailroom.registry().passivate_unused_since(idle_since);
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
            send_overdue_again(&supervisor.mailroom, supervisor.mailroom.registry());
        });
        let mailroom = self.mailroom.clone();
        let make_room = async move {
            loop {
                mailroom.seats.run_short().await;
                let passivated = mailroom.registry().make_room();
                mailroom.registry().seat_waiting();
                tracing::debug!(passivated, "aggregates passivated to make room");
            }
        };
        ctx.spawn(make_room.into_actor(self));
    }
}
