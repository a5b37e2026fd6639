//! The two numbers of an event: its sequence within its aggregate, its position within the store.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of an event within its aggregate: 1, 2, 3 … without gaps.
///
/// Zero ([`Sequence::NONE`]) means "no event yet".
///
/// ```
/// use seriatim::Sequence;
///
/// assert_eq!(Sequence::NONE.next(), Sequence::FIRST);
/// assert_eq!(Sequence::FIRST.plus(2), 3);
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Sequence(u64);

impl Sequence {
    /// No event yet.
    pub const NONE: Sequence = Sequence(0);
    /// The sequence of an aggregate's first event.
    pub const FIRST: Sequence = Sequence(1);

    /// The sequence with this number.
    pub const fn new(number: u64) -> Self {
        Sequence(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sequence after this one; saturates at the largest number.
    pub const fn next(self) -> Self {
        Sequence(self.0.saturating_add(1))
    }

    /// The sequence before this one, or [`Sequence::NONE`].
    pub const fn previous(self) -> Self {
        Sequence(self.0.saturating_sub(1))
    }

    /// The sequence `count` events later.
    pub const fn plus(self, count: u64) -> Self {
        Sequence(self.0.saturating_add(count))
    }
}

impl From<u64> for Sequence {
    fn from(number: u64) -> Self {
        Sequence(number)
    }
}

impl From<Sequence> for u64 {
    fn from(sequence: Sequence) -> Self {
        sequence.0
    }
}

impl PartialEq<u64> for Sequence {
    fn eq(&self, other: &u64) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of an event within the whole store: 1, 2, 3 … dense, in commit order.
///
/// Only drivers with a log assign positions.
///
/// ```
/// use seriatim::{Append, EventStore, NewEvent, Position};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// for key in ["light/1", "door/1"] {
///     store.append(Append::to(key).event(NewEvent::raw("Opened", "{}"))).await?;
/// }
/// let last = store.log()?.last_position()?;
/// assert_eq!(last, Position::new(2));
/// let later = store.subscribe().from(last.plus(1));
/// # drop(later);
/// # Ok(()) }
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Position(u64);

impl Position {
    /// The position with this number.
    pub const fn new(number: u64) -> Self {
        Position(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position before this one; 0, which no event has, for the first.
    pub const fn previous(self) -> Self {
        Position(self.0.saturating_sub(1))
    }

    /// The position `count` events later.
    pub const fn plus(self, count: u64) -> Self {
        Position(self.0.saturating_add(count))
    }
}

impl From<u64> for Position {
    fn from(number: u64) -> Self {
        Position(number)
    }
}

impl From<Position> for u64 {
    fn from(position: Position) -> Self {
        position.0
    }
}

impl PartialEq<u64> for Position {
    fn eq(&self, other: &u64) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
