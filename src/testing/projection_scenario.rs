//! Given a projection, when events come, then a read model.

use std::collections::HashMap;
use std::fmt::{self, Debug, Display};

use crate::event::{AggregateKey, KeyedEvent, Position, Sequence};
use crate::subscription::Projection;

/// A projection that gets events as a consumer hands them over, without a store.
///
/// Sequences and positions are given here: the events follow each other in the order in which they
/// come. After each step the projection must name the position that it was given. One that does not
/// store it would count events twice after a crash, and fails the scenario.
///
/// ```
/// use seriatim::driver::async_trait;
/// use seriatim::subscription::Projection;
/// use seriatim::testing::{ProjectionScenario, event};
/// use seriatim::{KeyedEvent, Position};
///
/// #[derive(Default)]
/// struct Count { position: Position, events: usize }
///
/// #[async_trait]
/// impl Projection for Count {
///     type Error = String;
///
///     async fn position(&mut self) -> Result<Position, String> {
///         Ok(self.position)
///     }
///
///     async fn apply(&mut self, events: &[KeyedEvent], position: Position) -> Result<(), String> {
///         self.events += events.len();
///         self.position = position;
///         Ok(())
///     }
///
///     async fn reset(&mut self) -> Result<(), String> {
///         *self = Count::default();
///         Ok(())
///     }
/// }
///
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # enum Event { Opened, Closed }
/// # #[tokio::main] async fn main() {
/// let count = ProjectionScenario::given(Count::default())
///     .when([event("door/1", &Event::Opened), event("door/1", &Event::Closed)])
///     .await;
/// assert_eq!(count.projection().events, 2);
/// let count = count.when_rebuilt().await;
/// assert_eq!(count.projection().events, 0);
/// # }
/// ```
pub struct ProjectionScenario<P> {
    projection: P,
    position: Position,
    sequences: HashMap<AggregateKey, Sequence>,
}

impl<P> Debug for ProjectionScenario<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectionScenario")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl<P: Projection> ProjectionScenario<P> {
    /// A projection that has seen no event.
    pub fn given(projection: P) -> Self {
        ProjectionScenario { projection, position: Position::default(), sequences: HashMap::new() }
    }

    /// Applies these events together, as one transaction.
    ///
    /// # Panics
    ///
    /// Where the projection fails, or names another position than that of the last event.
    pub async fn when(mut self, events: impl IntoIterator<Item = KeyedEvent>) -> Self {
        let events: Vec<_> = events.into_iter().map(|event| self.place(event)).collect();
        // A consumer hands over at least one.
        if !events.is_empty() {
            let applied = self.projection.apply(&events, self.position).await;
            or_fail("could not apply the events", applied);
        }
        self.names_its_position().await
    }

    /// Empties the projection, as a [rebuild](crate::Consumer::rebuild) does. The next event has
    /// position 1.
    ///
    /// # Panics
    ///
    /// Where the projection fails, or does not name position 0 then.
    pub async fn when_rebuilt(mut self) -> Self {
        or_fail("could not be reset", self.projection.reset().await);
        self.position = Position::default();
        self.sequences.clear();
        self.names_its_position().await
    }

    /// The projection, for checks of its read model.
    pub fn projection(&self) -> &P {
        &self.projection
    }

    fn place(&mut self, mut event: KeyedEvent) -> KeyedEvent {
        let latest = self.sequences.entry(event.key.clone()).or_default();
        *latest = latest.next();
        self.position = self.position.plus(1);
        event.sequence = *latest;
        event.position = Some(self.position);
        event
    }

    async fn names_its_position(mut self) -> Self {
        let named = or_fail("could not name its position", self.projection.position().await);
        if named != self.position {
            fail(&format!(
                "names position {named} after it was given {}: store it together with the state",
                self.position
            ));
        }
        self
    }
}

fn or_fail<T, E: Display>(what: &str, answer: Result<T, E>) -> T {
    match answer {
        Ok(value) => value,
        Err(error) => fail(&format!("{what}: {error}")),
    }
}

#[allow(clippy::panic, reason = "to panic is how a test fails")]
fn fail(message: &str) -> ! {
    panic!("the projection {message}")
}
