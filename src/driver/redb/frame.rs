//! The frame: what one write and one flush of the journal make durable.
//!
//! A frame holds the events of all puts of one group and is there whole or not at all, which the
//! checksum tells. It begins on a 512-byte bound and is padded to one; numbers are little-endian:
//!
//! ```text
//! magic 4 bytes · version u16 (1) · zero u16 · store id 16 bytes · epoch u64 · first position u64
//! · flushed u64 · events u32 · body length u32 · checksum u64 · body
//! body: per event: kind u8 (1) · version u8 (1) · length u32 · key length u16 · key · sequence u64 · record
//! ```
//!
//! `flushed` is the last position known to be durable when the frame was written. It tells loss from
//! damage: where a position is missing and a later frame says it had been flushed, the disk lost what it
//! had confirmed. The magic holds bytes that no JSON and no key can have, so that no event's content
//! passes for a frame.

use bytes::Bytes;
use twox_hash::XxHash3_64;
use uuid::Uuid;

use super::codec::Reader;
use crate::event::{AggregateKey, KeyedEvent, Position, Sequence, Timestamp};

/// Frames begin on multiples of this many bytes: what a disk writes whole.
pub(super) const ALIGN: u64 = 512;
pub(super) const HEADER_BYTES: usize = 64;

const MAGIC: [u8; 4] = [0xfe, b'S', b'J', 0x00];
const VERSION: u16 = 1;
const KIND_EVENT: u8 = 1;
const EVENT_VERSION: u8 = 1;
/// What an event takes in a frame beside its key and its record.
const ENTRY_BYTES: usize = 6 + 2 + 8;

/// The bytes an event takes in a frame.
pub(super) fn entry_bytes(event: &KeyedEvent) -> usize {
    ENTRY_BYTES + event.key.as_str().len() + event.record_bytes()
}

/// The bytes a frame with a body of this length takes in a file.
pub(super) fn frame_bytes(body: usize) -> u64 {
    ((HEADER_BYTES + body) as u64).next_multiple_of(ALIGN)
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) store: Uuid,
    pub(super) epoch: u64,
    pub(super) first_position: u64,
    pub(super) flushed: u64,
    pub(super) events: u32,
    pub(super) body_bytes: u32,
    checksum: u64,
}

/// A frame being made, in a buffer that is used again for the next.
#[derive(Default)]
pub(super) struct Builder {
    buffer: Vec<u8>,
    events: u32,
}

impl Builder {
    pub(super) fn begin(&mut self) {
        self.buffer.clear();
        self.buffer.resize(HEADER_BYTES, 0);
        self.events = 0;
    }

    pub(super) fn events(&self) -> u32 {
        self.events
    }

    pub(super) fn push(&mut self, event: &KeyedEvent, recorded_at: Timestamp) {
        let key = event.key.as_str().as_bytes();
        let length = entry_bytes(event) - 6;
        self.buffer.extend_from_slice(&[KIND_EVENT, EVENT_VERSION]);
        self.buffer.extend_from_slice(&(length as u32).to_le_bytes());
        self.buffer.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(&event.sequence.get().to_le_bytes());
        event.encode_record_at(recorded_at, &mut self.buffer);
        self.events += 1;
    }

    /// The frame, padded.
    pub(super) fn finish(
        &mut self,
        store: Uuid,
        epoch: u64,
        first_position: u64,
        flushed: u64,
    ) -> &[u8] {
        let body = (self.buffer.len() - HEADER_BYTES) as u32;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&[0, 0]);
        header.extend_from_slice(store.as_bytes());
        header.extend_from_slice(&epoch.to_le_bytes());
        header.extend_from_slice(&first_position.to_le_bytes());
        header.extend_from_slice(&flushed.to_le_bytes());
        header.extend_from_slice(&self.events.to_le_bytes());
        header.extend_from_slice(&body.to_le_bytes());
        let checksum = checksum(&header, self.buffer.get(HEADER_BYTES..).unwrap_or_default());
        header.extend_from_slice(&checksum.to_le_bytes());
        if let Some(place) = self.buffer.get_mut(..HEADER_BYTES) {
            place.copy_from_slice(&header);
        }
        let padded = self.buffer.len().next_multiple_of(ALIGN as usize);
        self.buffer.resize(padded, 0);
        &self.buffer
    }
}

fn checksum(header: &[u8], body: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(header), body)
}

