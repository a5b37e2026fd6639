//! The floor between the application and the drivers: one mailbox per aggregate.
//!
//! ```text
//! caller ─▶ Mailroom::append ── stale? refused here, in the caller's thread
//!              │ lease on the aggregate's slot, permit, bytes      registry.rs · admission.rs
//!              ▼ mail, into the slot's inbox                       mail.rs · slot.rs · inbox.rs
//!           AggregateActor ── queues; when no put is in flight:     aggregate_actor.rs
//!              │ decides all that wait, in order, into one put      decide.rs
//!              ▼
//!           settle ── sends the put until its fate is known,        settle.rs · sending.rs
//!                     then answers every caller it held
//! ```
//!
//! What must stay true:
//!
//! - A slot's latest sequence is a lower bound of what is durable. It may refuse, never accept: the
//!   driver's uniqueness of (key, sequence) has the last word.
//! - At most one put per aggregate is in flight; the [`PutPermit`](slot::PutPermit) of its slot
//!   says so, and outlives the actor.
//! - No answer leaves that rests on an event which is not durable.
//! - Every mail is answered exactly once, whatever dies: by what settled it, or by its own drop.

mod admission;
mod aggregate_actor;
mod arbiters;
mod courtesy;
mod decide;
mod entity;
mod hot;
mod inbox;
mod load;
mod mail;
mod queue;
mod registry;
mod runtime;
mod sending;
mod settle;
mod slot;
mod supervisor;
mod window;

use std::any::TypeId;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dashmap::DashMap;
use futures_util::future::select;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::append::{Append, Appended, CheckedAppend};
use crate::driver::{Driver, Limits};
use crate::error::AppendError;
use crate::event::{AggregateKey, Timestamp};
use crate::upcast::Upcasters;

use admission::{Admission, Ticket};
use arbiters::Arbiters;
pub(crate) use entity::{Command, CommandAnswer, Decision, State};
use mail::{From, Mail};
use registry::{Found, Lease, Registry, Room};
pub(crate) use runtime::{OpenDriver, Runtime};

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
    pub(crate) upcasters: Arc<Upcasters>,
}

/// Whether an append waits for room or is refused without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    ForRoom,
    Never,
}

/// The mailroom of one store, shared by its handles.
pub(crate) struct Mailroom {
    /// Which type each kind of entity belongs to.
    pub(crate) kinds: DashMap<&'static str, (TypeId, &'static str)>,
    /// The names of the consumers that run.
    pub(crate) consumers: DashMap<Arc<str>, ()>,
    registry: Registry,
    common: Arc<Common>,
}

/// What all slots share, so that a mail, an actor and a put find everything through their slot. It knows no slot
/// itself.
pub(crate) struct Common {
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) config: Config,
    limits: Limits,
    is_exclusive: bool,
    admission: Admission,
    arbiters: Arbiters,
    room: Room,
}

impl Deref for Mailroom {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

impl Common {
    fn now(&self) -> Timestamp {
        (self.config.clock)().into()
    }

    /// Runs a future on the store's own runtime. False when that has ended.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> bool {
        self.arbiters.spawn(future)
    }
}

impl Mailroom {
    fn new(driver: Arc<dyn Driver>, config: Config, arbiters: Arbiters) -> Self {
        let common = Arc::new(Common {
            limits: driver.limits(),
            is_exclusive: driver.is_exclusive(),
            admission: Admission::new(config.bytes_in_flight),
            room: Room::new(config.max_resident),
            driver,
            config,
            arbiters,
        });
        Mailroom {
            kinds: DashMap::new(),
            consumers: DashMap::new(),
            registry: Registry::new(common.clone()),
            common,
        }
    }

    /// The way of an append, from the caller's thread to the answer, behind
    /// [`lease_unless_stale`](Mailroom::lease_unless_stale). Dropping the future leaves the append to its fate: whole
    /// or not at all.
    pub(crate) async fn append(
        &self,
        append: Append,
        resident: Option<Lease>,
        wait: Wait,
    ) -> Result<Appended, AppendError> {
        let append = append.check()?;
        self.limits.check_append(&append).map_err(|exceeded| {
            let key = append.key.clone();
            AppendError::TooLarge { key, exceeded }
        })?;
        let lease = match resident {
            Some(lease) => lease,
            None => self.lease_new(&append.key, wait).await?,
        };
        let ticket = self.admission.ticket(lease, append.size_bytes, wait).await?;
        let key = append.key.clone();
        let (answer, answered) = oneshot::channel();
        Self::deliver(append, ticket, From::Append(answer));
        match answered.await {
            Ok(reply) => reply.answer,
            Err(_died) => Err(AppendError::ActorFailed { key }),
        }
    }

    /// The way of a command: the same, but that it is decided in the mailbox, and answers by itself.
    pub(crate) async fn execute(
        &self,
        key: AggregateKey,
        commit_id: Option<Uuid>,
        bytes: usize,
        command: Box<dyn Command>,
    ) -> Result<(), AppendError> {
        let lease = match self.registry.find(&key, None) {
            Found::Resident(lease) => lease,
            _ => self.lease_new(&key, Wait::ForRoom).await?,
        };
        let ticket = self.admission.ticket(lease, bytes, Wait::ForRoom).await?;
        let undecided = CheckedAppend::undecided(key, commit_id);
        Self::deliver(undecided, ticket, From::Command(command));
        Ok(())
    }

    fn deliver(append: CheckedAppend, ticket: Ticket, from: From) {
        let slot = ticket.slot().clone();
        let mail = Mail::new(append, ticket, from);
        let notice = slot.desk().inbox.push(mail);
        notice.give(&slot);
    }

    async fn lease_new(&self, key: &AggregateKey, wait: Wait) -> Result<Lease, AppendError> {
        if self.admission.is_closed() {
            return Err(AppendError::Closed);
        }
        self.registry.lease(key, wait).await
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

    /// Sleeps on the store's own runtime, for callers that may have none. Over at once when that has ended.
    pub(crate) fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        let (mut over, waiting) = oneshot::channel::<()>();
        self.spawn(async move {
            let sleep = std::pin::pin!(tokio::time::sleep(duration));
            // Nobody waits any more: no timer is kept for nobody.
            select(sleep, std::pin::pin!(over.closed())).await;
        });
        async move { drop(waiting.await) }
    }

    /// A lease on the aggregate if it is resident. An expectation below what is known to be durable is wrong
    /// for certain, and needs no message. Asked before the events are looked at: a writer that conflicts often pays
    /// for nothing else.
    pub(crate) fn lease_unless_stale(&self, append: &Append) -> Result<Option<Lease>, AppendError> {
        if self.is_closed() {
            return Err(AppendError::Closed);
        }
        let Ok(key) = append.key() else { return Ok(None) };
        match self.registry.find(key, append.may_be_refused_early()) {
            Found::Resident(lease) => Ok(Some(lease)),
            Found::NotResident => Ok(None),
            Found::Stale(actual) => {
                Err(AppendError::Conflict { key: key.clone(), expected: append.expected(), actual })
            }
        }
    }
}
