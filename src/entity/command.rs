//! A command on its way through the mailbox.

use std::any::{Any, type_name};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Aggregate;
use super::error::ExecuteError;
use super::executed::Executed;
use super::setup::{EntitySetup, EventRead};
use super::state::Folded;
use crate::append::Expected;
use crate::error::{AppendError, LoadError};
use crate::event::{
    AggregateKey, CheckedEvents, EventError, KeyedEvent, RawJson, Sequence, is_same_json,
};
use crate::mailroom::{BoxedCommand, BoxedState, CommandAnswer, Decision, Mailroom};
use crate::user_code;

pub(super) type CommandResult<A> = Result<Executed<A>, ExecuteError<<A as Aggregate>::Error>>;

/// Events in their stored form, and as they will be read back.
type EncodedEvents<A> = (CheckedEvents, Vec<<A as Aggregate>::Event>);

/// The result of a command, with the command.
pub(super) struct AnsweredCommand<A: Aggregate> {
    pub(super) result: CommandResult<A>,
    pub(super) command: A::Command,
    /// The events that an earlier command with the same commit id left.
    pub(super) repeated: Vec<KeyedEvent>,
}

/// One command and its caller.
pub(super) struct SentCommand<A: Aggregate> {
    pub(super) decided: DecidedCommand<A>,
    pub(super) answer: oneshot::Sender<CommandReply<A>>,
    /// Drops what nobody waits for any more.
    pub(super) mailroom: Arc<Mailroom>,
}

/// One command and its last decision.
pub(super) struct DecidedCommand<A: Aggregate> {
    pub(super) key: AggregateKey,
    pub(super) command: A::Command,
    pub(super) metadata: Option<RawJson>,
    pub(super) expected: Expected,
    pub(super) setup: Arc<EntitySetup<A>>,
    pub(super) outcome: Option<DecisionOutcome<A>>,
}

/// What the mailroom answers. Only the caller makes a result of it, in its own task: that runs the
/// application's code, and drops its values.
pub(super) struct CommandReply<A: Aggregate> {
    decided: DecidedCommand<A>,
    answer: CommandAnswer,
}

/// What a command was decided to be.
pub(super) enum DecisionOutcome<A: Aggregate> {
    /// The events, as they will be read back.
    Events(Vec<A::Event>),
    Rejected(A::Error),
    /// The state was at this sequence, which is not the expected one.
    Unexpected(Sequence),
}

impl<A: Aggregate> DecidedCommand<A> {
    fn decided_events(&self) -> &[A::Event] {
        match &self.outcome {
            Some(DecisionOutcome::Events(events)) => events,
            _ => &[],
        }
    }

    /// The events in their stored form, and as they will be read back: the state and the answer
    /// rest on these, so both say what the next process will say.
    fn encode(&self, events: &[A::Event]) -> Result<EncodedEvents<A>, AppendError> {
        let mut checked = CheckedEvents::new();
        let mut read_back = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            let invalid = |source: EventError| {
                let key = self.key.clone();
                AppendError::InvalidEvent { key, index, source }
            };
            let (stored, event) = self.setup.stored(event).map_err(|e| invalid(e.into()))?;
            let stored = match &self.metadata {
                Some(metadata) => stored.with_metadata(metadata.clone()),
                None => stored,
            };
            checked.push(stored.check().map_err(invalid)?);
            read_back.push(event);
        }
        Ok((checked, read_back))
    }

    fn decide(&mut self, state: &dyn BoxedState) -> Decision {
        self.outcome = None;
        let state: &dyn Any = state;
        let Some(folded) = state.downcast_ref::<Folded<A>>() else { return Decision::Nothing };
        if self.expected.exact().is_some_and(|expected| expected != folded.sequence) {
            self.outcome = Some(DecisionOutcome::Unexpected(folded.sequence));
            return Decision::Unexpected;
        }
        let metadata = self.metadata.as_ref();
        let context = self.setup.context(&self.key, folded.sequence, metadata, None);
        let Some(context) = context else { return Decision::Nothing };
        let events = match folded.state.handle(&self.command, &context) {
            Ok(events) => events,
            Err(rejection) => {
                self.outcome = Some(DecisionOutcome::Rejected(rejection));
                return Decision::Nothing;
            }
        };
        match self.encode(&events) {
            Ok((stored, read_back)) => {
                self.outcome = Some(DecisionOutcome::Events(read_back));
                if stored.is_empty() { Decision::Nothing } else { Decision::Events(stored) }
            }
            Err(error) => Decision::Refused(error),
        }
    }

    fn apply(&self, state: &mut dyn BoxedState) {
        let state: &mut dyn Any = state;
        if let Some(folded) = state.downcast_mut::<Folded<A>>() {
            let events = self.decided_events();
            for event in events {
                folded.state.apply(event);
            }
            folded.sequence = folded.sequence.plus(events.len() as u64);
        }
    }
}

