//! Performs what events cause, each exactly once.
//!
//! A reaction's commit id is derived from the consumer's name, the event, the target and the
//! reaction's number. An event that comes again, after a crash or a failure, derives the same ids.
//! So what it has caused already is found, and not done twice.
//!
//! The store recognises a repeated commit id among an aggregate's latest events only, and an event
//! may come again much later. So where an event may have been delivered before, the target's events
//! are searched first, back to the event's own position: what it caused has a later one. For events
//! of an earlier run, each target is searched once, and the ids found are cached.
//!
//! A compensation that writes nothing leaves no commit id. The checkpoint is then saved before
//! anybody sees that the event is handled, so that the event does not come again.

use std::any::Any;
use std::collections::HashSet;

use serde::Deserialize;
use uuid::Uuid;

use super::earlier_commits::{EarlierCommits, any_commit};
use super::handler::{Chunk, Delivered, Handler, guarded};
use super::reaction::{
    Action, IntoReactions, OnRejected, Reaction, ReactionError, Refusal, Rejection, RejectionPolicy,
};
use crate::append::ExecuteOptions;
use crate::driver::async_trait;
use crate::event::{AggregateKey, KeyedEvent, Position, RawJson};
use crate::store::EventStore;

/// The namespace of reactions' commit ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x7a1b_5a0e_6d0c_4f5b_9c55_3f1d_0a86_52e1);

/// Performs the reactions that a closure returns.
pub(super) struct ReactionHandler<H> {
    react: H,
    performer: Performer,
}

struct Performer {
    store: EventStore,
    consumer: Uuid,
    rejected: Option<RejectionPolicy>,
    max_depth: u32,
    earlier: EarlierCommits,
    /// The numbers of the reactions to one event that are done and left no commit id.
    traceless: (Position, HashSet<usize>),
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

/// The fields of an event's metadata that its consequences carry on.
#[derive(Default, Deserialize)]
struct Cause {
    #[serde(default)]
    correlation_id: Option<String>,
    #[serde(default)]
    causation_id: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    causation_depth: Option<u32>,
}

impl Cause {
    fn of(event: &KeyedEvent) -> Self {
        // Fields of other shapes are the user's own.
        event.metadata.as_ref().and_then(|metadata| metadata.json().ok()).unwrap_or_default()
    }

    /// The number of links of the chain that ends with the event.
    fn depth(&self) -> u32 {
        self.causation_depth.unwrap_or(u32::from(self.causation_id.is_some()))
    }
}

/// The commit id of a reaction to this event.
fn commit_id(consumer: &Uuid, event: &KeyedEvent, target: &AggregateKey, path: &str) -> Uuid {
    let position = event.position.unwrap_or_default();
    let name = format!("{}\n{position}\n{target}\n{path}", event.event_id());
    Uuid::new_v5(consumer, name.as_bytes())
}

/// Which of an event's reactions: its number, and how many were rejected before it.
fn path(number: usize, rejected: usize) -> String {
    format!("{number}.{rejected}")
}

impl<H> ReactionHandler<H> {
    pub(super) fn new(
        store: EventStore,
        consumer: &str,
        react: H,
        rejected: Option<RejectionPolicy>,
        max_depth: u32,
    ) -> Self {
        let performer = Performer {
            store,
            consumer: Uuid::new_v5(&NAMESPACE, consumer.as_bytes()),
            rejected,
            max_depth,
            earlier: EarlierCommits::default(),
            traceless: Default::default(),
        };
        ReactionHandler { react, performer }
    }
}

impl Performer {
    /// Performs the reactions to one event. True if only the checkpoint can record the outcome.
    async fn perform_all(
        &mut self,
        event: &KeyedEvent,
        reactions: Result<Vec<Reaction>, String>,
        redelivery: Redelivery,
    ) -> Result<bool, ReactionError> {
        let reactions = reactions.map_err(ReactionError::text)?;
        let cause = Cause::of(event);
        if !reactions.is_empty() && cause.depth() >= self.max_depth {
            return Err(ReactionError::text(format!(
                "the event is at the end of a chain of {} reactions, which is the most that \
                 max_causation_depth allows",
                cause.depth()
            )));
        }
        let position = event.position.unwrap_or_default();
        if self.traceless.0 != position {
            self.traceless = (position, HashSet::new());
        }
        let mut must_save = false;
        for (number, reaction) in reactions.into_iter().enumerate() {
            must_save |= self.perform(event, &cause, reaction, number, redelivery).await?;
        }
        Ok(must_save)
    }

