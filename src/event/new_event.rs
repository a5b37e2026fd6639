//! An event that is not stored yet, and why it cannot be.

use bytes::Bytes;
use serde::Serialize;
use smol_str::SmolStr;
use uuid::Uuid;

use super::checked::{CheckedEvent, Payload};
use super::{EncodeError, RawJson, RawJsonError};

/// The longest event type, in bytes.
pub const MAX_EVENT_TYPE_BYTES: usize = 256;

/// An event that is not stored yet.
///
/// No method here fails. The append that carries the event reports what is wrong with it (data that
/// is not JSON, an empty type) and then changes nothing.
///
/// ```
/// use seriatim::NewEvent;
///
/// #[derive(serde::Serialize)]
/// struct Deposited { amount: u64 }
///
/// let typed = NewEvent::new("Deposited", &Deposited { amount: 50 });
/// let raw = NewEvent::raw("Deposited", r#"{"amount":50}"#).version(2);
/// # let _ = (typed, raw);
/// ```
#[derive(Clone, Debug)]
pub struct NewEvent {
    event_type: SmolStr,
    data: Payload,
    version: u16,
    metadata: Option<Payload>,
    event_id: Option<Uuid>,
}

impl NewEvent {
    /// An event whose data is `data` as JSON.
    ///
    /// `event_type` is a stable name that the caller chooses: 1 to [`MAX_EVENT_TYPE_BYTES`] bytes
    /// without control characters.
    pub fn new<T: Serialize + ?Sized>(event_type: impl AsRef<str>, data: &T) -> Self {
        Self::with(event_type.as_ref(), Payload::serialized(data))
    }

    /// An event whose data is JSON text. The text is checked on append and kept byte for byte,
    /// except that white space around it is dropped and line breaks outside strings become spaces.
    pub fn raw(event_type: impl AsRef<str>, data: impl Into<Bytes>) -> Self {
        Self::with(event_type.as_ref(), Payload::Unchecked(data.into()))
    }

    /// An event whose data was checked before.
    pub fn from_json(event_type: impl AsRef<str>, data: RawJson) -> Self {
        Self::with(event_type.as_ref(), Payload::Checked(data))
    }

    fn with(event_type: &str, data: Payload) -> Self {
        NewEvent {
            event_type: SmolStr::new(event_type),
            data,
            version: 1,
            metadata: None,
            event_id: None,
        }
    }

    /// The bytes of its data and metadata.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.data.len() + self.metadata.as_ref().map_or(0, Payload::len)
    }

    /// The version of the data's schema. Default 1.
    pub fn version(mut self, version: u16) -> Self {
        self.version = version;
        self
    }

    /// Sets the metadata: a value that serializes to a JSON object. The names `correlation_id` and
    /// `causation_id` are reserved for the ids that they stand for.
    pub fn metadata<T: Serialize + ?Sized>(mut self, metadata: &T) -> Self {
        self.metadata = Some(Payload::serialized(metadata));
        self
    }

    /// The metadata as it is now, checked or not.
    pub(crate) fn metadata_bytes(&self) -> Option<&[u8]> {
        self.metadata.as_ref()?.bytes()
    }

    /// Sets the metadata as JSON text: an object, checked on append.
    pub fn raw_metadata(mut self, metadata: impl Into<Bytes>) -> Self {
        self.metadata = Some(Payload::Unchecked(metadata.into()));
        self
    }

    /// Sets one field of the metadata, in place of a field of the same name.
    pub fn metadata_field<T: Serialize + ?Sized>(mut self, name: &str, value: &T) -> Self {
        let metadata = self.metadata.take().map(Payload::check).transpose();
        let metadata = metadata.and_then(|metadata| {
            let value = RawJson::serialize(value)?;
            RawJson::object_with(metadata.as_ref(), &[(name, value)])
        });
        self.metadata = Some(metadata.map_or_else(Payload::Failed, Payload::Checked));
        self
    }

    /// Sets the event id. Without one, [`KeyedEvent::event_id`](super::KeyedEvent::event_id)
    /// derives it.
    pub fn id(mut self, event_id: Uuid) -> Self {
        self.event_id = Some(event_id);
        self
    }

    pub(crate) fn event_type(&self) -> &str {
        &self.event_type
    }

    pub(crate) fn with_metadata(mut self, metadata: RawJson) -> Self {
        self.metadata = Some(Payload::Checked(metadata));
        self
    }

    pub(crate) fn check(self) -> Result<CheckedEvent, EventError> {
        if self.event_type.is_empty()
            || self.event_type.len() > MAX_EVENT_TYPE_BYTES
            || self.event_type.chars().any(char::is_control)
        {
            return Err(EventError::Type);
        }
        let data = self.data.check().map_err(EventError::Data)?;
        let metadata = match self.metadata {
            None => None,
            Some(payload) => {
                let json = payload.check().map_err(EventError::Metadata)?;
                if !json.is_object() {
                    return Err(EventError::MetadataNotAnObject);
                }
                Some(json)
            }
        };
        Ok(CheckedEvent {
            event_type: self.event_type,
            data,
            version: self.version,
            metadata,
            event_id: self.event_id,
        })
    }
}

/// Why an event cannot be stored.
///
/// ```
/// use seriatim::{Append, AppendError, EventError, EventStore, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let broken = NewEvent::raw("SwitchedOn", "{");
/// let refused = store.append(Append::to("light/1").event(broken)).await;
/// let Err(AppendError::InvalidEvent { index, source, .. }) = refused else { panic!("taken") };
/// assert_eq!(index, 0);
/// assert!(matches!(source, EventError::Data(_)));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The event's type is empty, longer than [`MAX_EVENT_TYPE_BYTES`] or has control characters.
    #[error("the event type must be 1 to {MAX_EVENT_TYPE_BYTES} bytes without control characters")]
    Type,
    /// The data is not JSON, or the value could not be serialized.
    #[error("the data is not JSON: {0}")]
    Data(#[source] RawJsonError),
    /// The metadata is not JSON, or the value could not be serialized.
    #[error("the metadata is not JSON: {0}")]
    Metadata(#[source] RawJsonError),
    /// The event is a value of a Rust type that cannot be stored.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The metadata is JSON, but not an object.
    #[error("the metadata is not a JSON object")]
    MetadataNotAnObject,
}
