//! Projections: consumers that fold events into a read model.

use std::fmt::Display;

use crate::driver::async_trait;
use crate::event::{KeyedEvent, Position};

/// A read model that stores its own position, for [`Consumer::project`](super::Consumer::project).
///
/// The position is written in the same transaction as the state, so every event counts exactly
/// once, whatever crashes: events come from after the position that [`Projection::position`]
/// returns, and a transaction that was not committed left neither state nor position.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::convert::Infallible;
/// use std::sync::{Arc, Mutex};
/// use seriatim::driver::async_trait;
/// use seriatim::subscription::Projection;
/// use seriatim::{KeyedEvent, Position};
///
/// /// The number of events of each category. In memory, so it starts empty in each process.
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
///     async fn apply(
///         &mut self,
///         events: &[KeyedEvent],
///         position: Position,
///     ) -> Result<(), Infallible> {
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
    /// Why the state cannot be read or written. Its text goes into the log and into errors.
    type Error: Display + Send;

    /// The position that was stored last; 0 if there is none yet. Read once, when the consumer
    /// begins.
    async fn position(&mut self) -> Result<Position, Self::Error>;

    /// Folds these events (at least one, in commit order) into the state and stores `position`, in
    /// one transaction. The position may be later than the last event: what lies between is not
    /// wanted.
    ///
    /// After an error the same events come again; nothing of them may have stayed.
    async fn apply(&mut self, events: &[KeyedEvent], position: Position)
    -> Result<(), Self::Error>;

    /// Empties the state and stores position 0, in one transaction, when a
    /// [rebuild](super::Consumer::rebuild) begins.
    async fn reset(&mut self) -> Result<(), Self::Error>;
}
