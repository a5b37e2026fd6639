//! The commit id and the metadata of a command.

use serde::Serialize;
use uuid::Uuid;

use super::{Expected, Waiter};
use crate::event::{EventError, RawJson};

/// Options of one command: its commit id, its metadata, what it expects, how it is retried.
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
/// use seriatim::ExecuteOptions;
///
/// let tallies = store.entities::<Tally>();
/// let request = uuid::Uuid::now_v7();
/// let options = || ExecuteOptions::new().commit_id(request).correlation_id("request 7");
/// tallies.execute_with("visitors", (), options()).await?;
/// // The same request again, from any process: it is executed once.
/// let again = tallies.execute_with("visitors", (), options()).await?;
/// assert!(again.appended.is_some_and(|appended| appended.repeated));
///
/// let stale = ExecuteOptions::new().expect(0).retry(5);
/// assert!(tallies.execute_with("visitors", (), stale).await.is_err_and(|e| e.is_conflict()));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ExecuteOptions {
    pub(crate) commit_id: Option<Uuid>,
    /// The metadata, or the reason why it cannot be stored.
    pub(crate) metadata: Option<Result<RawJson, EventError>>,
    pub(crate) expected: Expected,
    /// How often it is sent; 0 means 1.
    pub(crate) attempts: u32,
    /// Asked one after another when the events are durable.
    pub(crate) waiters: Vec<Waiter>,
}

impl ExecuteOptions {
    /// No commit id, no metadata, no expectation, one attempt.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the commit id: the command can then be repeated, from any process, and is executed
    /// once. The id is looked for among the entity's latest events
    /// ([`commit_id_window`](crate::Builder::commit_id_window)). A command that wrote nothing
    /// leaves no trace of its id.
    pub fn commit_id(mut self, commit_id: Uuid) -> Self {
        self.commit_id = Some(commit_id);
        self
    }

    /// Sets what the entity's latest sequence must be when the command is decided: an [`Expected`],
    /// a [`Sequence`](crate::Sequence) or a number. Otherwise the command is answered with
    /// [`AppendError::Conflict`](crate::AppendError::Conflict).
    pub fn expect(mut self, expected: impl Into<Expected>) -> Self {
        self.expected = expected.into();
        self
    }

    /// Sends the command up to this many times while it fails with an error that a retry may help
    /// against, with pauses that grow from 2 ms to 250 ms. It is executed once: after an answer
    /// that leaves open whether it was, it is repeated under the same commit id. Default 1.
    pub fn retry(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the events' metadata: a value that serializes to a JSON object. It replaces all
    /// metadata set before.
    pub fn metadata<T: Serialize + ?Sized>(mut self, metadata: &T) -> Self {
        let json = RawJson::serialize(metadata).map_err(EventError::Metadata);
        self.metadata = Some(json.and_then(|json| match json.is_object() {
            true => Ok(json),
            false => Err(EventError::MetadataNotAnObject),
        }));
        self
    }

    /// Sets `correlation_id` in the events' metadata: the id that all consequences of one request
    /// share.
    pub fn correlation_id(self, id: impl AsRef<str>) -> Self {
        self.metadata_field("correlation_id", id.as_ref())
    }

    /// Sets `causation_id` in the events' metadata: the event or message that caused the command.
    pub fn causation_id(self, id: impl AsRef<str>) -> Self {
        self.metadata_field("causation_id", id.as_ref())
    }

    /// Sets one field of the events' metadata, in place of a field of the same name.
    pub fn metadata_field<T: Serialize + ?Sized>(mut self, name: &str, value: &T) -> Self {
        let metadata = self.metadata.take().transpose().and_then(|own| {
            let value = RawJson::serialize(value).map_err(EventError::Metadata)?;
            RawJson::object_with(own.as_ref(), &[(name, value)]).map_err(EventError::Metadata)
        });
        self.metadata = Some(metadata);
        self
    }
}
