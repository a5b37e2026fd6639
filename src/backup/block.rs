//! Events side by side in a file of a backup: the block, the unit that has a checksum.
//!
//! ```text
//! block: body length u32 · events u32 · first position u64 · checksum u64 · body
//! body:  of each event: key length u16 · key · sequence u64 · record length u32 · record
//! ```
//!
//! The checksum covers the header's other fields and the body. The record is the one that drivers
//! keep, so an event comes back byte for byte.

use bytes::{Buf, BufMut, Bytes};
use twox_hash::XxHash3_64;

use crate::event::{AggregateKey, KeyedEvent, Position, Sequence};

pub(super) const HEADER_BYTES: usize = 24;
/// A block ends behind the event that fills it.
const FULL_BYTES: usize = 1 << 20;

/// A block being made.
#[derive(Default)]
pub(super) struct BlockBuilder {
    first: Option<Position>,
    events: u32,
    body: Vec<u8>,
}

impl BlockBuilder {
    /// Adds the event at this position, which is the one behind the last. Answers the event's
    /// digest.
    pub(super) fn push(&mut self, position: Position, event: &KeyedEvent) -> u64 {
        self.first.get_or_insert(position);
        let begin = self.body.len();
        put_event(event, &mut self.body);
        self.events += 1;
        XxHash3_64::oneshot(self.body.get(begin..).unwrap_or_default())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.body.len() as u64
    }

    pub(super) fn is_full(&self) -> bool {
        self.body.len() >= FULL_BYTES
    }

    /// Appends the block to `out` and begins another one. Nothing where there is no event.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        let Some(first) = self.first.take() else { return };
        let header = out.len();
        // The cast is exact: a block is full at 1 MiB, and no driver takes an event of 4 GiB.
        out.put_u32_le(self.body.len() as u32);
        out.put_u32_le(self.events);
        out.put_u64_le(first.get());
        let sum = checksum(out.get(header..).unwrap_or_default(), &self.body);
        out.put_u64_le(sum);
        out.extend_from_slice(&self.body);
        self.body.clear();
        self.events = 0;
    }
}

/// What tells an event from every other: a checksum of all that is stored of it.
pub(super) fn digest(event: &KeyedEvent) -> u64 {
    let mut bytes = Vec::new();
    put_event(event, &mut bytes);
    XxHash3_64::oneshot(&bytes)
}

/// Whether these adjacent events are of one append, which is never torn.
pub(super) fn is_same_append(a: &KeyedEvent, b: &KeyedEvent) -> bool {
    a.commit_id == b.commit_id && a.key == b.key
}

fn put_event(event: &KeyedEvent, out: &mut Vec<u8>) {
    // The casts are exact: a key has at most 512 bytes, a record less than 4 GiB.
    out.put_u16_le(event.key.as_str().len() as u16);
    out.extend_from_slice(event.key.as_str().as_bytes());
    out.put_u64_le(event.sequence.get());
    out.put_u32_le(event.record_bytes() as u32);
    event.encode_record(out);
}

pub(super) fn checksum(header: &[u8], body: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(header), body)
}

/// The first fields of a block.
#[derive(Clone, Copy)]
pub(super) struct BlockHeader {
    pub(super) body_bytes: usize,
    pub(super) events: u32,
    pub(super) first: Position,
    covered: [u8; HEADER_BYTES - 8],
    checksum: u64,
}

impl BlockHeader {
    pub(super) fn read(bytes: &[u8; HEADER_BYTES]) -> Self {
        let mut fields = &bytes[..];
        let mut covered = [0; HEADER_BYTES - 8];
        covered.copy_from_slice(&bytes[..HEADER_BYTES - 8]);
        BlockHeader {
            body_bytes: fields.get_u32_le() as usize,
            events: fields.get_u32_le(),
            first: Position::new(fields.get_u64_le()),
            covered,
            checksum: fields.get_u64_le(),
        }
    }

    /// The events of the block with this body, or what is wrong with it.
    pub(super) fn events(&self, mut body: Bytes) -> Result<Vec<KeyedEvent>, String> {
        if checksum(&self.covered, &body) != self.checksum {
            return Err("the checksum is wrong".to_owned());
        }
        if self.first.get().checked_add(self.events.into()).is_none() {
            return Err("it goes beyond the last position".to_owned());
        }
        let mut events = Vec::new();
        for index in 0..self.events {
            let mut event = take_event(&mut body)?;
            event.position = Some(self.first.plus(index.into()));
            events.push(event);
        }
        if body.is_empty() { Ok(events) } else { Err("it has more than its events".to_owned()) }
    }
}

fn take_event(body: &mut Bytes) -> Result<KeyedEvent, String> {
    let short = |_| "it ends too early".to_owned();
    let take = |body: &mut Bytes, bytes: usize| match bytes <= body.len() {
        true => Ok(body.split_to(bytes)),
        false => Err("it ends too early".to_owned()),
    };
    let key_bytes = body.try_get_u16_le().map_err(short)?;
    let key = take(body, key_bytes.into())?;
    let key = std::str::from_utf8(&key).map_err(|e| e.to_string())?;
    let key = AggregateKey::try_from(key).map_err(|e| e.to_string())?;
    let sequence = Sequence::new(body.try_get_u64_le().map_err(short)?);
    let record_bytes = body.try_get_u32_le().map_err(short)?;
    let record = take(body, record_bytes as usize)?;
    KeyedEvent::decode_record(key, sequence, record).map_err(|e| e.to_string())
}
