//! Unit tests: no bytes harm the decoders of a backup's files, and each flipped bit is seen.

use bytes::Bytes;
use twox_hash::XxHash3_64;

use super::block::{BlockBuilder, BlockHeader, HEADER_BYTES, checksum};
use super::manifest::{Digest, ListedFile, Manifest};
use crate::event::fuzzing::fuzz;
use crate::event::{AggregateKey, KeyedEvent, NewEvent, Position, Sequence, Timestamp};

fn event(sequence: u64) -> KeyedEvent {
    let event = NewEvent::raw("Happened", r#"{"t":"some text"}"#).raw_metadata(r#"{"a":1}"#);
    event.check().unwrap().place(
        &AggregateKey::new("order/1").unwrap(),
        Sequence::new(sequence),
        uuid::Uuid::from_u128(7),
        Timestamp::from_micros(1),
    )
}

fn block(events: &[KeyedEvent], first: Position) -> Vec<u8> {
    let (mut builder, mut out) = (BlockBuilder::default(), Vec::new());
    for (event, number) in events.iter().zip(0..) {
        builder.push(first.plus(number), event);
    }
    builder.finish(&mut out);
    out
}

fn read(block: &[u8]) -> Option<Result<Vec<KeyedEvent>, String>> {
    let header = BlockHeader::read(block.first_chunk()?);
    Some(header.events(Bytes::copy_from_slice(&block[HEADER_BYTES..])))
}

fn manifest(files: u64) -> Manifest {
    let listed = (0..files).map(|file| ListedFile {
        first: Position::new(file * 10 + 1),
        last: Position::new(file * 10 + 10),
        last_recorded_at: Timestamp::from_micros(1),
        bytes: 1_000,
        checksum: Digest(file),
    });
    let mut manifest = Manifest::default();
    manifest.first_event = Some(Digest(u64::MAX));
    manifest.files = listed.collect();
    manifest
}

/// The words of an error, so that numbers make no new outcome.
fn words(error: &str) -> String {
    error.chars().filter(|c| !c.is_ascii_digit()).take(60).collect()
}

#[test]
fn fuzz_backup_block() {
    let events: Vec<KeyedEvent> = (1..4).map(event).collect();
    let seeds = [block(&events, Position::new(9)), block(&events[..1], Position::new(u64::MAX))];
    fuzz("backup_block", seeds, |input| {
        let _ = read(input)?;
        // A wrong checksum ends nearly every way, so the rest is tried with a right one.
        let mut repaired = input.to_vec();
        let sum = checksum(&input[..HEADER_BYTES - 8], &input[HEADER_BYTES..]);
        repaired[HEADER_BYTES - 8..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
        let events = match read(&repaired)? {
            Ok(events) => events,
            Err(error) => return Some(Err(words(&error))),
        };
        if let Some(first) = events.first().and_then(|first| first.position) {
            assert_eq!(read(&block(&events, first)), Some(Ok(events.clone())));
        }
        Some(Ok(events.len().min(4)))
    });
}

#[test]
fn fuzz_manifest() {
    let json = |manifest: Manifest| {
        let text = manifest.encode().unwrap();
        text.split(|byte| *byte == b'\n').next().unwrap().to_vec()
    };
    fuzz("manifest", [json(manifest(0)), json(manifest(3))], |input| {
        let _ = Manifest::decode(input);
        let mut text = input.to_vec();
        text.extend_from_slice(format!("\n{:016x}\n", XxHash3_64::oneshot(input)).as_bytes());
        let manifest = match Manifest::decode(&text) {
            Ok(manifest) => manifest,
            Err(error) => return Err(words(&error)),
        };
        assert!(manifest.bytes() >= manifest.files.last().map_or(0, |file| file.bytes));
        let names: Vec<String> = manifest.files.iter().map(ListedFile::name).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(Manifest::decode(&manifest.encode().unwrap()), Ok(manifest));
        Ok(names.len().min(4))
    });
}

#[test]
fn fuzz_flipped_bits_of_a_backup() {
    let sound = block(&[event(1), event(2)], Position::new(9));
    assert_eq!(read(&sound).unwrap().unwrap().len(), 2);
    for bit in 0..sound.len() * 8 {
        let mut flipped = sound.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&flipped).unwrap().is_err(), "bit {bit} of the block");
    }
    let sound = manifest(2).encode().unwrap();
    // The last byte ends the line.
    for bit in 0..(sound.len() - 1) * 8 {
        let mut flipped = sound.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Manifest::decode(&flipped).is_err(), "bit {bit} of the manifest");
    }
}

#[test]
fn positions_and_sizes_at_the_limit_are_refused_or_counted() {
    let beyond = block(&[event(1), event(2)], Position::new(u64::MAX - 1));
    assert!(read(&beyond).unwrap().unwrap_err().contains("last position"));
    let mut large = manifest(2);
    large.files.iter_mut().for_each(|file| file.bytes = u64::MAX);
    assert_eq!(large.bytes(), u64::MAX);
    large.files[1].last = Position::new(u64::MAX);
    assert!(Manifest::decode(&large.encode().unwrap()).is_err());
}
