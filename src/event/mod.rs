//! Events, before and after they are stored.
//!
//! A caller describes what happened as a [`NewEvent`]. On append the mailroom gives it a place (its
//! [`Sequence`] within the aggregate) and the commit id of its append, and from then on it is a
//! [`KeyedEvent`]: the four fields `key, sequence, type, data`, and what belongs to them.
//!
//! Data is JSON that stays as it was written ([`RawJson`]): checked once, on append, and parsed only
//! when [`KeyedEvent::json`] asks for it.

mod checked;
mod key;
mod raw_json;
mod record;
mod sequence;
mod timestamp;

pub(crate) use checked::{CheckedEvent, CheckedEvents};
pub use key::{AggregateKey, KeyError};
pub use raw_json::{RawJson, RawJsonError};
pub use record::RecordError;
pub use sequence::{Position, Sequence};
pub use timestamp::{Timestamp, TimestampError};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use uuid::Uuid;

use checked::{Payload, size_bytes};

/// The longest event type, in bytes.
pub const MAX_EVENT_TYPE_BYTES: usize = 256;

/// An event that is not stored yet.
///
/// Nothing here fails: what is wrong with an event (data that is not JSON, a type that is empty) is
/// reported by the append that carries it, which then changes nothing.
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
    /// `event_type` is a stable name of the caller's choosing, 1 to [`MAX_EVENT_TYPE_BYTES`] bytes
    /// without control characters.
    pub fn new<T: Serialize + ?Sized>(event_type: impl AsRef<str>, data: &T) -> Self {
        Self::with(event_type.as_ref(), Payload::serialized(data))
    }

    /// An event whose data is JSON text already. It is checked on append and kept byte for byte,
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

    /// The version of the data's schema; 1 unless told.
    pub fn version(mut self, version: u16) -> Self {
        self.version = version;
        self
    }

    /// Metadata: a value that serializes to a JSON object. `correlation_id` and `causation_id` are
    /// names reserved in it for what they say.
    pub fn metadata<T: Serialize + ?Sized>(mut self, metadata: &T) -> Self {
        self.metadata = Some(Payload::serialized(metadata));
        self
    }

    /// Metadata that is JSON text already; an object, checked on append.
    pub fn raw_metadata(mut self, metadata: impl Into<Bytes>) -> Self {
        self.metadata = Some(Payload::Unchecked(metadata.into()));
        self
    }

    /// One more field in the metadata, in front of those that are there.
    pub fn metadata_field<T: Serialize + ?Sized>(mut self, name: &str, value: &T) -> Self {
        let metadata = self.metadata.take().map(Payload::check).transpose();
        let metadata = metadata.and_then(|metadata| {
            let value = RawJson::serialize(value)?;
            RawJson::object_with(metadata.as_ref(), &[(name, value)])
        });
        self.metadata = Some(metadata.map_or_else(Payload::Failed, Payload::Checked));
        self
    }

    /// An event id of the caller's own. Without one, [`KeyedEvent::event_id`] derives it.
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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// The event's type is empty, longer than [`MAX_EVENT_TYPE_BYTES`] or has control characters.
    #[error("the event type must be 1 to {MAX_EVENT_TYPE_BYTES} bytes without control characters")]
    Type,
    /// The data is not JSON, or the value given could not be serialized.
    #[error("the data is not JSON: {0}")]
    Data(#[source] RawJsonError),
    /// The metadata is not JSON, or the value given could not be serialized.
    #[error("the metadata is not JSON: {0}")]
    Metadata(#[source] RawJsonError),
    /// The metadata is JSON, but not an object.
    #[error("the metadata is not a JSON object")]
    MetadataNotAnObject,
}

/// A stored event: which aggregate, which sequence, what happened.
///
/// As JSON it has the four fields `key`, `sequence`, `type` and `data`, and beside them `version`,
/// `metadata`, `event_id`, `commit_id`, `recorded_at` and `position` (the optional ones only where
/// there is a value).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeyedEvent {
    /// The aggregate it belongs to.
    pub key: AggregateKey,
    /// Its number within the aggregate.
    pub sequence: Sequence,
    #[serde(rename = "type")]
    event_type: SmolStr,
    /// What happened, as the JSON it was written as.
    pub data: RawJson,
    /// The version of the data's schema.
    #[serde(default = "first_version")]
    pub version: u16,
    /// A JSON object of the caller's, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<RawJson>,
    #[serde(default, rename = "event_id", skip_serializing_if = "Option::is_none")]
    explicit_event_id: Option<Uuid>,
    /// The append that wrote it; all events of one append share it.
    pub commit_id: Uuid,
    /// When it was recorded, by the clock of the store that wrote it.
    pub recorded_at: Timestamp,
    /// Its number within the whole store, where the driver has a log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

fn first_version() -> u16 {
    1
}

impl KeyedEvent {
    /// The event's type: the stable name it was written under.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// The data, parsed.
    ///
    /// # Errors
    ///
    /// When the JSON does not have the shape of `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.data.json()
    }

    /// The event's id: the one its writer gave, or else one derived from commit id, key and
    /// sequence. The same event always has the same id, however it is read.
    pub fn event_id(&self) -> Uuid {
        self.explicit_event_id.unwrap_or_else(|| {
            let name = format!("{}#{}", self.key, self.sequence);
            Uuid::new_v5(&self.commit_id, name.as_bytes())
        })
    }

    /// What upcasters go by: type and schema version.
    pub(crate) fn form(&self) -> (SmolStr, u16) {
        (self.event_type.clone(), self.version)
    }

    pub(crate) fn become_form(&mut self, version: u16, event_type: Option<SmolStr>, data: RawJson) {
        self.version = version;
        self.data = data;
        if let Some(event_type) = event_type {
            self.event_type = event_type;
        }
    }

    /// The bytes that count against a driver's limits: key, type, data and metadata.
    pub fn size_bytes(&self) -> usize {
        size_bytes(&self.key, &self.event_type, &self.data, self.metadata.as_ref())
    }
}
