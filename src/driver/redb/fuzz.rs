//! Unit tests: no bytes harm the decoders of what the redb driver stores, and each flipped bit of
//! what has a checksum is seen.

use bytes::Bytes;
use uuid::Uuid;

use super::apply::checkpoints::Checkpoint;
use super::format::block::Block;
use super::format::codec::{Reader, put_varint};
use super::format::delta::{Addition, Delta, KeyHash};
use super::format::sealed::seal;
use super::format::segment::{Segment, SegmentBuilder};
use super::journal::frame::{ExpectedFrame, FrameBuilder, HEADER_BYTES, Header, decode};
use super::journal::frame_entry::{Decoded, decode_entry, entry_at};
use super::options::RedbBuilder;
use super::samples::{journaled, sample_event};
use crate::event::fuzzing::fuzz;

const FIRST: u64 = 9;
const NEXT: ExpectedFrame = ExpectedFrame { position: FIRST, number: 5 };

fn frame(events: usize, checkpoints: usize) -> Vec<u8> {
    let mut builder = FrameBuilder::default();
    builder.begin(0);
    for _ in 0..events {
        builder.push(&sample_event(), sample_event().recorded_at);
    }
    for _ in 0..checkpoints {
        let bytes = Bytes::from_static(b"{\"version\":1}");
        builder.push_checkpoint(&Checkpoint { name: "consumer/mailer".into(), bytes });
    }
    builder.finish(Uuid::from_u128(3), 3, NEXT, 4).to_vec()
}

/// The frame's header and body, if it is whole.
fn whole(bytes: &[u8]) -> Option<(Header, Bytes)> {
    let header = Header::read(bytes)?;
    let body = bytes.get(HEADER_BYTES..)?.get(..header.body_bytes as usize)?;
    header.checks(bytes, body).then(|| (header, Bytes::copy_from_slice(body)))
}

fn segment(events: usize) -> Vec<u8> {
    let mut builder = SegmentBuilder::default();
    builder.begin(FIRST);
    for (_, entry) in journaled(&vec![sample_event(); events], FIRST).entries() {
        builder.push(&entry);
    }
    let mut out = Vec::new();
    builder.finish(&mut out);
    out
}

/// Walks all that a segment gives out.
fn walk(segment: &Segment<'_>) -> usize {
    let positions = segment.first_position()..segment.next_position();
    let read = positions.filter(|position| segment.at(*position).is_some()).count();
    assert!(read <= segment.len());
    assert!(segment.at(segment.next_position()).is_none() && segment.bytes_at(0).is_none());
    read
}

#[test]
fn fuzz_frame() {
    fuzz("frame", [frame(1, 0), frame(3, 2), frame(0, 1)], |input| {
        // A wrong checksum ends nearly every way, so the rest is tried also without it.
        let read = Header::read(input)?;
        let body = Bytes::copy_from_slice(input.get(HEADER_BYTES..).unwrap_or_default());
        let _ = (read.is(NEXT), read.proves_flushed(NEXT), read.frame_bytes());
        let content = decode(&read, body);
        if let Ok(content) = &content {
            let positions = content.events.first_position()..content.events.next_position();
            for position in positions {
                assert!(content.events.event_at(position).is_some());
            }
            assert!(content.events.size_bytes() <= 5 * input.len());
        }
        let counts = content.map(|content| {
            let events = content.events.next_position() - content.events.first_position();
            (events, content.checkpoints.len())
        });
        let words: fn(String) -> String =
            |error| error.chars().filter(|c| !c.is_ascii_digit()).take(60).collect();
        Some((whole(input).is_some(), counts.map_err(words)))
    });
}

#[test]
fn fuzz_entry() {
    let bodies = [frame(1, 0), frame(0, 1)];
    let seeds = bodies.map(|frame| whole(&frame).unwrap().1.to_vec());
    fuzz("entry", seeds, |input| {
        let body = Bytes::copy_from_slice(input);
        let mut reader = Reader(&body);
        let decoded = decode_entry(&mut reader, &body);
        let read = entry_at(input, 0);
        if let Ok(Decoded::Event(event)) = &decoded {
            // Both ways of reading say the same.
            let entry = read.unwrap();
            assert_eq!((entry.key, entry.sequence), (event.key.as_str(), event.sequence.get()));
        }
        match decoded {
            Ok(Decoded::Event(_)) => "event".to_owned(),
            Ok(Decoded::Checkpoint(_)) => "checkpoint".to_owned(),
            Err(error) => error.chars().filter(|c| !c.is_ascii_digit()).take(60).collect(),
        }
    });
}

