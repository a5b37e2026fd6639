//! Projections: a consumer that folds events into state of the user's own.

use std::fmt::Display;

use crate::driver::async_trait;
use crate::event::{KeyedEvent, Position};

/// A read model that keeps its own position, for [`Consumer::project`](super::Consumer::project).
///
/// Written in the same transaction as the state, the position makes every event count exactly once,
/// whatever crashes when: events come from behind the position that [`Projection::position`] answers, and a
/// transaction that was not committed took its position back with it.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::convert::Infallible;
/// use std::sync::{Arc, Mutex};
/// use seriatim::driver::async_trait;
/// use seriatim::subscription::Projection;
/// use seriatim::{KeyedEvent, Position};
///
/// /// How many events each category has; in memory, so it begins anew with each process.
/// #[derive(Clone, Default)]
/// struct Counts(Arc<Mutex<(Position, BTreeMap<String, u64>)>>);
///
/// #[async_trait]
/// impl Projection for Counts {
///     type Error = Infallible;
///
///     async fn position(&mut self) -> Result<Position, Infallible> {
///         Ok(self.0.lock().unwrap().0)
///     }
///
///     async fn apply(&mut self, events: &[KeyedEvent], position: Position) -> Result<(), Infallible> {
///         let mut state = self.0.lock().unwrap();
///         for event in events {
///             *state.1.entry(event.key.category().to_owned()).or_default() += 1;
///         }
///         state.0 = position;
///         Ok(())
///     }
///
///     async fn reset(&mut self) -> Result<(), Infallible> {
///         *self.0.lock().unwrap() = Default::default();
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Projection: Send + 'static {
    /// Why the state cannot be read or written. What it displays is what people are told.
    type Error: Display + Send;

    /// The position that was stored last; 0 where there is none yet. Asked once, when the consumer begins.
    async fn position(&mut self) -> Result<Position, Self::Error>;

    /// Folds these events (at least one, in commit order) into the state and stores `position`, in one
    /// transaction. That position may be behind the last of the events: what lies between is not wanted.
    ///
    /// After an error the same events come again; nothing of them may have stayed.
    async fn apply(&mut self, events: &[KeyedEvent], position: Position)
    -> Result<(), Self::Error>;

    /// Empties the state and stores position 0, in one transaction: a
    /// [rebuild](super::Consumer::rebuild) begins.
    async fn reset(&mut self) -> Result<(), Self::Error>;
}