impl Header {
    /// The header in these bytes, if they are one's. Its content is believed only when
    /// [`Header::checks`] has seen the body too.
    pub(super) fn read(bytes: &[u8]) -> Option<Header> {
        let mut reader = Reader(bytes);
        if reader.array()? != MAGIC || reader.u16()? != VERSION || reader.u16()? != 0 {
            return None;
        }
        Some(Header {
            store: Uuid::from_bytes(reader.array()?),
            epoch: reader.u64()?,
            first_position: reader.u64()?,
            flushed: reader.u64()?,
            events: reader.u32()?,
            body_bytes: reader.u32()?,
            checksum: reader.u64()?,
        })
    }

    /// Whether this frame is whole: `header` are the bytes it was read from.
    pub(super) fn checks(&self, header: &[u8], body: &[u8]) -> bool {
        let Some(covered) = header.get(..HEADER_BYTES - 8) else { return false };
        body.len() == self.body_bytes as usize && checksum(covered, body) == self.checksum
    }

    /// The bytes the frame takes in its file.
    pub(super) fn frame_bytes(&self) -> u64 {
        frame_bytes(self.body_bytes as usize)
    }

    /// The position behind the frame's last event.
    pub(super) fn next_position(&self) -> u64 {
        self.first_position.saturating_add(u64::from(self.events))
    }
}

/// The events of a frame whose checksum was right. What cannot be read then was written by a later
/// version, and the message says so.
pub(super) fn decode(header: &Header, body: &Bytes) -> Result<Vec<KeyedEvent>, String> {
    let mut events = Vec::new();
    let mut reader = Reader(body);
    for number in 0..u64::from(header.events) {
        let position = header.first_position + number;
        let mut event = decode_entry(&mut reader, body)
            .map_err(|what| format!("the journal at position {position}: {what}"))?;
        event.position = Some(Position::new(position));
        events.push(event);
    }
    Ok(events)
}

fn decode_entry(reader: &mut Reader<'_>, body: &Bytes) -> Result<KeyedEvent, String> {
    const SHORT: &str = "the entry ends too early";
    let (kind, version) = (reader.u8().ok_or(SHORT)?, reader.u8().ok_or(SHORT)?);
    if (kind, version) != (KIND_EVENT, EVENT_VERSION) {
        return Err(format!("an entry of kind {kind}, version {version}, is not known"));
    }
    let length = reader.u32().ok_or(SHORT)?;
    let mut entry = Reader(reader.bytes(length as usize).ok_or(SHORT)?);
    let key_bytes = entry.u16().ok_or(SHORT)?;
    let key = entry.bytes(usize::from(key_bytes)).ok_or(SHORT)?;
    let key = std::str::from_utf8(key).map_err(|e| e.to_string())?;
    let key = AggregateKey::new(key).map_err(|e| e.to_string())?;
    let sequence = Sequence::new(entry.u64().ok_or(SHORT)?);
    KeyedEvent::decode_record(key, sequence, body.slice_ref(entry.0)).map_err(|e| e.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::driver::redb::samples::{any_events, placed};
    use proptest::prelude::*;

    fn frame(events: &[KeyedEvent]) -> Vec<u8> {
        let mut builder = Builder::default();
        builder.begin();
        for event in events {
            builder.push(event, event.recorded_at);
        }
        builder.finish(Uuid::nil(), 3, 17, 16).to_vec()
    }

    proptest! {
        #[test]
        fn a_frame_reads_back(events in any_events()) {
            let bytes = frame(&events);
            prop_assert_eq!(bytes.len() as u64 % ALIGN, 0);
            let header = Header::read(&bytes).unwrap();
            let body = Bytes::copy_from_slice(&bytes[HEADER_BYTES..][..header.body_bytes as usize]);
            prop_assert!(header.checks(&bytes, &body));
            prop_assert_eq!(header.frame_bytes(), bytes.len() as u64);
            prop_assert_eq!(decode(&header, &body).unwrap(), placed(&events, 17));
        }

        #[test]
        fn one_wrong_bit_is_seen(events in any_events(), at: prop::sample::Index, bit in 0..8u8) {
            let mut bytes = frame(&events);
            let end = HEADER_BYTES + Header::read(&bytes).unwrap().body_bytes as usize;
            bytes[at.index(end)] ^= 1 << bit;
            let sound = Header::read(&bytes).is_some_and(|header| {
                bytes.get(HEADER_BYTES..HEADER_BYTES + header.body_bytes as usize)
                    .is_some_and(|body| header.checks(&bytes, body))
            });
            prop_assert!(!sound);
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>) {
            if let Some(header) = Header::read(&bytes) {
                let _ = decode(&header, &Bytes::from(bytes));
            }
        }
    }
}
