//! The floor between the application and the drivers: one mailbox per aggregate.
//!
//! ```text
//! caller ─▶ Mailroom::append ── stale? refused here, in the caller's thread
//!              │ lease on the aggregate's slot, permit, bytes      registry.rs · admission.rs
//!              ▼ mail                                              mail.rs
//!           AggregateActor ── queues; when no put is in flight:     aggregate_actor.rs
//!              │ decides all that wait, in order, into one put      decide.rs
//!              ▼
//!           settle ── sends the put until its fate is known,        settle.rs
//!                     then answers every caller it held
//! ```
//!
//! What must stay true:
//!
//! - A slot's latest sequence is a lower bound of what is durable. It may refuse, never accept: the
//!   driver's uniqueness of (key, sequence) has the last word.
//! - At most one put per aggregate is in flight; the [`PutPermit`](registry::PutPermit) of its slot
//!   says so, and outlives the actor.
//! - No answer leaves that rests on an event which is not durable.
//! - Every mail is answered exactly once, whatever dies: by what settled it, or by its own drop.

mod admission;
mod aggregate_actor;
mod decide;
mod mail;
mod registry;
mod runtime;
mod settle;
mod supervisor;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::append::{Appended, CheckedAppend};
use crate::driver::{Driver, Limit, LimitExceeded, Limits};
use crate::error::AppendError;
use crate::event::{AggregateKey, Timestamp};

use admission::Admission;
use mail::Mail;
use registry::{Lease, Registry};
pub(crate) use runtime::{OpenDriver, Runtime};
use supervisor::Arbiters;

/// The clock that events are stamped with.
pub(crate) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What the builder sets.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) arbiters: usize,
    pub(crate) permits_per_aggregate: usize,
    pub(crate) max_resident: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) bytes_in_flight: usize,
    pub(crate) put_deadline: Duration,
    pub(crate) put_attempt_timeout: Duration,
    pub(crate) read_deadline: Duration,
    pub(crate) close_deadline: Duration,
    pub(crate) commit_id_window: usize,
    pub(crate) clock: Clock,
}

/// Whether an append waits for room or is refused without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    ForRoom,
    Never,
}

/// The mailroom of one store, shared by its handles, actors and puts.
pub(crate) struct Mailroom {
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) config: Config,
    limits: Limits,
    admission: Admission,
    registry: Registry,
    arbiters: Arbiters,
}

impl Mailroom {
    fn new(driver: Arc<dyn Driver>, config: Config, arbiters: Arbiters) -> Self {
        Mailroom {
            limits: driver.limits(),
            admission: Admission::new(config.bytes_in_flight),
            registry: Registry::new(config.max_resident, config.permits_per_aggregate),
            driver,
            config,
            arbiters,
        }
    }

    /// The way of an append, from the caller's thread to the answer. Dropping the future leaves the
    /// append to its fate: whole or not at all.
    pub(crate) async fn append(
        self: &Arc<Self>,
        append: CheckedAppend,
        wait: Wait,
    ) -> Result<Appended, AppendError> {
        self.within_limits(&append)?;
        let lease = match self.registry.lease_resident(&append.key) {
            Some(lease) => {
                refuse_stale(&append, &lease)?;
                lease
            }
            None => self.lease_new(&append.key, wait).await?,
        };
        let ticket = self.admission.ticket(lease, append.size_bytes, wait).await?;
        let (slot, key) = (ticket.slot().clone(), append.key.clone());
        let (mail, answered) = Mail::new(append, ticket);
        slot.send(mail, || self.arbiters.start_actor(self, &slot));
        answered.await.unwrap_or(Err(AppendError::ActorFailed { key }))
    }

    async fn lease_new(
        self: &Arc<Self>,
        key: &AggregateKey,
        wait: Wait,
    ) -> Result<Lease, AppendError> {
        if self.admission.is_closed() {
            return Err(AppendError::Closed);
        }
        self.registry.lease(key, wait).await
    }

    fn within_limits(&self, append: &CheckedAppend) -> Result<(), AppendError> {
        let at_most = |limit, max, actual| {
            if actual <= max {
                return Ok(());
            }
            let exceeded = LimitExceeded::new(limit, max, actual);
            Err(AppendError::TooLarge { key: append.key.clone(), exceeded })
        };
        let limits = &self.limits;
        at_most(Limit::BytesPerKey, limits.bytes_per_key, append.key.as_str().len())?;
        at_most(Limit::EventsPerPut, limits.events_per_put, append.events.len())?;
        for event in &append.events {
            at_most(Limit::BytesPerEvent, limits.bytes_per_event, event.size_bytes(&append.key))?;
        }
        at_most(Limit::BytesPerPut, limits.bytes_per_put, append.size_bytes)
    }

    fn now(&self) -> Timestamp {
        (self.config.clock)().into()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.admission.is_closed()
    }

    /// From here on nothing is admitted.
    pub(crate) fn stop_admission(&self) {
        self.admission.close();
    }

    /// How many aggregates have an actor.
    pub(crate) fn resident(&self) -> usize {
        self.registry.resident()
    }

    /// Runs a future on the store's own runtime. False when that has ended.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> bool {
        self.arbiters.spawn(future)
    }
}

/// An expectation below what is known to be durable is wrong for certain, and needs no message. With a
/// commit id of the caller's own it may be a repetition, which the actor finds out.
fn refuse_stale(append: &CheckedAppend, lease: &Lease) -> Result<(), AppendError> {
    match append.expected.exact() {
        Some(expected) if !append.own_commit_id && expected < lease.slot().latest() => {
            Err(AppendError::Conflict {
                key: append.key.clone(),
                expected: append.expected,
                actual: lease.slot().latest(),
            })
        }
        _ => Ok(()),
    }
}