    async fn perform(
        &mut self,
        event: &KeyedEvent,
        cause: &Cause,
        reaction: Reaction,
        number: usize,
        redelivery: Redelivery,
    ) -> Result<bool, ReactionError> {
        if redelivery != Redelivery::No && self.is_done(event, &reaction, number, redelivery)? {
            return Ok(false);
        }
        let has_compensation = reaction.otherwise.is_some();
        if self.traceless.1.contains(&number) {
            return Ok(has_compensation);
        }
        let mut next = reaction;
        let mut rejected = 0;
        loop {
            let invalid = |error| ReactionError::new(error);
            let target = next.key.map_err(invalid)?;
            let id = commit_id(&self.consumer, event, &target, &path(number, rejected));
            let done = self.perform_action(event, cause, next.action, next.metadata, id).await;
            let refused = match done {
                Ok(true) => return Ok(false),
                Ok(false) => break,
                Err(Refusal::Failed(failed)) => {
                    let reason = format!("{target}: {}", failed.reason);
                    return Err(ReactionError { reason, ..failed });
                }
                Err(Refusal::Rejected(refused)) => refused,
            };
            let Some(otherwise) = next.otherwise else {
                self.reject(event, target, refused)?;
                break;
            };
            (next, rejected) = (*otherwise, rejected + 1);
        }
        self.traceless.1.insert(number);
        Ok(has_compensation)
    }

    /// Performs one append or command. Returns whether it left an event.
    async fn perform_action(
        &self,
        event: &KeyedEvent,
        cause: &Cause,
        action: Action,
        metadata: Vec<(String, Result<RawJson, String>)>,
        id: Uuid,
    ) -> Result<bool, Refusal> {
        let mut fields = Vec::new();
        let mut set = |name: &str, value| {
            fields.retain(|(other, _): &(String, _)| other != name);
            fields.push((name.to_owned(), value));
        };
        let failed = |reason| Refusal::Failed(ReactionError::text(reason));
        let json =
            |value: &str| RawJson::serialize(value).map_err(|error| failed(error.to_string()));
        if let Some(correlation) = &cause.correlation_id {
            set("correlation_id", json(correlation)?);
        }
        for (name, value) in metadata {
            set(&name, value.map_err(failed)?);
        }
        set("causation_id", json(&event.event_id().to_string())?);
        if cause.depth() > 0 {
            let depth = RawJson::serialize(&(cause.depth() + 1));
            set("causation_depth", depth.map_err(|error| failed(error.to_string()))?);
        }
        match action {
            Action::Append(append) => {
                let append = fields
                    .iter()
                    .fold(append, |append, (name, value)| append.metadata_field(name, value));
                match self.store.append(append.commit_id(id)).await {
                    Ok(_) => Ok(true),
                    Err(error) if error.is_conflict() => {
                        Err(Refusal::Rejected(ReactionError::new(error)))
                    }
                    Err(error) => Err(Refusal::Failed(ReactionError::new(error))),
                }
            }
            Action::Command(execute) => {
                let options = fields
                    .iter()
                    .fold(ExecuteOptions::new().commit_id(id), |options, (name, value)| {
                        options.metadata_field(name, value)
                    });
                execute(self.store.clone(), options).await
            }
        }
    }

    fn reject(
        &self,
        event: &KeyedEvent,
        target: AggregateKey,
        refused: ReactionError,
    ) -> Result<(), ReactionError> {
        let ReactionError { reason, error } = refused;
        let rejection = Rejection { event: event.clone(), target, reason, error };
        match self.rejected.as_ref().map(|policy| policy(&rejection)).unwrap_or_default() {
            OnRejected::PassOver => Ok(()),
            OnRejected::Fail => {
                let reason = format!("{}: rejected: {}", rejection.target, rejection.reason);
                Err(ReactionError { reason, error: rejection.error })
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
    ) -> Result<bool, ReactionError> {
        let mut next = Some(reaction);
        let mut rejected = 0;
        let after = event.position.unwrap_or_default();
        while let Some(reaction) = next {
            let Ok(target) = &reaction.key else { return Ok(false) };
            let id = commit_id(&self.consumer, event, target, &path(number, rejected));
            let mailroom = self.store.mailroom();
            let found = match redelivery {
                Redelivery::EarlierRun => self.earlier.contains(mailroom, target, id, after),
                _ => any_commit(mailroom, target, after, |found| found == id),
            };
            if found.map_err(ReactionError::new)? {
                return Ok(true);
            }
            next = reaction.otherwise.as_deref();
            rejected += 1;
        }
        Ok(false)
    }
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
                self.performer.earlier.clear();
            }
            let (react, performer) = (&mut self.react, &mut self.performer);
            let performing = guarded(|| {
                let reactions = react(event).into_reactions();
                performer.perform_all(event, reactions, redelivery)
            });
            let performed = performing.await.map_err(ReactionError::text);
            match performed.and_then(|performed| performed) {
                Ok(must_save) => delivered.must_save = must_save,
                Err(ReactionError { reason, error }) => {
                    let at = (&event.key, event.sequence, event.position.unwrap_or_default());
                    let attempt = if delivered.events == 0 { chunk.judge.attempt } else { 1 };
                    let error = error.as_deref().map(|error| error as &dyn Any);
                    delivered.failed = Some(chunk.judge.failed(at, attempt, reason, error));
                    break;
                }
            }
            delivered.events += 1;
            if delivered.must_save || !chunk.pace.handled(event) {
                break;
            }
        }
        delivered
    }
}
