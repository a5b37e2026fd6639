//! The frame: what one write and one flush of the journal make durable.
//!
//! A frame holds the events of all puts of one group, and the checkpoints saved beside them, and is
//! there whole or not at all, which the checksum tells. It begins on a 512-byte bound and is padded
//! to one; numbers are little-endian:
//!
//! ```text
//! magic 4 bytes · version u16 (2) · back u16 · store id 16 bytes · epoch u64 · first position u64
//! · number u64 · events u32 · body length u32 · checksum u64 · body
//! body: first the events, then the checkpoints
//!   event:      kind u8 (1) · version u8 (1) · length u32 · key length u16 · key · sequence u64
//!               · record
//!   checkpoint: kind u8 (2) · version u8 (1) · length u32 · name length u16 · name · bytes
//! ```
//!
//! Frames of an epoch are numbered 1, 2, 3 …, because one that holds checkpoints only takes no
//! position. `back` says how many frames before this one the last frame stands that was known to be
//! durable when this one was written; 0: not known. It tells loss from damage: where a frame is
//! missing and a later one says it had been flushed, the disk lost what it had confirmed. The magic
//! holds bytes that no JSON and no key can have, so that no event's content passes for a frame.
//!
//! Frames of version 1 have events only. They have no number, are told apart by their positions,
//! and say in its place the last position known to be durable.

use bytes::Bytes;
use twox_hash::XxHash3_64;
use uuid::Uuid;

use crate::driver::redb::apply::checkpoints::Checkpoint;
use crate::driver::redb::format::codec::Reader;
use crate::driver::redb::journal::frame_entry::{
    CHECKPOINT_VERSION, Decoded, EVENT_VERSION, KIND_CHECKPOINT, KIND_EVENT, checkpoint_bytes,
    decode_entry, entry_bytes,
};
use crate::driver::redb::journal::frame_events::FrameEvents;
use crate::event::{KeyedEvent, Timestamp};

/// Frames begin on multiples of this many bytes: what a disk writes whole.
pub(in crate::driver::redb) const ALIGN: u64 = 512;
pub(in crate::driver::redb) const HEADER_BYTES: usize = 64;

const MAGIC: [u8; 4] = [0xfe, b'S', b'J', 0x00];
const VERSION: u16 = 2;
const NUMBERED_BY_POSITION: u16 = 1;
/// The bytes a frame with a body of this length takes in a file.
pub(in crate::driver::redb) fn frame_bytes(body: usize) -> u64 {
    ((HEADER_BYTES + body) as u64).next_multiple_of(ALIGN)
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver::redb) struct Header {
    pub(in crate::driver::redb) store: Uuid,
    pub(in crate::driver::redb) epoch: u64,
    pub(in crate::driver::redb) first_position: u64,
    pub(in crate::driver::redb) events: u32,
    pub(in crate::driver::redb) body_bytes: u32,
    version: u16,
    back: u16,
    /// The frame's number; in version 1 the last position known to be durable.
    number: u64,
    checksum: u64,
}

/// What the next frame must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver::redb) struct ExpectedFrame {
    pub(in crate::driver::redb) position: u64,
    pub(in crate::driver::redb) number: u64,
}

/// A frame being made.
#[derive(Default)]
pub(in crate::driver::redb) struct FrameBuilder {
    buffer: Vec<u8>,
    /// Where in `buffer` each event begins.
    starts: Vec<u32>,
}

impl FrameBuilder {
    /// Begins a frame whose body will have so many bytes.
    pub(in crate::driver::redb) fn begin(&mut self, body_bytes: usize) {
        self.buffer.clear();
        self.buffer.reserve_exact(frame_bytes(body_bytes) as usize);
        self.buffer.resize(HEADER_BYTES, 0);
        self.starts.clear();
    }

    /// How many events it has so far.
    pub(in crate::driver::redb) fn events(&self) -> u32 {
        self.starts.len() as u32
    }

