//! Events as the page gets them.
//!
//! Data goes out as a string that holds the JSON text, never as JSON inside of the answer: a browser
//! would change its numbers. Long text is cut; the whole is a request of its own.

use serde::Serialize;
use seriatim::{KeyedEvent, Position, RawJson, Sequence, Timestamp};
use uuid::Uuid;

use crate::changes::Changes;
use crate::text::beginning;

/// Of an event in a list.
pub(crate) const LIST_BYTES: usize = 512;
/// Of an event in a history.
pub(crate) const HISTORY_BYTES: usize = 16 << 10;
pub(crate) const WHOLE: usize = usize::MAX;

/// The beginning of a JSON text.
#[derive(Debug, Serialize)]
pub(crate) struct Preview {
    pub(crate) text: String,
    /// Of the whole text.
    pub(crate) bytes: usize,
}

impl Preview {
    pub(crate) fn of(text: &str, most: usize) -> Self {
        Preview { text: beginning(text, most).to_owned(), bytes: text.len() }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct ShownEvent {
    pub(crate) key: String,
    pub(crate) sequence: Sequence,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<Position>,
    #[serde(rename = "type")]
    pub(crate) event_type: String,
    pub(crate) version: u16,
    pub(crate) recorded_at: Timestamp,
    pub(crate) event_id: Uuid,
    pub(crate) commit_id: Uuid,
    pub(crate) data: Preview,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Preview>,
    /// How the data differs from that of the aggregate's event before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) changes: Option<Changes>,
    /// The entity's state after the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<ShownState>,
}

/// A state, and what the event changed in it; or why it is not known.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum ShownState {
    Known { json: Preview, changes: Changes },
    Unknown { error: String },
}

impl ShownEvent {
    /// The event, with no more than so many bytes of its data and of its metadata.
    pub(crate) fn of(event: &KeyedEvent, most: usize) -> Self {
        let preview = |json: &RawJson| Preview::of(json.as_str(), most);
        ShownEvent {
            key: event.key.as_str().to_owned(),
            sequence: event.sequence,
            position: event.position,
            event_type: event.event_type().to_owned(),
            version: event.version,
            recorded_at: event.recorded_at,
            event_id: event.event_id(),
            commit_id: event.commit_id,
            data: preview(&event.data),
            metadata: event.metadata.as_ref().map(preview),
            changes: None,
            state: None,
        }
    }
}
