//! The handle of all entities of one type: executes commands, loads states.

use std::any::{TypeId, type_name};
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::Aggregate;
use super::command::SentCommand;
use super::error::ExecuteError;
use super::executed::{Executed, Loaded};
use super::state::{Folded, Reading, Snapshots};
use crate::append::ExecuteOptions;
use crate::error::{AppendError, LoadError};
use crate::event::{AggregateKey, KeyError, KeyedEvent, Sequence, Timestamp};
use crate::mailroom::BoxedState;
use crate::middleware::{Execution, NextExecute, Outcome};
use crate::store::{EventStore, Read};

/// All entities of one type in one store. Cheap to clone; holds the store open.
pub struct Entities<A> {
    pub(super) store: EventStore,
    pub(super) reading: Reading,
    /// Another type has this kind.
    wrong_kind: Option<LoadError>,
    entity: PhantomData<fn() -> A>,
}

impl<A> Clone for Entities<A> {
    fn clone(&self) -> Self {
        Entities {
            store: self.store.clone(),
            reading: self.reading.clone(),
            wrong_kind: self.wrong_kind.clone(),
            entity: PhantomData,
        }
    }
}

impl<A> fmt::Debug for Entities<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entities").field("type", &type_name::<A>()).finish_non_exhaustive()
    }
}

impl EventStore {
    /// The entities of type `A`; see [`Aggregate`].
    pub fn entities<A: Aggregate>(&self) -> Entities<A> {
        Entities::new(self.clone())
    }
}

impl<A: Aggregate> Entities<A> {
    fn new(store: EventStore) -> Self {
        let wrong_kind = store.claim_kind(A::KIND, TypeId::of::<A>(), type_name::<A>()).err();
        let reading = Reading {
            snapshots: Snapshots::Never,
            skip_unknown_types: false,
            upcasters: store.upcasters(),
        };
        Entities { store, reading, wrong_kind, entity: PhantomData }
    }

    /// When snapshots are taken; never, unless told. The driver must have a
    /// [`SnapshotStore`](crate::driver::SnapshotStore), or none are.
    pub fn snapshots(mut self, snapshots: Snapshots) -> Self {
        self.reading.snapshots = snapshots;
        self
    }

    /// Skips events of a type that the enum does not know, instead of failing.
    pub fn skip_unknown_types(mut self) -> Self {
        self.reading.skip_unknown_types = true;
        self
    }

    /// The aggregate key of the entity with this id: `{KIND}/{id}`, for raw appends and reads.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when id and kind make no key.
    pub fn key(&self, id: impl AsRef<str>) -> Result<AggregateKey, KeyError> {
        AggregateKey::new(&format!("{}/{}", A::KIND, id.as_ref()))
    }

    fn own_key(&self, id: &str) -> Result<AggregateKey, LoadError> {
        match &self.wrong_kind {
            Some(wrong_kind) => Err(wrong_kind.clone()),
            None => self.key(id).map_err(LoadError::InvalidKey),
        }
    }

    /// Executes a command: decided in the entity's mailbox, in order, and answered when its events
    /// are durable. A rejection, too, rests on durable events only.
    ///
    /// Cancel-safe like [`EventStore::append`]: a dropped future leaves the command executed or
    /// not.
    ///
    /// # Errors
    ///
    /// [`ExecuteError`].
    pub async fn execute(
        &self,
        id: impl AsRef<str>,
        command: A::Command,
    ) -> Result<Executed<A>, ExecuteError<A::Error>> {
        self.execute_with(id, command, ExecuteOptions::new()).await
    }

    /// [`Entities::execute`] with a commit id, metadata, or both.
    ///
    /// # Errors
    ///
    /// [`ExecuteError`].
    pub async fn execute_with(
        &self,
        id: impl AsRef<str>,
        command: A::Command,
        options: ExecuteOptions,
    ) -> Result<Executed<A>, ExecuteError<A::Error>> {
        let key = self.own_key(id.as_ref()).map_err(ExecuteError::Load)?;
        let chain = self.store.middleware();
        if chain.is_empty() {
            return self.send(key, command, options).await;
        }
        // The answer has the entity's own types, which no middleware knows: it waits aside.
        let mut answer = None;
        let kept = &mut answer;
        let end = move |execution: Execution| {
            let sent = async move {
                let answered = self.send(execution.key, command, execution.options).await;
                let outcome = outcome(&answered);
                *kept = Some(answered);
                outcome
            };
            sent.boxed()
        };
        let next = NextExecute::new(&chain, Box::new(end));
        let passed = next.run(Execution::new(key.clone(), options)).await;
        answer.unwrap_or_else(|| {
            let made_up = |_| AppendError::Refused {
                key,
                reason: "a middleware answered a command that it did not send on".to_owned(),
            };
            Err(ExecuteError::Append(passed.map_or_else(|error| error, made_up)))
        })
    }

