//! Appends: the request of a writer, its options, and the answer.

mod checked;
mod execute_options;
mod expected;
mod waiter;

use serde::Serialize;
use smallvec::SmallVec;
use uuid::Uuid;

pub(crate) use checked::CheckedAppend;
pub use execute_options::ExecuteOptions;
pub use expected::Expected;
pub(crate) use waiter::Waiter;

use crate::error::AppendError;
use crate::event::{AggregateKey, CheckedEvents, KeyError, NewEvent, Position, Sequence};

/// One or more events for one aggregate, all or nothing.
///
/// It is the argument of [`EventStore::append`](crate::EventStore::append) and a message of
/// [`seriatim::actors`](crate::actors). No method here fails: the append reports an invalid key or
/// a missing event.
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
    /// Most appends have one event, which is stored inline.
    events: SmallVec<[NewEvent; 1]>,
    commit_id: Option<Uuid>,
}

impl Append {
    /// The metadata of its first event, checked or not.
    pub(crate) fn metadata_bytes(&self) -> Option<&[u8]> {
        self.events.first()?.metadata_bytes()
    }

    /// An append to this aggregate, without events so far, that expects [`Expected::Any`].
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

    /// Sets what the latest sequence must be: an [`Expected`], a [`Sequence`] or a number.
    pub fn expect(mut self, expected: impl Into<Expected>) -> Self {
        self.expected = expected.into();
        self
    }

    /// Adds one event.
    pub fn event(mut self, event: NewEvent) -> Self {
        self.events.push(event);
        self
    }

    /// Adds events, in this order.
    pub fn events(mut self, events: impl IntoIterator<Item = NewEvent>) -> Self {
        self.events.extend(events);
        self
    }

    /// Sets the commit id. An append with one can be repeated, from any process, and is answered
    /// with the first result and `repeated: true`. The id is scoped to its aggregate.
    pub fn commit_id(mut self, commit_id: Uuid) -> Self {
        self.commit_id = Some(commit_id);
        self
    }

    /// The aggregate's key.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when the key is invalid; the append will be refused for it.
    pub fn key(&self) -> Result<&AggregateKey, &KeyError> {
        self.key.as_ref()
    }

    /// The number of events.
    #[allow(clippy::len_without_is_empty, reason = "an empty append is a mistake, not a state")]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Sets one field in the metadata of each of its events, in place of a field of the same name.
    pub fn metadata_field<T: Serialize + ?Sized>(mut self, name: &str, value: &T) -> Self {
        let events = std::mem::take(&mut self.events);
        self.events = events.into_iter().map(|event| event.metadata_field(name, value)).collect();
        self
    }

    /// The bytes of its events' data and metadata.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.events.iter().map(NewEvent::payload_bytes).sum()
    }

    pub(crate) fn expected(&self) -> Expected {
        self.expected
    }

    /// The exact expectation, if a later latest sequence alone proves a conflict. An append with a
    /// commit id of the caller may be a repetition instead.
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
            attempt: self.commit_id.map(|_| checked::new_attempt()),
            commit_id: self.commit_id.unwrap_or_else(Uuid::now_v7),
            size_bytes,
        })
    }
}

/// The answer to an append: its events are durable.
///
/// ```
/// use seriatim::{Append, EventStore, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let append = Append::to("light/1").event(NewEvent::raw("SwitchedOn", "{}"));
/// let appended = store.append(append).await?;
/// // Only if nobody else has written meanwhile.
/// let off = NewEvent::raw("SwitchedOff", "{}");
/// let next = Append::to("light/1").expect(appended.last).event(off);
/// assert_eq!(store.append(next).await?.last, 2);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// The sequence of its first event.
    pub first: Sequence,
    /// The sequence of its last event, which the next exact append expects.
    pub last: Sequence,
    /// The position of its first event, where the driver has a log; its other events follow it.
    pub position: Option<Position>,
    /// The commit id stored with each of its events.
    pub commit_id: Uuid,
    /// Whether an earlier append with this commit id wrote the events, and this one wrote nothing.
    pub repeated: bool,
}

impl Appended {
    /// The position of its last event, where the driver has a log: what a consumer has passed when
    /// it has handled the whole append.
    ///
    /// ```
    /// # use seriatim::{Append, EventStore, NewEvent};
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = EventStore::open("memory:").await?;
    /// let events = (0..3).map(|_| NewEvent::raw("Ticked", "{}"));
    /// let appended = store.append(Append::to("clock/1").events(events)).await?;
    /// assert_eq!(appended.last_position().map(u64::from), Some(3));
    /// # Ok(()) }
    /// ```
    pub fn last_position(&self) -> Option<Position> {
        let later = self.last.get().saturating_sub(self.first.get());
        self.position.map(|first| first.plus(later))
    }
}
