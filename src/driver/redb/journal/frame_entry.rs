//! One entry of a frame: an event with its key and sequence, or a checkpoint with its name.

use bytes::Bytes;

use crate::driver::redb::apply::checkpoints::Checkpoint;
use crate::driver::redb::format::codec::Reader;
use crate::driver::redb::format::segment::Entry;
use crate::event::{AggregateKey, KeyedEvent, Sequence};

pub(in crate::driver::redb) const KIND_EVENT: u8 = 1;
pub(in crate::driver::redb) const EVENT_VERSION: u8 = 1;
pub(in crate::driver::redb) const KIND_CHECKPOINT: u8 = 2;
pub(in crate::driver::redb) const CHECKPOINT_VERSION: u8 = 1;
/// What an event takes in a frame beside its key and its record.
const ENTRY_BYTES: usize = 6 + 2 + 8;

/// The bytes an event takes in a frame.
pub(in crate::driver::redb) fn entry_bytes(event: &KeyedEvent) -> usize {
    ENTRY_BYTES + event.key.as_str().len() + event.record_bytes()
}

/// The bytes a checkpoint takes in a frame.
pub(in crate::driver::redb) fn checkpoint_bytes(checkpoint: &Checkpoint) -> usize {
    6 + 2 + checkpoint.name.len() + checkpoint.bytes.len()
}

/// A decoded entry.
pub(in crate::driver::redb) enum Decoded {
    Event(Box<KeyedEvent>),
    Checkpoint(Checkpoint),
}

/// The kind and version of an entry, its name and what follows that; `None` where it ends too
/// early.
fn split_entry<'a>(reader: &mut Reader<'a>) -> Option<((u8, u8), &'a [u8], Reader<'a>)> {
    let form = (reader.u8()?, reader.u8()?);
    let length = reader.u32()?;
    let mut entry = Reader(reader.bytes(length as usize)?);
    let name_bytes = entry.u16()?;
    let name = entry.bytes(usize::from(name_bytes))?;
    Some((form, name, entry))
}

/// The event that begins at `start`, where one was written or decoded.
pub(in crate::driver::redb) fn entry_at(bytes: &[u8], start: usize) -> Option<Entry<'_>> {
    let (_event, key, mut rest) = split_entry(&mut Reader(bytes.get(start..)?))?;
    let key = std::str::from_utf8(key).ok()?;
    let sequence = rest.u64()?;
    Some(Entry { key, sequence, record: rest.0 })
}

pub(in crate::driver::redb) fn decode_entry(
    reader: &mut Reader<'_>,
    body: &Bytes,
) -> Result<Decoded, String> {
    const SHORT: &str = "the entry ends too early";
    let form = reader.0.first_chunk().map(|[kind, version]| (*kind, *version)).ok_or(SHORT)?;
    let known = [(KIND_EVENT, EVENT_VERSION), (KIND_CHECKPOINT, CHECKPOINT_VERSION)];
    if !known.contains(&form) {
        let (kind, version) = form;
        return Err(format!("an entry of kind {kind}, version {version}, is not known"));
    }
    let (_, name, mut entry) = split_entry(reader).ok_or(SHORT)?;
    let name = std::str::from_utf8(name).map_err(|e| e.to_string())?;
    if form.0 == KIND_CHECKPOINT {
        // Copied: it is kept for good, and would keep the whole frame.
        let bytes = Bytes::copy_from_slice(entry.0);
        return Ok(Decoded::Checkpoint(Checkpoint { name: name.into(), bytes }));
    }
    let key = AggregateKey::new(name).map_err(|e| e.to_string())?;
    let sequence = Sequence::new(entry.u64().ok_or(SHORT)?);
    let event = KeyedEvent::decode_record(key, sequence, body.slice_ref(entry.0));
    event.map(|event| Decoded::Event(Box::new(event))).map_err(|e| e.to_string())
}
