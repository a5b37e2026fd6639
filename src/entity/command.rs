//! A command on its way through the mailbox.

use std::any::{Any, type_name};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Aggregate;
use super::error::ExecuteError;
use super::executed::Executed;
use super::state::{Folded, Reading};
use crate::error::{AppendError, LoadError};
use crate::event::{AggregateKey, CheckedEvents, EventError, RawJson, Sequence};
use crate::mailroom::{Command, CommandAnswer, Decision, State};

pub(super) type CommandResult<A> = Result<Executed<A>, ExecuteError<<A as Aggregate>::Error>>;

/// One command, its last decision, and its caller.
pub(super) struct SentCommand<A: Aggregate> {
    pub(super) key: AggregateKey,
    pub(super) command: A::Command,
    pub(super) metadata: Option<RawJson>,
    pub(super) reading: Arc<Reading>,
    /// The events as they will be read back, or the rejection.
    pub(super) decided: Option<Result<Vec<A::Event>, A::Error>>,
    pub(super) answer: oneshot::Sender<CommandResult<A>>,
}

impl<A: Aggregate> SentCommand<A> {
    fn decided_events(&self) -> &[A::Event] {
        match &self.decided {
            Some(Ok(events)) => events,
            _ => &[],
        }
    }

    /// The events in their stored form, and as they will be read back: the state and the answer rest
    /// on these, so both say what the next process will say.
    fn encode(
        &self,
        events: &[A::Event],
    ) -> Result<(CheckedEvents, Vec<A::Event>), (usize, EventError)> {
        let mut checked = CheckedEvents::new();
        let mut read_back = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            let at = |error| (index, error);
            let (stored, event) = self.reading.stored(event).map_err(|e| at(e.into()))?;
            let stored = match &self.metadata {
                Some(metadata) => stored.with_metadata(metadata.clone()),
                None => stored,
            };
            checked.push(stored.check().map_err(at)?);
            read_back.push(event);
        }
        Ok((checked, read_back))
    }
}

impl<A: Aggregate> Command for SentCommand<A> {
    fn blank(&self) -> Box<dyn State> {
        Box::new(Folded::<A>::blank(self.reading.clone()))
    }

    fn decide(&mut self, state: &dyn State) -> Decision {
        self.decided = None;
        let state: &dyn Any = state;
        let Some(folded) = state.downcast_ref::<Folded<A>>() else { return Decision::Nothing };
        let events = match folded.state.handle(&self.command) {
            Ok(events) if !events.is_empty() => events,
            nothing => {
                self.decided = Some(nothing);
                return Decision::Nothing;
            }
        };
        match self.encode(&events) {
            Ok((stored, read_back)) => {
                self.decided = Some(Ok(read_back));
                Decision::Events(stored)
            }
            Err((index, source)) => {
                let key = self.key.clone();
                Decision::Refused(AppendError::InvalidEvent { key, index, source })
            }
        }
    }

    fn apply(&self, state: &mut dyn State) {
        let state: &mut dyn Any = state;
        if let Some(folded) = state.downcast_mut::<Folded<A>>() {
            for event in self.decided_events() {
                folded.state.apply(event);
            }
        }
    }

    fn answer(self: Box<Self>, answer: CommandAnswer) {
        let SentCommand { key, reading, decided, answer: waiting, .. } = *self;
        let wrong_kind = || {
            ExecuteError::Load(LoadError::WrongKind {
                kind: A::KIND,
                other: "another type",
                this: type_name::<A>(),
            })
        };
        let nothing =
            |sequence: Sequence| Executed { appended: None, events: Vec::new(), sequence };
        let answer = match answer {
            CommandAnswer::Committed(appended) => match decided {
                Some(Ok(events)) => {
                    Ok(Executed { sequence: appended.last, appended: Some(appended), events })
                }
                _ => Err(wrong_kind()),
            },
            CommandAnswer::Nothing(sequence) => match decided {
                Some(Ok(_)) => Ok(nothing(sequence)),
                Some(Err(rejection)) => Err(ExecuteError::Rejected(rejection)),
                None => Err(wrong_kind()),
            },
            CommandAnswer::Repeated(appended, stored) => {
                let events = stored.into_iter().filter_map(|e| reading.event::<A>(e).transpose());
                events.collect::<Result<_, _>>().map_err(ExecuteError::Load).map(|events| {
                    Executed { sequence: appended.last, appended: Some(appended), events }
                })
            }
            CommandAnswer::NotAppended(error) => Err(ExecuteError::Append(error)),
            CommandAnswer::NotLoaded(error) => Err(ExecuteError::Load(error)),
            CommandAnswer::Panicked => Err(ExecuteError::Panicked { key }),
        };
        // The caller may have dropped its future.
        let _ = waiting.send(answer);
    }
}
