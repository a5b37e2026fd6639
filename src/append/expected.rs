//! What a writer believes the latest sequence of an aggregate is.

use std::fmt;

use crate::event::Sequence;

/// What the writer believes an aggregate's latest sequence is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Expected {
    /// Whatever it is: the events go behind it.
    #[default]
    Any,
    /// The aggregate has no event yet.
    NoEvents,
    /// Exactly this one. `Sequence(0)` is the same as [`Expected::NoEvents`].
    Sequence(Sequence),
}

impl Expected {
    /// The sequence that must be the latest, if it must be a certain one.
    pub fn exact(self) -> Option<Sequence> {
        match self {
            Expected::Any => None,
            Expected::NoEvents => Some(Sequence::NONE),
            Expected::Sequence(sequence) => Some(sequence),
        }
    }
}

impl From<Sequence> for Expected {
    fn from(sequence: Sequence) -> Self {
        Expected::Sequence(sequence)
    }
}

impl From<u64> for Expected {
    fn from(sequence: u64) -> Self {
        Expected::Sequence(Sequence::new(sequence))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Any => f.write_str("any sequence"),
            Expected::NoEvents => f.write_str("no events"),
            Expected::Sequence(sequence) => write!(f, "sequence {sequence}"),
        }
    }
}
