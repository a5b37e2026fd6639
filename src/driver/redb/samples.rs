//! For unit tests: events for those of the encodings, and a disk in memory.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use uuid::Uuid;

use crate::driver::redb::disk::files::{Disk, DiskFile};
use crate::driver::redb::journal::frame::FrameBuilder;
use crate::driver::redb::journal::frame_events::FrameEvents;
use crate::event::{AggregateKey, KeyedEvent, NewEvent, Position, Sequence, Timestamp};

fn any_event() -> impl Strategy<Value = KeyedEvent> {
    let json = "[a-z ☂]{0,40}".prop_map(|text| format!("{{\"t\":\"{text}\"}}"));
    let key = "[a-z/#☂ ]{1,30}";
    (
        key,
        1..u64::MAX,
        json.clone(),
        prop::option::of(json),
        any::<(u16, i64, u128, Option<u128>)>(),
    )
        .prop_map(|(key, sequence, data, metadata, (version, time, commit_id, event_id))| {
            let mut event = NewEvent::raw("Happened", data).version(version);
            if let Some(metadata) = metadata {
                event = event.raw_metadata(metadata);
            }
            if let Some(id) = event_id {
                event = event.id(Uuid::from_u128(id));
            }
            event.check().unwrap().place(
                &AggregateKey::new(&key).unwrap(),
                Sequence::new(sequence),
                Uuid::from_u128(commit_id),
                Timestamp::from_micros(time),
            )
        })
}

pub(in crate::driver::redb) fn sample_event() -> KeyedEvent {
    let event = NewEvent::raw("Happened", r#"{"t":"some text"}"#).check().unwrap();
    event.place(
        &AggregateKey::new("order/1").unwrap(),
        Sequence::new(1),
        Uuid::from_u128(7),
        Timestamp::from_micros(1),
    )
}

pub(in crate::driver::redb) fn any_events() -> impl Strategy<Value = Vec<KeyedEvent>> {
    prop::collection::vec(any_event(), 1..40)
}

/// The events as they are read back when the first stands at `first_position`.
pub(in crate::driver::redb) fn placed(
    events: &[KeyedEvent],
    first_position: u64,
) -> Vec<KeyedEvent> {
    let positions = first_position..;
    let mut placed = events.to_vec();
    for (event, position) in placed.iter_mut().zip(positions) {
        event.position = Some(Position::new(position));
    }
    placed
}

/// The events as a frame holds them when the first stands at `first_position`.
pub(in crate::driver::redb) fn journaled(
    events: &[KeyedEvent],
    first_position: u64,
) -> FrameEvents {
    let mut builder = FrameBuilder::default();
    builder.begin(0);
    for event in events {
        builder.push(event, event.recorded_at);
    }
    builder.take(first_position)
}

/// A file in memory that counts its writes.
#[derive(Debug, Default)]
pub(in crate::driver::redb) struct Plain {
    pub(in crate::driver::redb) bytes: Mutex<Vec<u8>>,
    pub(in crate::driver::redb) writes: AtomicUsize,
    /// Reported once, as a system does.
    pub(in crate::driver::redb) fail_next_sync: AtomicBool,
}

impl DiskFile for Plain {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        let from = offset as usize;
        let found = bytes.get(from..from + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        let mut bytes = self.bytes.lock().unwrap();
        let end = offset as usize + data.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(data);
        Ok(())
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.bytes.lock().unwrap().resize(bytes as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.fail_next_sync.swap(false, Ordering::SeqCst) {
            return Err(io::Error::other("the disk could not flush"));
        }
        Ok(())
    }
}

/// Every file it makes is a new one, and it knows none afterwards.
pub(in crate::driver::redb) struct PlainDisk;

impl Disk for PlainDisk {
    fn list(&self, _: &str) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn open(&self, _: &str) -> io::Result<Option<Arc<dyn DiskFile>>> {
        Ok(None)
    }

    fn create(&self, _: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Plain::default()))
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }
}

thread_local! {
    static READ: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Counts what reads take from the tail on this thread: frames or parts of them, and bytes of
/// events that are decoded.
pub(in crate::driver::redb) fn count_read(pieces: usize, bytes: usize) {
    READ.with(|read| read.set((read.get().0 + pieces, read.get().1 + bytes)));
}

/// What was counted since the last call.
pub(in crate::driver::redb) fn counted_reads() -> (usize, usize) {
    READ.replace((0, 0))
}
