//! What a decision may look at beside the state and the command.

use std::fmt;

use crate::event::{AggregateKey, RawJson, Sequence, Timestamp};

/// The circumstances of one command, for
/// [`Aggregate::handle`](crate::Aggregate::handle).
///
/// A decision that reads the time, or looks something up, takes it from here. So it stays pure: a
/// command is decided again on a newer state, and a repeated commit id is checked by deciding
/// again.
///
/// ```
/// use seriatim::testing::Scenario;
/// use seriatim::{Aggregate, Context, Timestamp};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Bell;
///
/// #[derive(Serialize, Deserialize)]
/// enum Event { Rung { at: Timestamp } }
///
/// impl Aggregate for Bell {
/// #   const KIND: &'static str = "bell";
/// #   type Command = ();
/// #   type Event = Event;
/// #   type Error = String;
/// #   type Services = ();
///     fn handle(&self, _: &(), context: &Context<'_>) -> Result<Vec<Event>, String> {
///         Ok(vec![Event::Rung { at: context.time() }])
///     }
///     // …
/// #   fn apply(&mut self, _: &Event) {}
/// }
///
/// let noon = Timestamp::from_micros(43_200_000_000);
/// Scenario::<Bell>::given([]).at(noon).when(()).then_events([Event::Rung { at: noon }]);
/// ```
pub struct Context<'a, S = ()> {
    pub(crate) key: &'a AggregateKey,
    pub(crate) sequence: Sequence,
    pub(crate) time: Timestamp,
    pub(crate) metadata: Option<&'a RawJson>,
    pub(crate) services: &'a S,
}

impl<'a, S> Context<'a, S> {
    /// The entity's id.
    pub fn id(&self) -> &'a str {
        self.key.id().unwrap_or_default()
    }

    /// The entity's aggregate key: `{KIND}/{id}`.
    pub fn key(&self) -> &'a AggregateKey {
        self.key
    }

    /// The sequence of the last event in the state; [`Sequence::NONE`] where there is none.
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// The time of the decision, by the store's clock. The events are recorded at this time or
    /// shortly after it.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The metadata that the command's events will have.
    pub fn metadata(&self) -> Option<&'a RawJson> {
        self.metadata
    }

    /// The application's own services, from [`Builder::services`](crate::Builder::services).
    pub fn services(&self) -> &'a S {
        self.services
    }
}

impl<S> Clone for Context<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Context<'_, S> {}

impl<S> fmt::Debug for Context<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("key", &self.key)
            .field("sequence", &self.sequence)
            .field("time", &self.time)
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}
