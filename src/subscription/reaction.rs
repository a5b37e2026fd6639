//! Reactions: what an event causes. How they are done exactly once stands in
//! `reaction_handler.rs`.

use std::any::Any;
use std::fmt::{self, Display};
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;

use crate::append::{Append, ExecuteOptions};
use crate::entity::{Aggregate, ExecuteError};
use crate::event::{AggregateKey, KeyError, KeyedEvent, RawJson};
use crate::store::EventStore;

/// Something an event causes: an append, or a command to an entity. For
/// [`Consumer::react`](super::Consumer::react).
///
/// The consumer sets its commit id, and metadata of its events: `causation_id`, the id of the event
/// that caused it; the `correlation_id` of that event, if it has one; and from the second link of a
/// chain on `causation_depth`, the number of links.
///
/// Name the events that are reacted to: an event that a reaction causes is an event of the store
/// like any other, and comes to the consumer too.
///
/// ```
/// use seriatim::subscription::Reaction;
/// use seriatim::{Append, KeyedEvent, NewEvent};
///
/// fn greet(event: &KeyedEvent) -> Reaction {
///     let greeting = NewEvent::raw("Greeted", "{}");
///     Reaction::append(Append::to(format!("greetings/{}", event.key)).event(greeting))
/// }
///
/// # fn example(store: &seriatim::EventStore) {
/// let greeter = store.consumer("greeter").category("guest").event_types(["Arrived"]).react(greet);
/// # let _ = greeter; }
/// ```
#[must_use = "a reaction does nothing unless a consumer is given it"]
pub struct Reaction {
    pub(super) key: Result<AggregateKey, KeyError>,
    pub(super) action: Action,
    pub(super) metadata: Vec<(String, Result<RawJson, String>)>,
    pub(super) otherwise: Option<Box<Reaction>>,
}

pub(super) enum Action {
    Append(Append),
    Command(ExecuteCommand),
}

pub(super) type ExecuteCommand = Box<dyn FnOnce(EventStore, ExecuteOptions) -> Executing + Send>;
/// Whether an event was written.
type Executing = Pin<Box<dyn Future<Output = Result<bool, Refusal>> + Send>>;

pub(super) enum Refusal {
    Rejected(ReactionError),
    Failed(ReactionError),
}

/// An error as text, and as itself.
pub(super) struct ReactionError {
    pub(super) reason: String,
    pub(super) error: Option<Box<dyn Any + Send>>,
}

impl ReactionError {
    pub(super) fn new<E: Display + Send + 'static>(error: E) -> Self {
        ReactionError { reason: error.to_string(), error: Some(Box::new(error)) }
    }

    pub(super) fn text(reason: String) -> Self {
        ReactionError { reason, error: None }
    }
}

impl Reaction {
    /// An append. One whose expectation is wrong is rejected, as a command can be.
    pub fn append(append: Append) -> Self {
        let key = append.key().cloned().map_err(Clone::clone);
        Reaction { key, action: Action::Append(append), metadata: Vec::new(), otherwise: None }
    }

    /// A command to the entity with this id.
    pub fn command<A>(id: impl Into<String>, command: A::Command) -> Self
    where
        A: Aggregate,
        A::Error: Display,
    {
        let id = id.into();
        let key = AggregateKey::of_entity(A::KIND, &id);
        let execute = move |store: EventStore, options| -> Executing {
            Box::pin(async move {
                let entities = store.entities::<A>();
                match entities.execute_with(&id, command, options).await {
                    Ok(executed) => Ok(executed.appended.is_some()),
                    Err(ExecuteError::Rejected(error)) => {
                        Err(Refusal::Rejected(ReactionError::new(error)))
                    }
                    Err(ExecuteError::Append(error)) => {
                        Err(Refusal::Failed(ReactionError::new(error)))
                    }
                    Err(ExecuteError::Load(error)) => {
                        Err(Refusal::Failed(ReactionError::new(error)))
                    }
                    Err(error) => Err(Refusal::Failed(ReactionError::text(error.to_string()))),
                }
            })
        };
        let action = Action::Command(Box::new(execute));
        Reaction { key, action, metadata: Vec::new(), otherwise: None }
    }

    /// Sets one field in the metadata of its events, in place of a field of the same name. The
    /// consumer's `causation_id` and `causation_depth` cannot be replaced.
    pub fn metadata_field<T: Serialize + ?Sized>(
        mut self,
        name: impl Into<String>,
        value: &T,
    ) -> Self {
        let value = RawJson::serialize(value).map_err(|error| error.to_string());
        self.metadata.push((name.into(), value));
        self
    }