impl<A: Aggregate> BoxedCommand for SentCommand<A> {
    fn blank(&self) -> Box<dyn BoxedState> {
        Box::new(Folded::<A>::blank(self.decided.setup.clone()))
    }

    fn decide(&mut self, state: &dyn BoxedState) -> Decision {
        self.decided.decide(state)
    }

    fn apply(&self, state: &mut dyn BoxedState) {
        self.decided.apply(state);
    }

    fn answer(self: Box<Self>, answer: CommandAnswer) {
        let SentCommand { decided, answer: waiting, mailroom } = *self;
        if let Err(unheard) = waiting.send(CommandReply { decided, answer }) {
            mailroom.discard(unheard);
        }
    }
}

impl<A: Aggregate> CommandReply<A> {
    /// Called by the caller.
    pub(super) fn into_answered(self) -> AnsweredCommand<A> {
        let CommandReply { decided, answer } = self;
        let DecidedCommand { key, command, setup, outcome, expected, .. } = decided;
        let wrong_kind = || {
            let (other, this) = ("another type", type_name::<A>());
            ExecuteError::Load(LoadError::WrongKind { kind: A::KIND, other, this })
        };
        let mut repeated = Vec::new();
        let result = match answer {
            CommandAnswer::Committed(appended) => match outcome {
                Some(DecisionOutcome::Events(events)) => {
                    Ok(Executed { sequence: appended.last, appended: Some(appended), events })
                }
                _ => Err(wrong_kind()),
            },
            CommandAnswer::Nothing(sequence) => match outcome {
                Some(DecisionOutcome::Events(events)) => {
                    Ok(Executed { appended: None, events, sequence })
                }
                Some(DecisionOutcome::Rejected(rejection)) => {
                    Err(ExecuteError::Rejected(rejection))
                }
                Some(DecisionOutcome::Unexpected(actual)) => {
                    Err(ExecuteError::Append(AppendError::Conflict { key, expected, actual }))
                }
                None => Err(wrong_kind()),
            },
            CommandAnswer::Repeated(appended, stored) => {
                repeated.clone_from(&stored);
                let events = stored.into_iter().map(|event| setup.event(event));
                let events =
                    events.filter_map(|event| event.map(EventRead::into_event).transpose());
                events.collect::<Result<_, _>>().map_err(ExecuteError::Load).map(|events| {
                    Executed { sequence: appended.last, appended: Some(appended), events }
                })
            }
            CommandAnswer::NotAppended(error) => Err(ExecuteError::Append(error)),
            CommandAnswer::NotLoaded(error) => Err(ExecuteError::Load(error)),
            CommandAnswer::Panicked => Err(ExecuteError::Panicked { key }),
        };
        AnsweredCommand { result, command, repeated }
    }
}

/// Whether the events that stand under a commit id are surely not this command's: decided again on
/// the state before them, at the time of the first, it comes to others. A decision that depends on
/// more than that can say nothing, and neither can events in an earlier form.
pub(super) fn is_another_command<A: Aggregate>(
    setup: &EntitySetup<A>,
    before: &A,
    command: &A::Command,
    stored: &[KeyedEvent],
) -> bool {
    let Some(first) = stored.first() else { return false };
    let decide = || {
        let (key, time) = (&first.key, Some(first.recorded_at));
        let metadata = first.metadata.as_ref();
        let context = setup.context(key, first.sequence.previous(), metadata, time)?;
        let decided = user_code::call(|| before.handle(command, &context)).ok()?;
        let mut forms = Vec::new();
        for event in decided.unwrap_or_default() {
            let checked = setup.stored(&event).ok()?.0.check().ok()?;
            forms.push((checked.event_type, checked.version, checked.data));
        }
        Some(forms)
    };
    let (Some(once), Some(again)) = (decide(), decide()) else { return false };
    if once != again {
        return false;
    }
    let is_current =
        |event: &KeyedEvent| event.version == setup.current_version(event.event_type());
    stored.iter().all(is_current)
        && (once.len() != stored.len()
            || once.iter().zip(stored).any(|((event_type, _, data), stored)| {
                event_type != stored.event_type()
                    || (*data != stored.data
                        && !is_same_json(data.as_bytes(), stored.data.as_bytes()))
            }))
}
