//! A command on its way through the mailbox.

use std::any::{Any, type_name};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Aggregate;
use super::error::ExecuteError;
use super::executed::Executed;
use super::state::{Folded, Reading};
use crate::error::LoadError;
use crate::event::{AggregateKey, CheckedEvents, EventError, RawJson, Sequence};
use crate::mailroom::{BoxedCommand, BoxedState, CommandAnswer, Decision};

pub(super) type CommandResult<A> = Result<Executed<A>, ExecuteError<<A as Aggregate>::Error>>;

/// One command, what was decided on it last, and who waits.
pub(super) struct SentCommand<A: Aggregate> {
    pub(super) key: AggregateKey,
    pub(super) command: A::Command,
    pub(super) metadata: Option<RawJson>,
    pub(super) reading: Arc<Reading>,
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

    fn encoded(&self) -> Result<CheckedEvents, EventError> {
        let events = self.decided_events().iter().map(|event| {
            let event = self.reading.stored(event)?;
            match &self.metadata {
                Some(metadata) => event.with_metadata(metadata.clone()),
                None => event,
            }
            .check()
        });
        events.collect()
    }
}

impl<A: Aggregate> BoxedCommand for SentCommand<A> {
    fn blank(&self) -> Box<dyn BoxedState> {
        Box::new(Folded::<A>::blank(self.reading.clone()))
    }

    fn decide(&mut self, state: &dyn BoxedState) -> Decision {
        self.decided = None;
        let state: &dyn Any = state;
        let Some(folded) = state.downcast_ref::<Folded<A>>() else { return Decision::Nothing };
        self.decided = Some(folded.state.handle(&self.command));
        if self.decided_events().is_empty() {
            return Decision::Nothing;
        }
        match self.encoded() {
            Ok(events) => Decision::Events(events),
            Err(error) => Decision::Unfit(error),
        }
    }

    fn apply(&self, state: &mut dyn BoxedState) {
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
        // A caller that went away does not want it.
        let _ = waiting.send(answer);
    }
}
