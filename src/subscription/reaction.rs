//! Reactions: what an event causes, each exactly once.
//!
//! A reaction's commit id is made from the consumer's name, the event and the reaction's place and target. An
//! event that comes again, after a crash or a failure, makes the same ids, so what it had caused already is found
//! and not done twice.
//!
//! The store recognises a repeated commit id among an aggregate's latest events. That is not far enough for a
//! reaction, whose event may come again much later. So where an event may have been delivered before, the
//! target's events are looked through first, back to the event's own position: what it caused stands behind it.
//! For events of an earlier life that is done once per target, and the ids found are kept as long as they fit.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Display};
use std::pin::Pin;
use std::sync::Arc;

use uuid::Uuid;

use super::deliver::{Chunk, Deliver, Delivered};
use super::feed::aggregate_page;
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
/// The consumer gives it its commit id, in place of any other, and a `causation_id` in its events' metadata: the
/// id of the event that caused it.
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
    act: Act,
    otherwise: Option<Box<Reaction>>,
}

enum Act {
    Append(Append),
    Command(Command),
}

type Command = Box<dyn FnOnce(EventStore, ExecuteOptions) -> Executing + Send>;
type Executing = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;

enum Refusal {
    Rejected(String),
    Failed(String),
}

impl Reaction {
    /// An append. One whose expectation is wrong is rejected, like a command.
    pub fn append(append: Append) -> Self {
        let key = append.key().cloned().map_err(Clone::clone);
        Reaction { key, act: Act::Append(append), otherwise: None }
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
        Reaction { key, act: Act::Command(Box::new(execute)), otherwise: None }
    }

    /// What is done instead if it is rejected: a compensation. Of both, exactly one is done.
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
        let act = match self.act {
            Act::Append(_) => "append",
            Act::Command(_) => "command",
        };
        f.debug_struct("Reaction").field("key", &self.key).field("act", &act).finish()
    }
}

/// What a closure may answer to [`Consumer::react`](super::Consumer::react): one reaction, several or none, or why
/// the event cannot be reacted to.
pub trait IntoReactions {
    /// The reactions, in the order in which they are done.
    ///
    /// # Errors
    ///
    /// What is wrong; the event has failed then.
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

/// A reaction that was rejected, and had nothing to be done otherwise.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rejection {
    /// The event that caused it.
    pub event: KeyedEvent,
    /// Whom it was for.
    pub target: AggregateKey,
    /// Why.
    pub reason: String,
}

/// What is done about a [`Rejection`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRejected {
    /// The event has failed: it is tried again, then [`OnFailure`](super::OnFailure) decides. The default.
    #[default]
    Fail,
    /// The reaction is done with.
    PassOver,
}

pub(super) type Rejected = Arc<dyn Fn(&Rejection) -> OnRejected + Send + Sync>;

/// The commit id of what this event causes there.
fn commit_id(consumer: &Uuid, event: &KeyedEvent, target: &AggregateKey, path: &str) -> Uuid {
    let position = event.position.unwrap_or_default();
    let name = format!("{}\n{position}\n{target}\n{path}", event.event_id());
    Uuid::new_v5(consumer, name.as_bytes())
}

/// Does what a closure says that events cause.
pub(super) struct Reacting<H> {
    react: H,
    performer: Performer,
}

struct Performer {
    store: EventStore,
    consumer: Uuid,
    rejected: Option<Rejected>,
    known: Known,
}

/// Commit ids kept in memory at most.
const MOST_KNOWN: usize = 1 << 20;

/// By target, the commit ids of its events behind the first event that asked: all that an earlier life can have
/// done for that event or a later one.
#[derive(Default)]
struct Known {
    by_target: HashMap<AggregateKey, HashSet<Uuid>>,
    ids: usize,
}

/// Whether an event may have been delivered before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    No,
    /// In an earlier life of the process.
    Earlier,
    /// In this one.
    Now,
}

impl<H> Reacting<H> {
    pub(super) fn new(
        store: EventStore,
        consumer: &str,
        react: H,
        rejected: Option<Rejected>,
    ) -> Self {
        let consumer = Uuid::new_v5(&NAMESPACE, consumer.as_bytes());
        Reacting {
            react,
            performer: Performer { store, consumer, rejected, known: Known::default() },
        }
    }
}

