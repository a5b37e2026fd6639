//! The results of commands and of loads.

use std::fmt;

use super::Aggregate;
use crate::append::Appended;
use crate::event::Sequence;

/// A command that was executed.
#[non_exhaustive]
pub struct Executed<A: Aggregate> {
    /// Where its events stand; `None` if nothing happened.
    pub appended: Option<Appended>,
    /// What happened.
    pub events: Vec<A::Event>,
    /// The entity's latest sequence after it.
    pub sequence: Sequence,
}

impl<A: Aggregate> fmt::Debug for Executed<A>
where
    A::Event: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executed")
            .field("appended", &self.appended)
            .field("events", &self.events)
            .field("sequence", &self.sequence)
            .finish()
    }
}

/// An entity's state, and the last event that is folded into it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded<A> {
    /// The state.
    pub state: A,
    /// The sequence of the last event in it; [`Sequence::NONE`] where there is none.
    pub sequence: Sequence,
}
