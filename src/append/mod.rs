//! What a writer asks for, and what it is told.

mod checked;
mod execute_options;
mod expected;

use serde::Serialize;
use smallvec::SmallVec;
use uuid::Uuid;

pub(crate) use checked::CheckedAppend;
pub use execute_options::ExecuteOptions;
pub use expected::Expected;

use crate::error::AppendError;
use crate::event::{AggregateKey, CheckedEvents, KeyError, NewEvent, Position, Sequence};

/// One or more events for one aggregate, all or nothing.
///
/// The same value is [`EventStore::append`](crate::EventStore::append)'s argument and the message of
/// [`seriatim::actors`](crate::actors). What is wrong with it (a bad key, no event) is reported by the
/// append.
///
/// ```
/// use seriatim::{Append, Expected, NewEvent};
///
/// let append = Append::to("account/1")
///     .expect(Expected::NoEvents)
///     .event(NewEvent::raw("Opened", r#"{"owner":"Ada"}"#))
///     .event(NewEvent::raw("Deposited", r#"{"amount":50}"#));
/// # let _ = append;
/// ```
#[derive(Clone, Debug)]
pub struct Append {
    key: Result<AggregateKey, KeyError>,
    expected: Expected,
    /// One is the rule, and stands in its place without an allocation.
    events: SmallVec<[NewEvent; 1]>,
    commit_id: Option<Uuid>,
}

impl Append {
    /// An append to this aggregate: of no event yet, and expecting [`Expected::Any`].
    pub fn to<K>(key: K) -> Self
    where
        K: TryInto<AggregateKey>,
        KeyError: From<K::Error>,
    {
        Append {
            key: key.try_into().map_err(KeyError::from),
            expected: Expected::Any,
            events: SmallVec::new(),
            commit_id: None,
        }
    }

    /// What the latest sequence must be: an [`Expected`], a [`Sequence`] or a number.
    pub fn expect(mut self, expected: impl Into<Expected>) -> Self {
        self.expected = expected.into();
        self
    }

    /// One more event.
    pub fn event(mut self, event: NewEvent) -> Self {
        self.events.push(event);
        self
    }

    /// More events, in this order.
    pub fn events(mut self, events: impl IntoIterator<Item = NewEvent>) -> Self {
        self.events.extend(events);
        self
    }

    /// A commit id of the caller's own. An append that has one can be repeated, from any process, and
    /// gets the first result with `repeated: true`. It is scoped to its aggregate.
    pub fn commit_id(mut self, commit_id: Uuid) -> Self {
        self.commit_id = Some(commit_id);
        self
    }

    /// Its key, if it is one.
    ///
    /// # Errors
    ///
    /// Why it is not; the append will be refused for that.
    pub fn key(&self) -> Result<&AggregateKey, &KeyError> {
        self.key.as_ref()
    }

    /// How many events it has.
    #[allow(clippy::len_without_is_empty, reason = "an empty append is a mistake, not a state")]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// One more field in the metadata of each of its events, in front of those that are there.
    pub fn metadata_field<T: Serialize + ?Sized>(mut self, name: &str, value: &T) -> Self {
        let events = std::mem::take(&mut self.events);
        self.events = events.into_iter().map(|event| event.metadata_field(name, value)).collect();
        self
    }

    pub(crate) fn expected(&self) -> Expected {
        self.expected
    }

    /// Its exact expectation, if a latest sequence above that settles it. With a commit id of the caller's
    /// own it may be a repetition.
    pub(crate) fn may_be_refused_early(&self) -> Option<Sequence> {
        match self.commit_id {
            None => self.expected.exact(),
            Some(_) => None,
        }
    }

    pub(crate) fn check(self) -> Result<CheckedAppend, AppendError> {
        let key = self.key.map_err(AppendError::InvalidKey)?;
        if self.events.is_empty() {
            return Err(AppendError::Empty { key });
        }
        let events = self.events.into_iter().enumerate().map(|(index, event)| {
            let invalid = |source| AppendError::InvalidEvent { key: key.clone(), index, source };
            event.check().map_err(invalid)
        });
        let events: CheckedEvents = events.collect::<Result<_, _>>()?;
        let size_bytes = events.iter().map(|event| event.size_bytes(&key)).sum();
        Ok(CheckedAppend {
            key,
            expected: self.expected,
            events,
            own_commit_id: self.commit_id.is_some(),
            commit_id: self.commit_id.unwrap_or_else(Uuid::now_v7),
            size_bytes,
        })
    }
}

/// An append that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// The sequence of its first event.
    pub first: Sequence,
    /// The sequence of its last event: what the next exact append expects.
    pub last: Sequence,
    /// The position of its first event, where the driver has a log; its other events follow it.
    pub position: Option<Position>,
    /// The commit id stored with each of its events.
    pub commit_id: Uuid,
    /// Whether an earlier append with this commit id wrote it, and this one wrote nothing.
    pub repeated: bool,
}
