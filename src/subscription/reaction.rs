//! Reactions: what an event causes, each exactly once.
//!
//! A reaction's commit id is derived from the consumer's name, the event, the target and the
//! reaction's number. An event that comes again, after a crash or a failure, derives the same ids.
//! So what it has caused already is found, and not done twice.
//!
//! The store recognises a repeated commit id among an aggregate's latest events only, and an event
//! may come again much later. So where an event may have been delivered before, the target's events
//! are searched first, back to the event's own position: what it caused has a later one. For events
//! of an earlier run, each target is searched once, and the ids found are cached.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Display};
use std::pin::Pin;
use std::sync::Arc;

use uuid::Uuid;

use super::feed::aggregate_page;
use super::handler::{Chunk, Delivered, Handler};
use crate::append::Append;
use crate::append::ExecuteOptions;
use crate::driver::{Fetch, async_trait};
use crate::entity::{Aggregate, ExecuteError};
use crate::event::{AggregateKey, KeyError, KeyedEvent, Position};
use crate::store::EventStore;

/// The namespace of reactions' commit ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x7a1b_5a0e_6d0c_4f5b_9c55_3f1d_0a86_52e1);

/// Something an event causes: an append, or a command to an entity. For
/// [`Consumer::react`](super::Consumer::react).
///
/// The consumer sets its commit id, and a `causation_id` in the metadata of its events: the id of
/// the event that caused it.
///
/// ```
/// use seriatim::subscription::Reaction;
/// use seriatim::{Append, KeyedEvent, NewEvent};
///
/// fn greet(event: &KeyedEvent) -> Vec<Reaction> {
///     let greeting = NewEvent::raw("Greeted", "{}");
///     vec![Reaction::append(Append::to(format!("greetings/{}", event.key)).event(greeting))]
/// }
/// # let _ = greet;
/// ```
#[must_use = "a reaction does nothing unless a consumer is given it"]
pub struct Reaction {
    key: Result<AggregateKey, KeyError>,
    action: Action,
    otherwise: Option<Box<Reaction>>,
}

enum Action {
    Append(Append),
    Command(ExecuteCommand),
}

type ExecuteCommand = Box<dyn FnOnce(EventStore, ExecuteOptions) -> Executing + Send>;
type Executing = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;

enum Refusal {
    Rejected(String),
    Failed(String),
}

impl Reaction {
    /// An append. One whose expectation is wrong is rejected, as a command can be.
    pub fn append(append: Append) -> Self {
        let key = append.key().cloned().map_err(Clone::clone);
        Reaction { key, action: Action::Append(append), otherwise: None }
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
                    Ok(_) => Ok(()),
                    Err(ExecuteError::Rejected(reason)) => {
                        Err(Refusal::Rejected(reason.to_string()))
                    }
                    Err(error) => Err(Refusal::Failed(error.to_string())),
                }
            })
        };
        Reaction { key, action: Action::Command(Box::new(execute)), otherwise: None }
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

impl IntoReactions for Option<Reaction> {
    fn into_reactions(self) -> Result<Vec<Reaction>, String> {
        Ok(self.into_iter().collect())
    }
}

impl<R: IntoReactions, E: Display> IntoReactions for Result<R, E> {
    fn into_reactions(self) -> Result<Vec<Reaction>, String> {
        self.map_err(|error| error.to_string())?.into_reactions()
    }
}

/// A reaction that was rejected, and had no compensation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rejection {
    /// The event that caused it.
    pub event: KeyedEvent,
    /// The aggregate it was for.
    pub target: AggregateKey,
    /// Why.
    pub reason: String,
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

/// The commit id of a reaction to this event.
fn commit_id(consumer: &Uuid, event: &KeyedEvent, target: &AggregateKey, path: &str) -> Uuid {
    let position = event.position.unwrap_or_default();
    let name = format!("{}\n{position}\n{target}\n{path}", event.event_id());
    Uuid::new_v5(consumer, name.as_bytes())
}

/// Performs the reactions that a closure returns.
pub(super) struct ReactionHandler<H> {
    react: H,
    performer: Performer,
}

struct Performer {
    store: EventStore,
    consumer: Uuid,
    rejected: Option<RejectionPolicy>,
    earlier: EarlierCommits,
}

/// The most commit ids kept in memory.
const MAX_EARLIER_COMMITS: usize = 1 << 20;

/// By target, the commit ids of its events after the first event that asked: all that an earlier
/// run can have done for that event or a later one.
#[derive(Default)]
struct EarlierCommits {
    by_target: HashMap<AggregateKey, HashSet<Uuid>>,
    ids: usize,
}

/// Whether an event may have been delivered before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Redelivery {
    No,
    /// In an earlier run.
    EarlierRun,
    /// In this run.
    ThisRun,
}

impl<H> ReactionHandler<H> {
    pub(super) fn new(
        store: EventStore,
        consumer: &str,
        react: H,
        rejected: Option<RejectionPolicy>,
    ) -> Self {
        let consumer = Uuid::new_v5(&NAMESPACE, consumer.as_bytes());
        ReactionHandler {
            react,
            performer: Performer { store, consumer, rejected, earlier: EarlierCommits::default() },
        }
    }
}

impl Performer {
    async fn perform_all(
        &mut self,
        event: &KeyedEvent,
        reactions: Result<Vec<Reaction>, String>,
        redelivery: Redelivery,
    ) -> Result<(), String> {
        for (number, reaction) in reactions?.into_iter().enumerate() {
            self.perform(event, reaction, number, redelivery).await?;
        }
        Ok(())
    }

