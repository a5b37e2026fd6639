//! The caller's side of the mailroom: from an append or a command to its answer.
//!
//! In the caller's thread: a stale expectation is refused; a lease keeps the aggregate resident; a
//! permit of the aggregate and the append's bytes are taken; the mail goes into the slot's inbox.

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
use super::entity_state::BoxedCommand;
use super::registry::{Lookup, Registry};
use super::shared::{Config, Shared};
use super::slot::{Lease, Mail, ReplyTo, StartActor, Ticket};
use crate::append::{Append, Appended, CheckedAppend};
use crate::driver::Driver;
use crate::error::AppendError;
use crate::event::AggregateKey;

/// The mailroom of one store, shared by its handles.
pub(crate) struct Mailroom {
    /// The Rust type of each kind of entity.
    pub(crate) kinds: DashMap<&'static str, (TypeId, &'static str)>,
    /// The names of the consumers that run.
    pub(crate) consumers: DashMap<Arc<str>, ()>,
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
            consumers: DashMap::new(),
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
        let lease = match resident {
            Some(lease) => lease,
            None => self.lease_new(&append.key, wait).await?,
        };
        let ticket = Ticket::take(lease, append.size_bytes, wait).await?;
        let key = append.key.clone();
        let (answer, answered) = oneshot::channel();
        Self::deliver(append, ticket, ReplyTo::Append(answer));
        match answered.await {
            Ok(reply) => reply.answer,
            Err(_died) => Err(AppendError::ActorFailed { key }),
        }
    }

    /// Executes a command. It is decided in the mailbox, and sends its answer itself.
    pub(crate) async fn execute(
        &self,
        key: AggregateKey,
        commit_id: Option<Uuid>,
        bytes: usize,
        command: Box<dyn BoxedCommand>,
    ) -> Result<(), AppendError> {
        let lease = match self.registry.find(&key, None) {
            Lookup::Resident(lease) => lease,
            _ => self.lease_new(&key, Wait::ForRoom).await?,
        };
        let ticket = Ticket::take(lease, bytes, Wait::ForRoom).await?;
        let undecided = CheckedAppend::undecided(key, commit_id);
        Self::deliver(undecided, ticket, ReplyTo::Command(command));
        Ok(())
    }

    fn deliver(append: CheckedAppend, ticket: Ticket, reply_to: ReplyTo) {
        let slot = ticket.slot().clone();
        let mail = Mail::new(append, ticket, reply_to);
        let wake = slot.lock().inbox.push(mail);
        wake.wake(&slot);
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

    /// ReplyTo here on nothing is admitted.
    pub(crate) fn stop_admission(&self) {
        self.admission.close();
    }

    /// How many aggregates have an actor.
    pub(crate) fn resident(&self) -> usize {
        self.registry.resident()
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
                Err(AppendError::Conflict { key: key.clone(), expected: append.expected(), actual })
            }
        }
    }
}