    pub(in crate::driver::redb) fn push(&mut self, event: &KeyedEvent, recorded_at: Timestamp) {
        let key = event.key.as_str().as_bytes();
        let length = entry_bytes(event) - 6;
        self.starts.push(self.buffer.len() as u32);
        self.buffer.extend_from_slice(&[KIND_EVENT, EVENT_VERSION]);
        self.buffer.extend_from_slice(&(length as u32).to_le_bytes());
        self.buffer.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(&event.sequence.get().to_le_bytes());
        event.encode_record_at(recorded_at, &mut self.buffer);
    }

    /// Behind the events.
    pub(in crate::driver::redb) fn push_checkpoint(&mut self, checkpoint: &Checkpoint) {
        let length = checkpoint_bytes(checkpoint) - 6;
        self.buffer.extend_from_slice(&[KIND_CHECKPOINT, CHECKPOINT_VERSION]);
        self.buffer.extend_from_slice(&(length as u32).to_le_bytes());
        self.buffer.extend_from_slice(&(checkpoint.name.len() as u16).to_le_bytes());
        self.buffer.extend_from_slice(checkpoint.name.as_bytes());
        self.buffer.extend_from_slice(&checkpoint.bytes);
    }

    /// The frame, padded. The frame numbered `flushed` is the last known to be durable.
    pub(in crate::driver::redb) fn finish(
        &mut self,
        store: Uuid,
        epoch: u64,
        next: ExpectedFrame,
        flushed: u64,
    ) -> &[u8] {
        let back = u16::try_from(next.number.saturating_sub(flushed)).unwrap_or(0);
        let body = (self.buffer.len() - HEADER_BYTES) as u32;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&back.to_le_bytes());
        header.extend_from_slice(store.as_bytes());
        header.extend_from_slice(&epoch.to_le_bytes());
        header.extend_from_slice(&next.position.to_le_bytes());
        header.extend_from_slice(&next.number.to_le_bytes());
        header.extend_from_slice(&self.events().to_le_bytes());
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

    /// The finished frame's events, of which the first has this position. The frame is gone from
    /// here.
    pub(in crate::driver::redb) fn take(&mut self, first_position: u64) -> FrameEvents {
        let (bytes, starts) = (std::mem::take(&mut self.buffer), std::mem::take(&mut self.starts));
        FrameEvents::new(first_position, bytes, starts)
    }
}

fn checksum(header: &[u8], body: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(header), body)
}

impl Header {
    /// The header in these bytes, if they are one's. Its content is believed only when
    /// [`Header::checks`] has seen the body too.
    pub(in crate::driver::redb) fn read(bytes: &[u8]) -> Option<Header> {
        let mut reader = Reader(bytes);
        if reader.array()? != MAGIC {
            return None;
        }
        let (version, back) = (reader.u16()?, reader.u16()?);
        if version != VERSION && (version, back) != (NUMBERED_BY_POSITION, 0) {
            return None;
        }
        Some(Header {
            version,
            back,
            store: Uuid::from_bytes(reader.array()?),
            epoch: reader.u64()?,
            first_position: reader.u64()?,
            number: reader.u64()?,
            events: reader.u32()?,
            body_bytes: reader.u32()?,
            checksum: reader.u64()?,
        })
    }

    /// Whether this is the frame looked for.
    pub(in crate::driver::redb) fn is(&self, next: ExpectedFrame) -> bool {
        let numbered = self.version == NUMBERED_BY_POSITION || self.number == next.number;
        numbered && self.first_position == next.position
    }

    /// Whether this is a later frame than the one looked for, and says that that one had been
    /// flushed.
    pub(in crate::driver::redb) fn proves_flushed(&self, next: ExpectedFrame) -> bool {
        if self.version == NUMBERED_BY_POSITION {
            return self.first_position > next.position && self.number >= next.position;
        }
        let flushed = self.number.saturating_sub(u64::from(self.back));
        self.number > next.number && self.back > 0 && flushed >= next.number
    }

    /// What follows this frame, which was looked for as `next`.
    pub(in crate::driver::redb) fn behind(&self, next: ExpectedFrame) -> ExpectedFrame {
        ExpectedFrame {
            position: self.first_position.saturating_add(u64::from(self.events)),
            number: next.number + 1,
        }
    }