#[test]
fn fuzz_segment() {
    fuzz("segment", [segment(1), segment(5)], |input| {
        let sound = Segment::read(FIRST, input);
        let walked = sound.as_ref().ok().map(walk);
        // As if the checksum were right, and as if it stood elsewhere.
        Segment::read_checked(u64::MAX - 2, input).as_ref().map(walk);
        let unchecked = Segment::read_checked(FIRST, input);
        let shape = unchecked.map(|segment| {
            let mut again = SegmentBuilder::default();
            again.resume(&segment);
            let read = walk(&segment);
            (segment.len().min(20), read.min(20))
        });
        (sound.err(), walked, shape)
    });
}

#[test]
fn fuzz_block() {
    let block = |positions: &[u64]| {
        let mut block = Block::new(3);
        let all = positions.iter().all(|position| block.push(*position));
        assert!(all);
        let mut out = Vec::new();
        block.encode("a", &mut out);
        out
    };
    fuzz("block", [block(&[7]), block(&[7, 8, 9, 20, 300]), block(&[u64::MAX - 1])], |input| {
        let block = Block::decode("a", input)?;
        let mut again = Vec::new();
        block.encode("a", &mut again);
        assert_eq!(Block::decode("a", &again).as_ref(), Some(&block));
        let (first, next) = (block.first_sequence(), block.next_sequence());
        assert!(first <= next);
        let found = block.positions(0, u64::MAX).map(|run| run.events).sum::<u64>();
        assert_eq!(found, next - first);
        Some(block.positions(0, u64::MAX).count())
    });
}

fn delta(additions: &[(&str, u64, u64)]) -> Vec<u8> {
    let mut delta = Delta::at(FIRST);
    for (key, first_sequence, first_position) in additions {
        let (first_sequence, first_position) = (*first_sequence, *first_position);
        let addition = Addition { first_sequence, first_position, events: 1 };
        delta.push(key, std::iter::once(addition)).unwrap();
    }
    delta.finish().encode()
}

#[test]
fn fuzz_delta() {
    let some = [("a", 1, 9), ("a", 2, 11), ("b", 7, 10), ("bc", 1, 12)];
    fuzz("delta", [delta(&some), delta(&some[..1]), delta(&[("ü", 300, 9)])], |input| {
        // A wrong checksum ends nearly every way, so the rest is tried also without it.
        let sealed = seal(&FIRST.to_le_bytes(), input.get(9..).unwrap_or_default());
        let delta = Delta::decode(FIRST, input).or_else(|| Delta::decode(FIRST, &sealed))?;
        let again = delta.encode();
        assert_eq!(Delta::decode(FIRST, &again).unwrap().encode(), again);
        let mut events = 0;
        for number in 0..delta.len() {
            let key = delta.key(number).unwrap();
            let found = delta.find(key, KeyHash::of(key)).unwrap();
            assert!(found.first_sequence() < found.next_sequence());
            events += found.between(0, u64::MAX).map(|addition| addition.events).sum::<u64>();
        }
        assert_eq!(delta.first_position() + events, delta.next_position());
        Some((delta.len().min(20), events.min(20)))
    });
}

#[test]
fn fuzz_varint() {
    let varint = |number| {
        let mut bytes = Vec::new();
        put_varint(number, &mut bytes);
        bytes
    };
    fuzz("varint", [0, 1 << 7, 1 << 14, u64::MAX].map(varint), |input| {
        let mut reader = Reader(input);
        let number = reader.varint()?;
        let again = varint(number);
        assert_eq!(Reader(&again).varint(), Some(number));
        assert!(again.len() <= input.len() - reader.0.len());
        Some(again.len())
    });
}

#[test]
fn fuzz_url() {
    let seeds = ["./data", "./data?durability=written", "?a=b&&=", "./ü?durability=flushed&"];
    fuzz("redb_url", seeds.map(|seed| seed.as_bytes().to_vec()), |input| {
        let text = String::from_utf8_lossy(input);
        let read = RedbBuilder::from_url(&text);
        read.map(|(builder, path)| (builder.durability, path.components().count()))
            .map_err(|error| error.to_string().len().min(70))
    });
}

#[test]
fn each_flipped_bit_of_a_frame_is_seen() {
    for sound in [frame(2, 1), frame(0, 1)] {
        let (header, body) = whole(&sound).unwrap();
        for bit in 0..sound.len() * 8 {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let is_padding = bit / 8 >= HEADER_BYTES + body.len();
            let read = whole(&bytes);
            assert_eq!(read.is_some(), is_padding, "bit {bit}");
            assert!(read.is_none_or(|read| read == (header, body.clone())));
        }
    }
}

#[test]
fn each_flipped_bit_of_a_segment_is_seen() {
    let sound = segment(3);
    for bit in 0..sound.len() * 8 {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Segment::read(FIRST, &bytes).is_err(), "bit {bit}");
    }
}