    async fn perform(
        &mut self,
        event: &KeyedEvent,
        reaction: Reaction,
        number: usize,
        redelivery: Redelivery,
    ) -> Result<(), String> {
        if redelivery != Redelivery::No && self.is_done(event, &reaction, number, redelivery)? {
            return Ok(());
        }
        let mut next = reaction;
        let mut depth = 0;
        loop {
            let target = next.key.map_err(|error| error.to_string())?;
            let id = commit_id(&self.consumer, event, &target, &path(number, depth));
            let reason = match self.perform_action(event, next.action, id).await {
                Ok(()) => return Ok(()),
                Err(Refusal::Failed(reason)) => return Err(format!("{target}: {reason}")),
                Err(Refusal::Rejected(reason)) => reason,
            };
            let Some(otherwise) = next.otherwise else {
                return self.reject(event, target, reason);
            };
            (next, depth) = (*otherwise, depth + 1);
        }
    }

    async fn perform_action(
        &self,
        event: &KeyedEvent,
        action: Action,
        id: Uuid,
    ) -> Result<(), Refusal> {
        let cause = event.event_id().to_string();
        match action {
            Action::Append(append) => {
                let append = append.metadata_field("causation_id", &cause).commit_id(id);
                match self.store.append(append).await {
                    Ok(_) => Ok(()),
                    Err(error) if error.is_conflict() => Err(Refusal::Rejected(error.to_string())),
                    Err(error) => Err(Refusal::Failed(error.to_string())),
                }
            }
            Action::Command(execute) => {
                let options = ExecuteOptions::new().commit_id(id).causation_id(cause);
                execute(self.store.clone(), options).await
            }
        }
    }

    fn reject(
        &self,
        event: &KeyedEvent,
        target: AggregateKey,
        reason: String,
    ) -> Result<(), String> {
        let rejection = Rejection { event: event.clone(), target, reason };
        match self.rejected.as_ref().map(|policy| policy(&rejection)).unwrap_or_default() {
            OnRejected::PassOver => Ok(()),
            OnRejected::Fail => {
                Err(format!("{}: rejected: {}", rejection.target, rejection.reason))
            }
        }
    }

    /// Whether an earlier delivery did the reaction or one of its compensations.
    fn is_done(
        &mut self,
        event: &KeyedEvent,
        reaction: &Reaction,
        number: usize,
        redelivery: Redelivery,
    ) -> Result<bool, String> {
        let mut next = Some(reaction);
        let mut depth = 0;
        while let Some(reaction) = next {
            let Ok(target) = &reaction.key else { return Ok(false) };
            let id = commit_id(&self.consumer, event, target, &path(number, depth));
            let after = event.position.unwrap_or_default();
            let stands = match redelivery {
                Redelivery::EarlierRun => self.stood_before(target, id, after)?,
                _ => self.look_through(target, after, |found| found == id)?,
            };
            if stands {
                return Ok(true);
            }
            next = reaction.otherwise.as_deref();
            depth += 1;
        }
        Ok(false)
    }

    /// Whether an earlier run left an event with this commit id there, after the position.
    fn stood_before(
        &mut self,
        key: &AggregateKey,
        id: Uuid,
        after: Position,
    ) -> Result<bool, String> {
        if let Some(known) = self.earlier.by_target.get(key) {
            return Ok(known.contains(&id));
        }
        let mut ids = HashSet::new();
        let full = self.look_through(key, after, |found| {
            ids.insert(found);
            ids.len() > MAX_EARLIER_COMMITS
        })?;
        if full {
            return self.look_through(key, after, |found| found == id);
        }
        if self.earlier.ids + ids.len() > MAX_EARLIER_COMMITS {
            self.earlier = EarlierCommits::default();
        }
        let stands = ids.contains(&id);
        self.earlier.ids += ids.len();
        self.earlier.by_target.insert(key.clone(), ids);
        Ok(stands)
    }

    /// Whether `is_it` accepts one of the commit ids of the aggregate's events after the position.
    /// Searches from the last event back.
    fn look_through(
        &self,
        key: &AggregateKey,
        after: Position,
        mut is_it: impl FnMut(Uuid) -> bool,
    ) -> Result<bool, String> {
        let mut fetch = Fetch::ALL.backwards().limit(256);
        loop {
            let page = aggregate_page(self.store.mailroom(), key, fetch);
            let page = page.map_err(|error| error.to_string())?;
            let later = |event: &&KeyedEvent| event.position.unwrap_or_default() > after;
            if page.events.iter().take_while(later).any(|event| is_it(event.commit_id)) {
                return Ok(true);
            }
            match page.events.last() {
                Some(last) if page.more && later(&last) => fetch = fetch.after(last.sequence),
                _ => return Ok(false),
            }
        }
    }
}

/// Which of an event's reactions: its number, and how many were rejected before it.
fn path(number: usize, depth: usize) -> String {
    format!("{number}.{depth}")
}

#[async_trait]
impl<H, R> Handler for ReactionHandler<H>
where
    H: FnMut(&KeyedEvent) -> R + Send,
    R: IntoReactions,
{
    fn one_by_one(&self) -> bool {
        true
    }

    async fn deliver(&mut self, chunk: Chunk<'_>) -> Delivered {
        let mut delivered = Delivered::default();
        for event in chunk.events {
            let redelivery = match event.position <= Some(chunk.earlier_to) {
                _ if chunk.retried => Redelivery::ThisRun,
                true => Redelivery::EarlierRun,
                false => Redelivery::No,
            };
            if redelivery == Redelivery::No {
                self.performer.earlier = EarlierCommits::default();
            }
            let reactions = (self.react)(event).into_reactions();
            if let Err(reason) = self.performer.perform_all(event, reactions, redelivery).await {
                delivered.failed = Some(reason);
                break;
            }
            delivered.events += 1;
            if !chunk.pace.handled(event) {
                break;
            }
        }
        delivered
    }
}
