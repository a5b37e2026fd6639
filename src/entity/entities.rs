//! The handle of all entities of one type: executes commands, loads states.

use std::any::{Any, TypeId, type_name};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, Stream, TryStreamExt};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Aggregate;
use super::command::{
    AnsweredCommand, CommandReply, CommandResult, DecidedCommand, SentCommand, is_another_command,
};
use super::error::ExecuteError;
use super::executed::{Executed, Loaded};
use super::pauses::Pauses;
use super::setup::EntitySetup;
use super::state::Folded;
use crate::append::{ExecuteOptions, Expected, Waiter};
use crate::error::{AppendError, LoadError};
use crate::event::{AggregateKey, KeyError, KeyedEvent, RawJson, Sequence, Timestamp};
use crate::mailroom::{EntityHistory, EntityState, load};
use crate::middleware::{Execution, NextExecute, Outcome};
use crate::store::EventStore;

/// All entities of one type in one store. Cheap to clone; holds the store open.
///
/// ```
/// # use seriatim::{Aggregate, Context, EventStore};
/// # #[derive(Default, serde::Serialize, serde::Deserialize)]
/// # struct Tally { n: u64 }
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum Event { Counted }
/// # impl Aggregate for Tally {
/// #     const KIND: &'static str = "tally";
/// #     type Command = ();
/// #     type Event = Event;
/// #     type Error = String;
/// #     type Services = ();
/// #     fn handle(&self, _: &(), _: &Context<'_>) -> Result<Vec<Event>, String> {
/// #         Ok(vec![Event::Counted])
/// #     }
/// #     fn apply(&mut self, _: &Event) { self.n += 1; }
/// # }
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let tallies = store.entities::<Tally>();
/// let executed = tallies.execute("visitors", ()).await?;
/// assert_eq!((executed.events.len(), executed.sequence.get()), (1, 1));
/// let loaded = tallies.state("visitors").await?;
/// assert_eq!((loaded.state.n, loaded.sequence.get()), (1, 1));
/// # Ok(()) }
/// ```
pub struct Entities<A: Aggregate> {
    pub(super) store: EventStore,
    pub(super) setup: Arc<EntitySetup<A>>,
    /// Why these entities cannot be used in this store.
    problem: Option<LoadError>,
}

impl<A: Aggregate> Clone for Entities<A> {
    fn clone(&self) -> Self {
        Entities {
            store: self.store.clone(),
            setup: self.setup.clone(),
            problem: self.problem.clone(),
        }
    }
}