impl Performer {
    async fn perform_all(
        &mut self,
        event: &KeyedEvent,
        reactions: Result<Vec<Reaction>, String>,
        again: Again,
    ) -> Result<(), String> {
        for (number, reaction) in reactions?.into_iter().enumerate() {
            self.perform(event, reaction, number, again).await?;
        }
        Ok(())
    }

    async fn perform(
        &mut self,
        event: &KeyedEvent,
        reaction: Reaction,
        number: usize,
        again: Again,
    ) -> Result<(), String> {
        if again != Again::No && self.is_done(event, &reaction, number, again)? {
            return Ok(());
        }
        let mut next = reaction;
        let mut depth = 0;
        loop {
            let target = next.key.map_err(|error| error.to_string())?;
            let id = commit_id(&self.consumer, event, &target, &path(number, depth));
            let reason = match self.act(event, next.act, id).await {
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

    async fn act(&self, event: &KeyedEvent, act: Act, id: Uuid) -> Result<(), Refusal> {
        let cause = event.event_id().to_string();
        match act {
            Act::Append(append) => {
                let append = append.metadata_field("causation_id", &cause).commit_id(id);
                match self.store.append(append).await {
                    Ok(_) => Ok(()),
                    Err(error) if error.is_conflict() => Err(Refusal::Rejected(error.to_string())),
                    Err(error) => Err(Refusal::Failed(error.to_string())),
                }
            }
            Act::Command(execute) => {
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

    /// Whether the reaction, or what was to be done otherwise, was done by an earlier delivery.
    fn is_done(
        &mut self,
        event: &KeyedEvent,
        reaction: &Reaction,
        number: usize,
        again: Again,
    ) -> Result<bool, String> {
        let mut next = Some(reaction);
        let mut depth = 0;
        while let Some(reaction) = next {
            let Ok(target) = &reaction.key else { return Ok(false) };
            let id = commit_id(&self.consumer, event, target, &path(number, depth));
            let behind = event.position.unwrap_or_default();
            let stands = match again {
                Again::Earlier => self.stood_before(target, id, behind)?,
                _ => self.look_through(target, behind, |found| found == id)?,
            };
            if stands {
                return Ok(true);
            }
            next = reaction.otherwise.as_deref();
            depth += 1;
        }
        Ok(false)
    }

    /// Whether an earlier life left an event with this commit id there, behind the position.
    fn stood_before(
        &mut self,
        key: &AggregateKey,
        id: Uuid,
        behind: Position,
    ) -> Result<bool, String> {
        if let Some(known) = self.known.by_target.get(key) {
            return Ok(known.contains(&id));
        }
        let mut ids = HashSet::new();
        let full = self.look_through(key, behind, |found| {
            ids.insert(found);
            ids.len() > MOST_KNOWN
        })?;
        if full {
            return self.look_through(key, behind, |found| found == id);
        }
        if self.known.ids + ids.len() > MOST_KNOWN {
            self.known = Known::default();
        }
        let stands = ids.contains(&id);
        self.known.ids += ids.len();
        self.known.by_target.insert(key.clone(), ids);
        Ok(stands)
    }

    /// Shows the commit ids of the aggregate's events behind the position, the last first, until one is the one
    /// looked for; whether one was.
    fn look_through(
        &self,
        key: &AggregateKey,
        behind: Position,
        mut is_it: impl FnMut(Uuid) -> bool,
    ) -> Result<bool, String> {
        let mut fetch = Fetch::ALL.backwards().limit(256);
        loop {
            let page = aggregate_page(self.store.mailroom(), key, fetch);
            let page = page.map_err(|error| error.to_string())?;
            let later = |event: &&KeyedEvent| event.position.unwrap_or_default() > behind;
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
impl<H, R> Deliver for Reacting<H>
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
            let again = match event.position <= Some(chunk.earlier_to) {
                _ if chunk.retried => Again::Now,
                true => Again::Earlier,
                false => Again::No,
            };
            if again == Again::No {
                self.performer.known = Known::default();
            }
            let reactions = (self.react)(event).into_reactions();
            if let Err(reason) = self.performer.perform_all(event, reactions, again).await {
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
