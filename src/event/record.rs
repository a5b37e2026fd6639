//! The stored form of an event: everything but its key and its sequence, which are its address.
//!
//! One record, little-endian:
//!
//! ```text
//! kind u8 (1 = event) · version u8 (1 or 2) · flags u8 · schema version u16 · commit id 16 bytes
//! · recorded-at i64 · [event id 16 bytes] · [attempt u64] · type length u16 · type
//! · [metadata length u32 · metadata] · data
//! ```
//!
//! Flags: 1 an event id, 2 metadata, 4 (version 2 only) an attempt. A record without an attempt has
//! version 1, which the first version of this crate reads too. Other flags are refused.
//!
//! Every record begins with a kind and a version, so that later kinds (an erased event, a closed
//! aggregate) can be added without a change to stored records.

use bytes::{Buf, BufMut, Bytes};
use smol_str::SmolStr;
use uuid::Uuid;

use super::{AggregateKey, KeyedEvent, RawJson, Sequence, Timestamp};

const KIND_EVENT: u8 = 1;
const VERSION: u8 = 1;
const VERSION_WITH_ATTEMPT: u8 = 2;
const HAS_EVENT_ID: u8 = 1;
const HAS_METADATA: u8 = 2;
/// The call that wrote an event whose commit id came from the caller.
const HAS_ATTEMPT: u8 = 4;

/// Stored bytes that this version cannot read as an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The record ends too early, or its content contradicts its fields.
    #[error("the record is damaged: {0}")]
    Damaged(&'static str),
    /// The record was written by a later version of this crate.
    #[error("the record has kind {kind}, version {version}, which this version does not know")]
    Unknown {
        /// The record's kind.
        kind: u8,
        /// The version of that kind.
        version: u8,
    },
}

impl KeyedEvent {
    /// Appends the event's stored form to `out`; key, sequence and position are not part of it.
    ///
    /// For drivers that keep an event as bytes.
    pub fn encode_record(&self, out: &mut Vec<u8>) {
        self.encode_record_at(self.recorded_at, out);
    }

    /// The stored form with another time. A put is frozen, but recorded-at must never decrease
    /// along positions, so a driver with a log may store a later time.
    pub(crate) fn encode_record_at(&self, recorded_at: Timestamp, out: &mut Vec<u8>) {
        out.reserve(self.record_bytes());
        let flags = if self.explicit_event_id.is_some() { HAS_EVENT_ID } else { 0 }
            | if self.metadata.is_some() { HAS_METADATA } else { 0 }
            | if self.attempt.is_some() { HAS_ATTEMPT } else { 0 };
        let version = if self.attempt.is_some() { VERSION_WITH_ATTEMPT } else { VERSION };
        out.extend_from_slice(&[KIND_EVENT, version, flags]);
        out.put_u16_le(self.version);
        out.extend_from_slice(self.commit_id.as_bytes());
        out.put_i64_le(recorded_at.as_micros());
        if let Some(id) = self.explicit_event_id {
            out.extend_from_slice(id.as_bytes());
        }
        if let Some(attempt) = self.attempt {
            out.put_u64_le(attempt);
        }
        // The casts are exact: a type has at most 256 bytes, and no driver takes 4 GiB of metadata.
        out.put_u16_le(self.event_type.len() as u16);
        out.extend_from_slice(self.event_type.as_bytes());
        if let Some(metadata) = &self.metadata {
            out.put_u32_le(metadata.len() as u32);
            out.extend_from_slice(metadata.as_bytes());
        }
        out.extend_from_slice(self.data.as_bytes());
    }

    /// The length of the stored form, in bytes.
    pub fn record_bytes(&self) -> usize {
        3 + 2
            + 16
            + 8
            + self.explicit_event_id.map_or(0, |_| 16)
            + self.attempt.map_or(0, |_| 8)
            + 2
            + self.event_type.len()
            + self.metadata.as_ref().map_or(0, |m| 4 + m.len())
            + self.data.len()
    }

    /// The event from its stored form. The data shares `record`'s memory.
    ///
    /// # Errors
    ///
    /// [`RecordError`] when the bytes are damaged or of a later version.
    pub fn decode_record(
        key: AggregateKey,
        sequence: Sequence,
        mut record: Bytes,
    ) -> Result<Self, RecordError> {
        let mut fields = Fields { record: &record, at: 0 };
        let [kind, version, flags] = fields.array()?;
        let known_flags = match (kind, version) {
            (KIND_EVENT, VERSION) => HAS_EVENT_ID | HAS_METADATA,
            (KIND_EVENT, VERSION_WITH_ATTEMPT) => HAS_EVENT_ID | HAS_METADATA | HAS_ATTEMPT,
            _ => return Err(RecordError::Unknown { kind, version }),
        };
        if flags & !known_flags != 0 {
            return Err(RecordError::Damaged("it has flags that its version does not know"));
        }
        let schema_version = u16::from_le_bytes(fields.array()?);
        let commit_id = Uuid::from_bytes(fields.array()?);
        let recorded_at = Timestamp::from_micros(i64::from_le_bytes(fields.array()?));
        let explicit_event_id = match flags & HAS_EVENT_ID {
            0 => None,
            _ => Some(Uuid::from_bytes(fields.array()?)),
        };
        let attempt = match flags & HAS_ATTEMPT {
            0 => None,
            _ => Some(u64::from_le_bytes(fields.array()?)),
        };
        let type_len = u16::from_le_bytes(fields.array()?);
        let event_type = std::str::from_utf8(fields.bytes(usize::from(type_len))?)
            .map(SmolStr::new)
            .map_err(|_| RecordError::Damaged("the type is not UTF-8"))?;
        let metadata = match flags & HAS_METADATA {
            0 => None,
            _ => {
                let len = u32::from_le_bytes(fields.array()?) as usize;
                let start = fields.at;
                fields.bytes(len)?;
                Some(RawJson::trusted(record.slice(start..start + len)))
            }
        };
        let data = fields.at;
        if data == record.len() {
            return Err(RecordError::Damaged("it has no data"));
        }
        // The record becomes the data: a slice would cost two reference counts more.
        record.advance(data);
        Ok(KeyedEvent {
            key,
            sequence,
            event_type,
            data: RawJson::trusted(record),
            version: schema_version,
            metadata,
            explicit_event_id,
            commit_id,
            attempt,
            recorded_at,
            position: None,
        })
    }
}

/// A cursor over a record.
struct Fields<'a> {
    record: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let end = self.at.saturating_add(len);
        let bytes =
            self.record.get(self.at..end).ok_or(RecordError::Damaged("it ends too early"))?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        self.bytes(N)?.try_into().map_err(|_| RecordError::Damaged("it ends too early"))
    }
}
