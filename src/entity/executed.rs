//! The results of commands and of loads.

use std::fmt;

use super::Aggregate;
use crate::append::Appended;
use crate::event::Sequence;

/// A command that was executed.
///
/// ```
/// # use seriatim::{Aggregate, Context, EventStore};
/// # #[derive(Default, serde::Serialize, serde::Deserialize)]
/// # struct Tally { n: u64 }
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum Event { Counted }
/// # impl Aggregate for Tally {
/// #     const KIND: &'static str = "tally";
/// #     type Command = ();
/// #     type Event = Event;
/// #     type Error = String;
/// #     type Services = ();
/// #     fn handle(&self, _: &(), _: &Context<'_>) -> Result<Vec<Event>, String> {
/// #         Ok(vec![Event::Counted])
/// #     }
/// #     fn apply(&mut self, _: &Event) { self.n += 1; }
/// # }
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let executed = store.entities::<Tally>().execute("visitors", ()).await?;
/// assert!(matches!(executed.events[..], [Event::Counted]));
/// assert_eq!(executed.appended.map(|appended| appended.last), Some(executed.sequence));
/// # Ok(()) }
/// ```
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
///
/// ```
/// # use seriatim::{Aggregate, Context, EventStore};
/// # #[derive(Default, serde::Serialize, serde::Deserialize)]
/// # struct Tally { n: u64 }
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum Event { Counted }
/// # impl Aggregate for Tally {
/// #     const KIND: &'static str = "tally";
/// #     type Command = ();
/// #     type Event = Event;
/// #     type Error = String;
/// #     type Services = ();
/// #     fn handle(&self, _: &(), _: &Context<'_>) -> Result<Vec<Event>, String> {
/// #         Ok(vec![Event::Counted])
/// #     }
/// #     fn apply(&mut self, _: &Event) { self.n += 1; }
/// # }
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let tallies = store.entities::<Tally>();
/// let before = tallies.state("visitors").await?;
/// tallies.execute("visitors", ()).await?;
/// let after = tallies.state("visitors").await?;
/// assert_eq!((before.state.n, before.sequence.get()), (0, 0));
/// assert_eq!((after.state.n, after.sequence.get()), (1, 1));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded<A> {
    /// The state.
    pub state: A,
    /// The sequence of the last event in it; [`Sequence::NONE`] where there is none.
    pub sequence: Sequence,
}
