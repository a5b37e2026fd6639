//! A stored event.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use uuid::Uuid;

use super::{AggregateKey, Position, RawJson, Sequence, Timestamp};

/// A stored event: the aggregate it belongs to, its sequence, and what happened.
///
/// As JSON it has the four fields `key`, `sequence`, `type` and `data`, and beside them `version`,
/// `metadata`, `event_id`, `commit_id`, `recorded_at` and `position` (the optional ones only where
/// there is a value).
///
/// ```
/// use seriatim::{Append, EventStore, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = EventStore::open("memory:").await?;
/// let opened = NewEvent::raw("Opened", r#"{"owner":"Ada"}"#).metadata_field("user", "ada");
/// store.append(Append::to("account/1").event(opened)).await?;
///
/// let event = store.read("account/1").collect().await?.remove(0);
/// assert_eq!((event.key.category(), event.sequence.get()), ("account", 1));
/// let data: serde_json::Value = event.json()?;
/// assert_eq!(data["owner"], "Ada");
/// assert!(serde_json::to_string(&event)?.contains(r#""type":"Opened""#));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeyedEvent {
    /// The aggregate it belongs to.
    pub key: AggregateKey,
    /// Its number within the aggregate.
    pub sequence: Sequence,
    #[serde(rename = "type")]
    pub(super) event_type: SmolStr,
    /// What happened, as the JSON text that was written.
    pub data: RawJson,
    /// The version of the data's schema.
    #[serde(default = "first_version")]
    pub version: u16,
    /// A JSON object from the caller, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<RawJson>,
    #[serde(default, rename = "event_id", skip_serializing_if = "Option::is_none")]
    pub(super) explicit_event_id: Option<Uuid>,
    /// The id of the append that wrote it. All events of one append share it.
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

    /// The event's id: the one that its writer set, or one derived from commit id, key and
    /// sequence. It is the same at every read.
    pub fn event_id(&self) -> Uuid {
        self.explicit_event_id.unwrap_or_else(|| {
            let name = format!("{}#{}", self.key, self.sequence);
            Uuid::new_v5(&self.commit_id, name.as_bytes())
        })
    }

    /// Type and schema version, by which upcasters are found.
    pub(crate) fn form(&self) -> (SmolStr, u16) {
        (self.event_type.clone(), self.version)
    }

    pub(crate) fn become_form(
        &mut self,
        version: u16,
        event_type: Option<SmolStr>,
        data: Option<RawJson>,
    ) {
        self.version = version;
        if let Some(data) = data {
            self.data = data;
        }
        if let Some(event_type) = event_type {
            self.event_type = event_type;
        }
    }

    /// The bytes that count against a driver's limits: key, type, data and metadata.
    pub fn size_bytes(&self) -> usize {
        size_bytes(&self.key, &self.event_type, &self.data, self.metadata.as_ref())
    }
}

pub(super) fn size_bytes(
    key: &AggregateKey,
    event_type: &str,
    data: &RawJson,
    metadata: Option<&RawJson>,
) -> usize {
    key.as_str().len() + event_type.len() + data.len() + metadata.map_or(0, RawJson::len)
}
