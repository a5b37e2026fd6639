//! The latest sequence that a writer expects an aggregate to have.

use std::fmt;

use crate::event::Sequence;

/// The latest sequence that a writer expects an aggregate to have.
///
/// ```
/// use seriatim::{Append, EventStore, Expected, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = EventStore::open("memory:").await?;
/// let append = || Append::to("light/1").event(NewEvent::raw("Switched", "{}"));
/// store.append(append().expect(Expected::NoEvents)).await?;
/// store.append(append().expect(1)).await?;
/// let error = store.append(append().expect(1)).await.unwrap_err();
/// assert!(error.is_conflict());
/// assert_eq!(error.to_string(), "light/1: expected sequence 1, but the latest sequence is 2");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Expected {
    /// Any: the events are appended behind the latest one.
    #[default]
    Any,
    /// The aggregate has no event yet.
    NoEvents,
    /// Exactly this sequence. `Sequence(0)` is the same as [`Expected::NoEvents`].
    Sequence(Sequence),
}

impl Expected {
    /// The sequence that must be the latest; `None` for [`Expected::Any`].
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