    async fn send(
        &self,
        key: AggregateKey,
        command: A::Command,
        options: ExecuteOptions,
    ) -> Result<Executed<A>, ExecuteError<A::Error>> {
        let (commit_id, metadata) = options.into_parts();
        let metadata = metadata.transpose().map_err(|source| {
            let key = key.clone();
            ExecuteError::Append(AppendError::InvalidEvent { key, index: 0, source })
        })?;
        let (answer, answered) = oneshot::channel();
        let execution = SentCommand::<A> {
            key: key.clone(),
            command,
            metadata,
            reading: Arc::new(self.reading.clone()),
            decided: None,
            answer,
        };
        let mailroom = self.store.mailroom();
        mailroom
            .execute(key.clone(), commit_id, Box::new(execution))
            .await
            .map_err(ExecuteError::Append)?;
        let lost = |_| ExecuteError::Append(AppendError::ActorFailed { key });
        answered.await.map_err(lost)?
    }

    /// The entity's state now, and its sequence: folded from what is durable, in the caller's task.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub async fn state(&self, id: impl AsRef<str>) -> Result<Loaded<A>, LoadError> {
        let key = self.own_key(id.as_ref())?;
        self.load(&key, None, |_| true).await
    }

    /// The state as it was right after the event with this sequence; the latest one, if there are
    /// not so many events.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub async fn at(
        &self,
        id: impl AsRef<str>,
        sequence: impl Into<Sequence>,
    ) -> Result<Loaded<A>, LoadError> {
        let (key, last) = (self.own_key(id.as_ref())?, sequence.into());
        self.load(&key, Some(last), |event| event.sequence <= last).await
    }

    /// The state as it was at this time: all events recorded until then.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub async fn at_time(
        &self,
        id: impl AsRef<str>,
        time: impl Into<Timestamp>,
    ) -> Result<Loaded<A>, LoadError> {
        let (key, time) = (self.own_key(id.as_ref())?, time.into());
        self.load(&key, Some(Sequence::NONE), |event| event.recorded_at <= time).await
    }

    /// Folds events as long as they are wanted. A snapshot may stand for those up to `last`; `None`
    /// takes any.
    pub(super) async fn load(
        &self,
        key: &AggregateKey,
        last: Option<Sequence>,
        wanted: impl Fn(&KeyedEvent) -> bool,
    ) -> Result<Loaded<A>, LoadError> {
        let mut folded = Folded::<A>::blank(Arc::new(self.reading.clone()));
        let mut at = Sequence::NONE;
        if folded.snapshot_every().is_some()
            && last != Some(Sequence::NONE)
            && let Some(snapshot) = self.store.load_snapshot(key).await
        {
            match folded.restore(&snapshot) {
                Ok(sequence) if last.is_none_or(|last| sequence <= last) => at = sequence,
                Ok(_) => folded.reset(),
                Err(reason) => {
                    tracing::warn!(%key, reason, "a snapshot cannot be used and is ignored");
                }
            }
        }
        if at > Sequence::NONE {
            // The event that the snapshot was taken at is read too: is it there?
            let mut events = self.store.read(key).from(at);
            match events.next().await.transpose()? {
                Some(event) if event.sequence == at => {
                    return fold(folded, at, events, wanted).await;
                }
                _ => {
                    tracing::warn!(%key, %at, "a snapshot ahead of its events is ignored");
                    folded.reset();
                }
            }
        }
        fold(folded, Sequence::NONE, self.store.read(key), wanted).await
    }

    /// Folds in what happened since.
    pub(super) async fn catch_up(
        &self,
        key: &AggregateKey,
        loaded: Loaded<A>,
    ) -> Result<Loaded<A>, LoadError> {
        let reading = Arc::new(self.reading.clone());
        let folded = Folded { state: loaded.state, reading };
        let events = self.store.read(key).from(loaded.sequence.next());
        fold(folded, loaded.sequence, events, |_| true).await
    }

    pub(super) fn checked_key(&self, id: &str) -> Result<AggregateKey, LoadError> {
        self.own_key(id)
    }
}

/// What a middleware is told of an answer.
fn outcome<A: Aggregate>(
    answer: &Result<Executed<A>, ExecuteError<A::Error>>,
) -> Result<Outcome, AppendError> {
    match answer {
        Ok(executed) => Ok(executed.appended.clone().map_or(Outcome::Nothing, Outcome::Appended)),
        Err(ExecuteError::Rejected(_)) => Ok(Outcome::Rejected),
        Err(ExecuteError::Append(error)) => Err(error.clone()),
        Err(ExecuteError::Load(_) | ExecuteError::Panicked { .. }) => Ok(Outcome::Failed),
    }
}

async fn fold<A: Aggregate>(
    mut folded: Folded<A>,
    mut at: Sequence,
    mut events: Read,
    wanted: impl Fn(&KeyedEvent) -> bool,
) -> Result<Loaded<A>, LoadError> {
    while let Some(event) = events.next().await {
        let event = event?;
        if !wanted(&event) {
            break;
        }
        let (key, sequence) = (event.key.clone(), event.sequence);
        let applied = catch_unwind(AssertUnwindSafe(|| folded.apply(event)));
        applied.unwrap_or(Err(LoadError::Panicked { key, sequence }))?;
        at = sequence;
    }
    Ok(Loaded { state: folded.state, sequence: at })
}
