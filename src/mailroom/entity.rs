//! What the mailroom knows of entities: a state that events are folded into, and commands decided on it.
//!
//! The types behind are the application's; here they are boxed, so that one type of actor serves all. The
//! state runs ahead of what is durable while a put is in flight, and is thrown away when that put fails: it is
//! never mended, only folded anew from what the driver holds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use crate::append::Appended;
use crate::error::{AppendError, LoadError};
use crate::event::{CheckedEvents, KeyedEvent, Sequence};

/// An entity's state, boxed.
pub(crate) trait State: std::any::Any + Send {
    /// Folds a stored event in.
    fn apply(&mut self, event: KeyedEvent) -> Result<(), LoadError>;

    /// After how many events a snapshot is due; `None` for never.
    fn snapshot_every(&self) -> Option<u64>;

    /// The state as a snapshot taken at this event.
    fn to_snapshot(&self, last: Sequence) -> Option<Bytes>;

    /// Becomes what the snapshot says, and answers the sequence it was taken at.
    ///
    /// # Errors
    ///
    /// Why it cannot be used; the state is then as before.
    fn restore(&mut self, snapshot: &[u8]) -> Result<Sequence, String>;

    /// Becomes a state without events again.
    fn reset(&mut self);
}

/// A command on its way, with the one who waits for its answer.
pub(crate) trait Command: Send {
    /// A state without events, of the entity's type.
    fn blank(&self) -> Box<dyn State>;

    /// Decides on this state, which stays as it is. May be called again on another one.
    fn decide(&mut self, state: &dyn State) -> Decision;

    /// Folds what was decided into the state it was decided on.
    fn apply(&self, state: &mut dyn State);

    fn answer(self: Box<Self>, answer: CommandAnswer);
}

/// What a command came to.
pub(crate) enum Decision {
    /// These events are to be appended.
    Events(CheckedEvents),
    /// The command was rejected, or nothing happened: there is nothing to append, and the command knows
    /// its answer.
    Nothing,
    /// The state is not at the sequence that the command expects: nothing is appended, and the command
    /// knows its answer, provided that the state is up to date.
    Unexpected,
    /// The command's events cannot be appended.
    Refused(AppendError),
}

/// What a command's caller is told.
pub(crate) enum CommandAnswer {
    /// Its events are durable.
    Committed(Appended),
    /// What [`Decision::Nothing`] stood for; and the sequence it was decided at.
    Nothing(Sequence),
    /// An earlier command with the same commit id wrote these.
    Repeated(Appended, Vec<KeyedEvent>),
    NotAppended(AppendError),
    NotLoaded(LoadError),
    /// The application's code panicked.
    Panicked,
}

/// The state of the actor's entity, as far as it is folded.
pub(super) struct Entity {
    pub(super) state: Box<dyn State>,
    pub(super) at: Sequence,
    /// The slot's count of failed puts when the state was folded: another count, and the state may hold
    /// events that never were.
    pub(super) failed_puts: u32,
    pub(super) snapshot_at: Sequence,
}

impl Entity {
    pub(super) fn blank(state: Box<dyn State>, failed_puts: u32) -> Self {
        Entity { state, at: Sequence::NONE, failed_puts, snapshot_at: Sequence::NONE }
    }

    /// Folds in the next stored event. After an error the state must not be used.
    pub(super) fn fold(&mut self, event: KeyedEvent) -> Result<(), LoadError> {
        let (key, sequence) = (event.key.clone(), event.sequence);
        let applied = catch_unwind(AssertUnwindSafe(|| self.state.apply(event)));
        applied.unwrap_or(Err(LoadError::Panicked { key, sequence }))?;
        self.at = sequence;
        Ok(())
    }

    /// Starts anew, without events.
    pub(super) fn reset(&mut self) {
        self.state.reset();
        self.at = Sequence::NONE;
        self.snapshot_at = Sequence::NONE;
    }

    /// A snapshot of the state, if one is due. Only to be asked while everything folded is durable.
    pub(super) fn due_snapshot(&mut self) -> Option<Bytes> {
        let every = self.state.snapshot_every()?;
        if self.at.get() - self.snapshot_at.get() < every {
            return None;
        }
        self.snapshot_at = self.at;
        let at = self.at;
        catch_unwind(AssertUnwindSafe(|| self.state.to_snapshot(at))).ok().flatten()
    }
}