impl<A: Aggregate> fmt::Debug for Entities<A> {
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
        let setup = Arc::new(EntitySetup::of(&store));
        let claimed = store.claim_kind(A::KIND, TypeId::of::<A>(), type_name::<A>());
        let problem = claimed.and_then(|()| setup.check()).err();
        Entities { store, setup, problem }
    }

    /// The aggregate key of the entity with this id: `{KIND}/{id}`, for raw appends and reads.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when id and kind make no key.
    pub fn key(&self, id: impl AsRef<str>) -> Result<AggregateKey, KeyError> {
        AggregateKey::of_entity(A::KIND, id.as_ref())
    }

    fn own_key(&self, id: &str) -> Result<AggregateKey, LoadError> {
        match &self.problem {
            Some(problem) => Err(problem.clone()),
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

    /// Sends the command, again where that may help and the options allow it.
    async fn send(
        &self,
        key: AggregateKey,
        mut command: A::Command,
        options: ExecuteOptions,
    ) -> CommandResult<A> {
        let ExecuteOptions { mut commit_id, metadata, expected, attempts, waiters } = options;
        let metadata = metadata.transpose().map_err(|source| {
            let key = key.clone();
            ExecuteError::Append(AppendError::InvalidEvent { key, index: 0, source })
        })?;
        let mut attempts = attempts.max(1);
        let mut pauses = Pauses::default();
        loop {
            attempts -= 1;
            let sent = SendOnce { metadata: metadata.clone(), expected, commit_id };
            let answered = self.send_once(&key, command, sent).await?;
            match answered.result {
                Err(error) if attempts > 0 && error.is_retryable() => {
                    if let ExecuteError::Append(AppendError::Indeterminate {
                        commit_id: id, ..
                    }) = error
                    {
                        commit_id = Some(id);
                    }
                }
                result => {
                    let AnsweredCommand { command, repeated, .. } = answered;
                    self.refuse_if_reused(&key, command, &repeated).await?;
                    let executed = result?;
                    return wait_for_all(&waiters, executed).await;
                }
            }
            command = answered.command;
            self.store.pause(pauses.next()).await;
        }
    }

    async fn send_once(
        &self,
        key: &AggregateKey,
        command: A::Command,
        sent: SendOnce,
    ) -> Result<AnsweredCommand<A>, ExecuteError<A::Error>> {
        let (answer, answered) = oneshot::channel();
        let metadata_bytes = sent.metadata.as_ref().map_or(0, RawJson::len);
        let bytes = A::command_bytes(&command).saturating_add(metadata_bytes);
        let mailroom = self.store.mailroom();
        let decided = DecidedCommand::<A> {
            key: key.clone(),
            command,
            metadata: sent.metadata,
            expected: sent.expected,
            setup: self.setup.clone(),
            outcome: None,
        };
        let execution = SentCommand { decided, answer, mailroom: mailroom.clone() };
        let place = mailroom.execute(key, sent.commit_id, bytes, Box::new(execution));
        let lost = |_| ExecuteError::Append(AppendError::ActorFailed { key: key.clone() });
        let reply = answered.await;
        place.give_up();
        reply.map(CommandReply::into_answered).map_err(lost)
    }

    /// Tells the caller of a command whose commit id stands there for something else.
    async fn refuse_if_reused(
        &self,
        key: &AggregateKey,
        command: A::Command,
        repeated: &[KeyedEvent],
    ) -> Result<(), ExecuteError<A::Error>> {
        let Some(first) = repeated.first() else { return Ok(()) };
        // What services answer may have changed since.
        if TypeId::of::<A::Services>() != TypeId::of::<()>() {
            return Ok(());
        }
        let (before, first) = (first.sequence.previous(), first.sequence);
        let loaded = self.load(key, Some(before), |event| event.sequence < first).await;
        let Ok(loaded) = loaded else { return Ok(()) };
        if is_another_command(&self.setup, &loaded.state, &command, repeated) {
            let commit_id = repeated.first().map(|event| event.commit_id).unwrap_or_default();
            let key = key.clone();
            return Err(ExecuteError::Append(AppendError::CommitIdReused { key, commit_id }));
        }
        Ok(())
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

    /// The state as it was at this time: all events recorded until then, by the clocks of the
    /// stores that wrote them. Where there is no log, those times need not increase along an
    /// aggregate's events; the state ends before the first later one.
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
        self.load_onto(Folded::blank(self.setup.clone()), key, last, wanted).await
    }

    /// Folds in what happened since.
    pub(super) async fn catch_up(
        &self,
        key: &AggregateKey,
        since: Loaded<A>,
    ) -> Result<Loaded<A>, LoadError> {
        let folded = Folded::of(since.state, since.sequence, self.setup.clone());
        self.load_onto(folded, key, None, |_| true).await
    }

    async fn load_onto(
        &self,
        folded: Folded<A>,
        key: &AggregateKey,
        last: Option<Sequence>,
        wanted: impl Fn(&KeyedEvent) -> bool,
    ) -> Result<Loaded<A>, LoadError> {
        let at = folded.sequence;
        let entity = EntityState::folded(Box::new(folded), at);
        loaded(load(&StoreHistory { store: &self.store, key }, entity, last, wanted).await?)
    }

    pub(super) fn checked_key(&self, id: &str) -> Result<AggregateKey, LoadError> {
        self.own_key(id)
    }
}

/// What goes with one sending of a command.
struct SendOnce {
    metadata: Option<RawJson>,
    expected: Expected,
    commit_id: Option<Uuid>,
}

/// Answers when all of them have handled the command's events.
async fn wait_for_all<A: Aggregate>(waiters: &[Waiter], executed: Executed<A>) -> CommandResult<A> {
    if let Some(appended) = &executed.appended {
        for waiter in waiters {
            waiter.wait(appended).await.map_err(|source| {
                let appended = appended.clone();
                ExecuteError::NotHandled { appended, source }
            })?;
        }
    }
    Ok(executed)
}

/// What a middleware is told of an answer.
fn outcome<A: Aggregate>(answer: &CommandResult<A>) -> Result<Outcome, AppendError> {
    match answer {
        Ok(executed) => Ok(executed.appended.clone().map_or(Outcome::Nothing, Outcome::Appended)),
        Err(ExecuteError::NotHandled { appended, .. }) => Ok(Outcome::Appended(appended.clone())),
        Err(ExecuteError::Rejected(_)) => Ok(Outcome::Rejected),
        Err(ExecuteError::Append(error)) => Err(error.clone()),
        Err(ExecuteError::Load(_) | ExecuteError::Panicked { .. }) => Ok(Outcome::Failed),
    }
}

/// One aggregate as a caller reads it: through the middleware, page by page.
struct StoreHistory<'a> {
    store: &'a EventStore,
    key: &'a AggregateKey,
}

impl EntityHistory for StoreHistory<'_> {
    fn key(&self) -> &AggregateKey {
        self.key
    }

    async fn snapshot(&self) -> Result<Option<Bytes>, String> {
        Ok(self.store.load_snapshot(self.key).await)
    }

    fn events(
        &self,
        after: Sequence,
    ) -> impl Stream<Item = Result<KeyedEvent, LoadError>> + Send + Unpin {
        self.store.read(self.key).without_upcasters().from(after.next()).map_err(LoadError::from)
    }
}

/// The state in its type again.
fn loaded<A: Aggregate>(entity: EntityState) -> Result<Loaded<A>, LoadError> {
    let sequence = entity.at;
    let state: Box<dyn Any> = entity.into_state();
    match state.downcast::<Folded<A>>() {
        Ok(folded) => Ok(Loaded { state: folded.state, sequence }),
        Err(_) => {
            let (other, this) = ("another type", type_name::<A>());
            Err(LoadError::WrongKind { kind: A::KIND, other, this })
        }
    }
}
