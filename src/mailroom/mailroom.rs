//! The caller's side of the mailroom: from an append or a command to its answer.
//!
//! In the caller's thread: a stale expectation is refused; a lease keeps the aggregate resident; a
//! permit of the aggregate and the append's bytes are taken; then the caller takes the aggregate's
//! turn if it is idle ([`turn`](super::turn)), or the mail goes into the slot's inbox. What has to
//! wait for one of them waits as mail, and needs its caller no more.

use std::any::TypeId;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use futures_util::future::select;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::admission::Wait;
use super::arbiters::Arbiters;
use super::consumers::RunningConsumers;
use super::entity_state::BoxedCommand;
use super::line::Place;
use super::registry::{Lookup, Registry};
use super::shared::{Config, Shared};
use super::slot::{AppendClosure, Arrival, DecideEvents, Lease, Mail, ReplyTo, StartActor, arrive};
use super::turn;
use crate::append::{Append, Appended, CheckedAppend};
use crate::driver::Driver;
use crate::error::AppendError;
use crate::event::AggregateKey;
use crate::stats::StoreStats;

/// The mailroom of one store, shared by its handles.
pub(crate) struct Mailroom {
    /// The Rust type of each kind of entity.
    pub(crate) kinds: DashMap<&'static str, (TypeId, &'static str)>,
    /// The consumers that run.
    pub(crate) consumers: RunningConsumers,
    registry: Registry,
    shared: Arc<Shared>,
}

impl Deref for Mailroom {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Mailroom {
    pub(super) fn new(
        driver: Arc<dyn Driver>,
        config: Config,
        arbiters: Arbiters,
        start_actor: StartActor,
    ) -> Self {
        let shared = Arc::new(Shared::new(driver, config, arbiters));
        Mailroom {
            kinds: DashMap::new(),
            consumers: RunningConsumers::default(),
            registry: Registry::new(shared.clone(), start_actor),
            shared,
        }
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Appends; called after [`lease_unless_stale`](Mailroom::lease_unless_stale). If the future is
    /// dropped, the append is still written as a whole or not at all.
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
        let key = append.key.clone();
        let size_bytes = append.size_bytes;
        let (answer, answered) = oneshot::channel();
        let mail = Mail::new(append, size_bytes, ReplyTo::Append(answer));
        let place = self.admit(&key, resident, mail, wait);
        let reply = answered.await;
        place.give_up();
        match reply {
            Ok(reply) => reply.into_answer(),
            Err(_died) => Err(AppendError::ActorFailed { key }),
        }
    }

    /// Appends what the closure decides in the aggregate's turn. It takes so many bytes of those in
    /// flight.
    pub(crate) async fn append_with(
        &self,
        key: AggregateKey,
        bytes: usize,
        decide: Box<DecideEvents>,
    ) -> Result<Appended, AppendError> {
        let resident = self.lease_if_resident(&key);
        let (answer, answered) = oneshot::channel();
        let undecided = CheckedAppend::undecided(key.clone(), None);
        let closure = AppendClosure::new(decide, self.shared.clone());
        let mail = Mail::new(undecided, bytes, ReplyTo::Append(answer)).decided_by(closure);
        let place = self.admit(&key, resident, mail, Wait::ForRoom);
        let reply = answered.await;
        place.give_up();
        match reply {
            Ok(reply) => reply.into_answer(),
            Err(_died) => Err(AppendError::ActorFailed { key }),
        }
    }

    fn lease_if_resident(&self, key: &AggregateKey) -> Option<Lease> {
        match self.registry.find(key, None) {
            Lookup::Resident(lease) => Some(lease),
            _ => None,
        }
    }

    /// Executes a command. It is decided in the mailbox, and sends its answer itself.
    pub(crate) fn execute(
        &self,
        key: &AggregateKey,
        commit_id: Option<Uuid>,
        bytes: usize,
        command: Box<dyn BoxedCommand>,
    ) -> PlaceInLine<'_> {
        let resident = self.lease_if_resident(key);
        let undecided = CheckedAppend::undecided(key.clone(), commit_id);
        let mail = Mail::new(undecided, bytes, ReplyTo::Command(command));
        self.admit(key, resident, mail, Wait::ForRoom)
    }

    fn admit(
        &self,
        key: &AggregateKey,
        resident: Option<Lease>,
        mail: Mail,
        wait: Wait,
    ) -> PlaceInLine<'_> {
        let arrival = match resident {
            Some(lease) => arrive(lease, mail, wait),
            None => self.registry.arrive(mail, wait),
        };
        let place = match arrival {
            Arrival::Admitted(slot, mail) => {
                turn::of_caller(&slot, mail);
                None
            }
            waits => waits.go_on(),
        };
        PlaceInLine { mailroom: self, waits: place.map(|place| (key.clone(), place)) }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.admission.is_closed()
    }

    /// ReplyTo here on nothing is admitted.
    pub(crate) fn stop_admission(&self) {
        self.admission.close();
        self.registry.close_seats();
    }

    /// How many aggregates are resident.
    pub(crate) fn resident(&self) -> usize {
        self.registry.resident()
    }

    /// What was counted, with the state of now. The consumers' lag and the driver are not asked.
    pub(crate) fn stats(&self) -> StoreStats {
        let mut stats = self.figures.totals();
        stats.residents = self.resident() as u64;
        stats.resident_bytes = self.states.bytes() as u64;
        stats.in_flight = self.admission.admitted() as u64;
        stats.bytes_in_flight = self.admission.bytes_taken();
        stats
    }

    /// Sleeps on the store's own runtime, for callers that may have none. Ends at once when the
    /// runtime has ended.
    pub(crate) fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        let (mut over, waiting) = oneshot::channel::<()>();
        self.spawn(async move {
            let sleep = std::pin::pin!(tokio::time::sleep(duration));
            // Ends early when the waiting future is dropped, so that no timer is left behind.
            select(sleep, std::pin::pin!(over.closed())).await;
        });
        async move { drop(waiting.await) }
    }

    /// A lease on the aggregate if it is resident. An expectation below the latest durable sequence
    /// is certainly wrong, and needs no message. Checked before the append's events, so that a
    /// writer which often conflicts pays for nothing else.
    pub(crate) fn lease_unless_stale(&self, append: &Append) -> Result<Option<Lease>, AppendError> {
        if self.is_closed() {
            return Err(AppendError::Closed);
        }
        let Ok(key) = append.key() else { return Ok(None) };
        match self.registry.find(key, append.may_be_refused_early()) {
            Lookup::Resident(lease) => Ok(Some(lease)),
            Lookup::NotResident => Ok(None),
            Lookup::Stale(actual) => {
                self.figures.early_conflict();
                Err(AppendError::Conflict { key: key.clone(), expected: append.expected(), actual })
            }
        }
    }
}

/// Where an append may wait in line. Dropped before [`PlaceInLine::give_up`], it takes the append
/// out: nobody waits for the answer.
pub(crate) struct PlaceInLine<'a> {
    mailroom: &'a Mailroom,
    waits: Option<(AggregateKey, Place)>,
}

impl PlaceInLine<'_> {
    /// The append is answered.
    pub(crate) fn give_up(mut self) {
        self.waits = None;
    }
}

impl Drop for PlaceInLine<'_> {
    fn drop(&mut self) {
        if let Some((key, place)) = self.waits.take() {
            self.mailroom.registry.withdraw(&key, place);
        }
    }
}
