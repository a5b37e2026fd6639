//! Events that passed the checks of an append, and their payload before the check.

use bytes::Bytes;
use serde::Serialize;
use smallvec::SmallVec;
use smol_str::SmolStr;
use uuid::Uuid;

use super::keyed_event::{KeyedEvent, size_bytes};
use super::{AggregateKey, RawJson, RawJsonError, Sequence, Timestamp};

#[derive(Clone, Debug)]
pub(super) enum Payload {
    Checked(RawJson),
    Unchecked(Bytes),
    Failed(RawJsonError),
}

impl Payload {
    pub(super) fn serialized<T: Serialize + ?Sized>(value: &T) -> Self {
        match RawJson::serialize(value) {
            Ok(json) => Payload::Checked(json),
            Err(error) => Payload::Failed(error),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Payload::Checked(json) => json.len(),
            Payload::Unchecked(bytes) => bytes.len(),
            Payload::Failed(_) => 0,
        }
    }

    /// As it is now, checked or not.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Payload::Checked(json) => Some(json.as_str().as_bytes()),
            Payload::Unchecked(bytes) => Some(bytes),
            Payload::Failed(_) => None,
        }
    }

    pub(super) fn check(self) -> Result<RawJson, RawJsonError> {
        match self {
            Payload::Checked(json) => Ok(json),
            Payload::Unchecked(bytes) => RawJson::parse(bytes),
            Payload::Failed(error) => Err(error),
        }
    }
}

/// A [`NewEvent`](super::NewEvent) that can be stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CheckedEvent {
    pub(crate) event_type: SmolStr,
    pub(crate) data: RawJson,
    pub(crate) version: u16,
    pub(crate) metadata: Option<RawJson>,
    pub(crate) event_id: Option<Uuid>,
}

/// The events of an append. Most appends have one event, which is stored inline: memory that one
/// thread allocates and another frees makes both contend for the allocator.
pub(crate) type CheckedEvents = SmallVec<[CheckedEvent; 1]>;

impl CheckedEvent {
    pub(crate) fn size_bytes(&self, key: &AggregateKey) -> usize {
        size_bytes(key, &self.event_type, &self.data, self.metadata.as_ref())
    }

    pub(crate) fn place(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
        commit_id: Uuid,
        recorded_at: Timestamp,
    ) -> KeyedEvent {
        KeyedEvent {
            key: key.clone(),
            sequence,
            event_type: self.event_type.clone(),
            data: self.data.clone(),
            version: self.version,
            metadata: self.metadata.clone(),
            explicit_event_id: self.event_id,
            commit_id,
            attempt: None,
            recorded_at,
            position: None,
        }
    }

    /// Whether `stored` has the same content, whatever its sequence and time.
    pub(crate) fn same_content(&self, stored: &KeyedEvent) -> bool {
        self.event_type == stored.event_type
            && self.version == stored.version
            && self.data == stored.data
            && self.metadata == stored.metadata
            && self.event_id == stored.explicit_event_id
    }
}