    /// The compensation: what is done instead if it is rejected. Exactly one of both is done.
    pub fn otherwise(mut self, reaction: Reaction) -> Self {
        self.otherwise = Some(Box::new(match self.otherwise.take() {
            None => reaction,
            Some(earlier) => earlier.otherwise(reaction),
        }));
        self
    }
}

impl fmt::Debug for Reaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            Action::Append(_) => "append",
            Action::Command(_) => "command",
        };
        f.debug_struct("Reaction").field("key", &self.key).field("action", &action).finish()
    }
}

/// What the closure of [`Consumer::react`](super::Consumer::react) may return: reactions, none, or
/// an error.
///
/// ```
/// use seriatim::subscription::Reaction;
/// use seriatim::{Append, EventStore, KeyedEvent, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let run = store.consumer("welcome").event_types(["Opened"]).react(|opened: &KeyedEvent| {
///     let append = |to: &str| {
///         Append::to(format!("{to}/{}", opened.key)).event(NewEvent::raw("Ordered", "{}"))
///     };
///     // None, for an account of the house's own.
///     let is_own = opened.key.id() == Some("house");
///     (!is_own).then(|| ["letter", "card"].map(|it| Reaction::append(append(it))))
/// });
/// # drop(run);
/// # Ok(()) }
/// ```
pub trait IntoReactions {
    /// The reactions, in the order in which they are done.
    ///
    /// # Errors
    ///
    /// Why the event has failed.
    fn into_reactions(self) -> Result<Vec<Reaction>, String>;
}

impl IntoReactions for Vec<Reaction> {
    fn into_reactions(self) -> Result<Vec<Reaction>, String> {
        Ok(self)
    }
}

impl IntoReactions for Reaction {
    fn into_reactions(self) -> Result<Vec<Reaction>, String> {
        Ok(vec![self])
    }
}

impl<const N: usize> IntoReactions for [Reaction; N] {
    fn into_reactions(self) -> Result<Vec<Reaction>, String> {
        Ok(self.into())
    }
}

impl<R: IntoReactions> IntoReactions for Option<R> {
    fn into_reactions(self) -> Result<Vec<Reaction>, String> {
        self.map_or(Ok(Vec::new()), R::into_reactions)
    }
}

impl<R: IntoReactions, E: Display> IntoReactions for Result<R, E> {
    fn into_reactions(self) -> Result<Vec<Reaction>, String> {
        self.map_err(|error| error.to_string())?.into_reactions()
    }
}

/// A reaction that was rejected, and had no compensation.
///
/// ```
/// use seriatim::subscription::{OnRejected, Reaction};
/// use seriatim::{Append, AppendError, EventStore, Expected, KeyedEvent, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// // The letter is ordered once for each account; a second order is no failure.
/// let run = store
///     .consumer("welcome")
///     .event_types(["Opened"])
///     .on_rejected(|rejection| match rejection.error::<AppendError>() {
///         Some(error) if error.is_conflict() => OnRejected::PassOver,
///         _ => OnRejected::Fail,
///     })
///     .react(|opened: &KeyedEvent| {
///         let letter = Append::to(format!("letter/{}", opened.key)).expect(Expected::NoEvents);
///         Reaction::append(letter.event(NewEvent::raw("Ordered", "{}")))
///     });
/// # drop(run);
/// # Ok(()) }
/// ```
#[non_exhaustive]
pub struct Rejection {
    /// The event that caused it.
    pub event: KeyedEvent,
    /// The aggregate it was for.
    pub target: AggregateKey,
    /// Why, as text.
    pub reason: String,
    pub(super) error: Option<Box<dyn Any + Send>>,
}

impl Rejection {
    /// The error, if it is of this type: the entity's own error for a command,
    /// [`AppendError`](crate::AppendError) for an append.
    pub fn error<E: 'static>(&self) -> Option<&E> {
        self.error.as_ref()?.downcast_ref()
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("event", &self.event)
            .field("target", &self.target)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// What happens after a [`Rejection`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRejected {
    /// The event has failed: it is retried, then [`OnFailure`](super::OnFailure) decides. The
    /// default.
    #[default]
    Fail,
    /// The reaction is skipped.
    PassOver,
}

pub(super) type RejectionPolicy = Arc<dyn Fn(&Rejection) -> OnRejected + Send + Sync>;
