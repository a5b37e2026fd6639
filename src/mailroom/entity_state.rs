//! Entities as the mailroom sees them: a state that events are folded into, and commands decided on
//! it.
//!
//! The application's types are boxed, so that one type of actor serves all entities. The state runs
//! ahead of what is durable while a put is in flight. When that put fails, the state is dropped and
//! folded again from what the driver holds; it is never corrected.

use bytes::Bytes;

use crate::append::Appended;
use crate::error::{AppendError, LoadError};
use crate::event::{CheckedEvents, KeyedEvent, Sequence};
use crate::user_code;

/// An entity's state, boxed.
pub(crate) trait BoxedState: std::any::Any + Send {
    /// Folds a stored event in.
    fn apply(&mut self, event: KeyedEvent) -> Result<(), LoadError>;

    /// After how many events a snapshot is due; `None` for never.
    fn snapshot_every(&self) -> Option<u64>;

    /// The state as a snapshot taken at this event.
    fn to_snapshot(&self, last: Sequence) -> Option<Bytes>;

    /// Becomes the snapshot's state, and returns the sequence it was taken at.
    ///
    /// # Errors
    ///
    /// Why the snapshot cannot be used; the state is unchanged.
    fn restore(&mut self, snapshot: &[u8]) -> Result<Sequence, String>;

    /// Becomes a state without events.
    fn reset(&mut self);

    /// Its size in memory, estimated.
    fn resident_bytes(&self) -> usize;
}

/// A command on its way, with the caller that waits for its answer.
pub(crate) trait BoxedCommand: Send {
    /// A state without events, of the entity's type.
    fn blank(&self) -> Box<dyn BoxedState>;

    /// Decides on this state, which does not change. May be called again with another state.
    fn decide(&mut self, state: &dyn BoxedState) -> Decision;

    /// Folds the decided events into the state they were decided on.
    fn apply(&self, state: &mut dyn BoxedState);

    /// Hands the answer to the caller. None of the application's code runs here, but the waker of
    /// the caller.
    fn answer(self: Box<Self>, answer: CommandAnswer);
}

/// The outcome of a decision.
pub(crate) enum Decision {
    /// These events are to be appended.
    Events(CheckedEvents),
    /// The command was rejected, or nothing happened. There is nothing to append, and the command
    /// knows its answer.
    Nothing,
    /// The state is not at the sequence that the command expects: nothing is appended, and the
    /// command knows its answer, provided that the state is up to date.
    Unexpected,
    /// The command's events cannot be appended.
    Refused(AppendError),
}

/// The answer to a command's caller.
pub(crate) enum CommandAnswer {
    /// Its events are durable.
    Committed(Appended),
    /// [`Decision::Nothing`] on a state of this sequence.
    Nothing(Sequence),
    /// An earlier command with the same commit id wrote these.
    Repeated(Appended, Vec<KeyedEvent>),
    NotAppended(AppendError),
    NotLoaded(LoadError),
    /// The application's code panicked.
    Panicked,
}

/// The state of an entity, folded up to a sequence.
pub(crate) struct EntityState {
    pub(super) state: Box<dyn BoxedState>,
    pub(crate) at: Sequence,
    /// The count of failed puts when the state was folded. If it has grown since, the state may
    /// hold events that were never written.
    pub(super) failed_puts: u32,
    pub(super) snapshot_at: Sequence,
    /// What it weighed when it was last asked, and the bytes that were folded in since then.
    weighed: Option<usize>,
    unweighed: usize,
}

/// A state is asked again what it weighs when so many bytes were folded in, and a quarter of what
/// it weighed: so asking costs no more than folding.
const UNWEIGHED: usize = 4 << 10;

impl Drop for EntityState {
    fn drop(&mut self) {
        user_code::discard(std::mem::replace(&mut self.state, Box::new(Dropped)));
    }
}

/// Stands in for a state that is being dropped.
struct Dropped;

impl BoxedState for Dropped {
    fn apply(&mut self, event: KeyedEvent) -> Result<(), LoadError> {
        Err(LoadError::Panicked { key: event.key.clone(), sequence: event.sequence })
    }

    fn snapshot_every(&self) -> Option<u64> {
        None
    }

    fn to_snapshot(&self, _: Sequence) -> Option<Bytes> {
        None
    }

    fn restore(&mut self, _: &[u8]) -> Result<Sequence, String> {
        Err("the state is dropped".to_owned())
    }

    fn reset(&mut self) {}

    fn resident_bytes(&self) -> usize {
        0
    }
}

impl EntityState {
    pub(super) fn blank(state: Box<dyn BoxedState>, failed_puts: u32) -> Self {
        let mut blank = Self::folded(state, Sequence::NONE);
        blank.failed_puts = failed_puts;
        blank
    }

    /// A state that has the events up to this sequence.
    pub(crate) fn folded(state: Box<dyn BoxedState>, at: Sequence) -> Self {
        EntityState {
            state,
            at,
            failed_puts: 0,
            snapshot_at: Sequence::NONE,
            weighed: None,
            unweighed: 0,
        }
    }

    /// The state itself, for a caller that asked for it.
    pub(crate) fn into_state(mut self) -> Box<dyn BoxedState> {
        std::mem::replace(&mut self.state, Box::new(Dropped))
    }

    /// Folds in the next stored event. After an error the state must not be used.
    pub(super) fn fold(&mut self, event: KeyedEvent) -> Result<(), LoadError> {
        let (key, sequence) = (event.key.clone(), event.sequence);
        self.grows_by(event.size_bytes());
        let applied = user_code::call(|| self.state.apply(event));
        applied.unwrap_or(Err(LoadError::Panicked { key, sequence }))?;
        self.at = sequence;
        Ok(())
    }

    /// So many bytes were folded in.
    pub(super) fn grows_by(&mut self, bytes: usize) {
        self.unweighed = self.unweighed.saturating_add(bytes);
    }

    /// What the state weighs: what it said last, and what was folded in since then.
    pub(super) fn resident_bytes(&mut self) -> usize {
        let is_known = self.weighed.filter(|bytes| self.unweighed <= UNWEIGHED.max(bytes / 4));
        match is_known {
            Some(bytes) => bytes.saturating_add(self.unweighed),
            None => {
                let bytes = user_code::call(|| self.state.resident_bytes());
                let as_folded = self.weighed.unwrap_or_default().saturating_add(self.unweighed);
                self.unweighed = 0;
                *self.weighed.insert(bytes.unwrap_or(as_folded))
            }
        }
    }

    /// Starts again without events.
    pub(super) fn reset(&mut self) {
        self.state.reset();
        (self.weighed, self.unweighed) = (None, 0);
        self.at = Sequence::NONE;
        self.snapshot_at = Sequence::NONE;
    }

    /// A snapshot of the state, if one is due. Call it only while every folded event is durable.
    pub(super) fn due_snapshot(&mut self) -> Option<Bytes> {
        let every = self.state.snapshot_every()?;
        if self.at.get() - self.snapshot_at.get() < every {
            return None;
        }
        self.snapshot_at = self.at;
        let at = self.at;
        user_code::call(|| self.state.to_snapshot(at)).ok().flatten()
    }
}