    /// Whether this frame is whole: `header` are the bytes it was read from.
    pub(in crate::driver::redb) fn checks(&self, header: &[u8], body: &[u8]) -> bool {
        let Some(covered) = header.get(..HEADER_BYTES - 8) else { return false };
        body.len() == self.body_bytes as usize && checksum(covered, body) == self.checksum
    }

    /// The bytes the frame takes in its file.
    pub(in crate::driver::redb) fn frame_bytes(&self) -> u64 {
        frame_bytes(self.body_bytes as usize)
    }
}

/// What a frame holds.
#[derive(Debug, Default)]
pub(in crate::driver::redb) struct Content {
    pub(in crate::driver::redb) events: FrameEvents,
    /// The latest recorded-at of its events.
    pub(in crate::driver::redb) latest_time: Option<Timestamp>,
    pub(in crate::driver::redb) checkpoints: Vec<Checkpoint>,
}

/// The content of a frame whose checksum was right. What cannot be read then was written by a later
/// version, and the message says so.
pub(in crate::driver::redb) fn decode(header: &Header, body: Bytes) -> Result<Content, String> {
    if header.first_position.checked_add(u64::from(header.events)).is_none() {
        return Err(format!("the journal at position {}: no position follows", u64::MAX));
    }
    let mut starts = Vec::new();
    let mut latest_time = None;
    let mut checkpoints = Vec::new();
    let mut reader = Reader(&body);
    while !reader.0.is_empty() || starts.len() < header.events as usize {
        let position = header.first_position.saturating_add(starts.len() as u64);
        let start = body.len() - reader.0.len();
        let entry = decode_entry(&mut reader, &body)
            .map_err(|what| format!("the journal at position {position}: {what}"))?;
        match entry {
            Decoded::Event(event) if starts.len() < header.events as usize => {
                latest_time = latest_time.max(Some(event.recorded_at));
                starts.push(start as u32);
            }
            Decoded::Checkpoint(checkpoint) if starts.len() == header.events as usize => {
                checkpoints.push(checkpoint);
            }
            _ => return Err(format!("the journal at position {position}: entries out of order")),
        }
    }
    let events = FrameEvents::new(header.first_position, body.into(), starts);
    Ok(Content { events, latest_time, checkpoints })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::driver::redb::samples::{any_events, placed};
    use proptest::prelude::*;

    fn frame(events: &[KeyedEvent]) -> Vec<u8> {
        let mut builder = FrameBuilder::default();
        builder.begin(0);
        for event in events {
            builder.push(event, event.recorded_at);
        }
        builder.push_checkpoint(&checkpoint());
        builder.finish(Uuid::nil(), 3, NEXT, 4).to_vec()
    }

    const NEXT: ExpectedFrame = ExpectedFrame { position: 17, number: 5 };

    fn checkpoint() -> Checkpoint {
        Checkpoint { name: "mailer".into(), bytes: Bytes::from_static(b"\x01\x02") }
    }

    #[test]
    fn a_frame_of_checkpoints_takes_no_position_but_a_number() {
        let header = Header::read(&frame(&[])).unwrap();
        assert!(header.is(NEXT));
        let next = header.behind(NEXT);
        assert_eq!(next, ExpectedFrame { position: 17, number: 6 });
        assert!(!header.is(next));
        assert!(header.proves_flushed(ExpectedFrame { position: 17, number: 4 }));
        assert!(header.proves_flushed(ExpectedFrame { position: 17, number: 3 }));
        assert!(!header.proves_flushed(NEXT));
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
            let content = decode(&header, body).unwrap();
            let read: Vec<_> = (17..content.events.next_position())
                .map(|position| content.events.event_at(position).unwrap())
                .collect();
            prop_assert_eq!(read, placed(&events, 17));
            prop_assert_eq!(content.checkpoints, vec![checkpoint()]);
            prop_assert_eq!(content.latest_time, events.iter().map(|e| e.recorded_at).max());
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
                let _ = decode(&header, Bytes::from(bytes));
            }
        }
    }
}
