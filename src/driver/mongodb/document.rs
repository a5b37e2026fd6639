//! A put as a document, and events out of one.

use std::fmt::Display;

use ::mongodb::bson::spec::BinarySubtype;
use ::mongodb::bson::{Binary, Document, RawDocumentBuf, doc};
use bytes::Bytes;
use uuid::Uuid;

use crate::driver::Put;
use crate::error::DriverError;
use crate::event::{AggregateKey, KeyedEvent, Sequence};

const VERSION: i32 = 1;

fn uuid(id: Uuid) -> Binary {
    Binary { subtype: BinarySubtype::Uuid, bytes: id.as_bytes().to_vec() }
}

/// The put's document.
pub(super) fn of(put: &Put) -> Result<RawDocumentBuf, String> {
    let sequence = |event: &KeyedEvent| {
        i64::try_from(event.sequence.get())
            .map_err(|_| format!("{}: a sequence over {} cannot be stored", event.key, i64::MAX))
    };
    let (Some(first), Some(last)) = (put.events().first(), put.events().last()) else {
        return Err("a put without events".to_owned());
    };
    let mut events = Vec::with_capacity(put.events().len());
    for event in put.events() {
        let mut record = Vec::new();
        event.encode_record(&mut record);
        events.push(doc! {
            "s": sequence(event)?,
            "t": event.event_type(),
            "c": uuid(event.commit_id),
            "r": Binary { subtype: BinarySubtype::Generic, bytes: record },
        });
    }
    let document: Document = doc! {
        "_id": uuid(put.id()),
        "v": VERSION,
        "k": first.key.as_str(),
        "f": sequence(first)?,
        "l": sequence(last)?,
        "e": events,
    };
    RawDocumentBuf::try_from(&document).map_err(|error| error.to_string())
}

/// Whether the document is this put's, by its id.
pub(super) fn is_of(document: &RawDocumentBuf, put: &Put) -> bool {
    document.get_binary("_id").is_ok_and(|id| id.bytes == put.id().as_bytes())
}

pub(super) fn key(document: &RawDocumentBuf) -> Result<AggregateKey, DriverError> {
    let text = document.get_str("k").map_err(|e| damaged("a document's key", e))?;
    AggregateKey::new(text).map_err(|e| damaged("a document's key", e))
}

/// The sequence in one of the document's own fields.
pub(super) fn sequence(
    key: &AggregateKey,
    document: &RawDocumentBuf,
    field: &str,
) -> Result<Sequence, DriverError> {
    let wrong = |e: String| damaged(&format!("{key}: the field {field} of a document"), e);
    let number = document.get_i64(field).map_err(|e| wrong(e.to_string()))?;
    u64::try_from(number).map(Sequence::new).map_err(|e| wrong(e.to_string()))
}

/// The document's events with these sequences, in order.
pub(super) fn events(
    key: &AggregateKey,
    document: &RawDocumentBuf,
    low: Sequence,
    high: Sequence,
) -> Result<Vec<KeyedEvent>, DriverError> {
    let first = sequence(key, document, "f")?;
    let wrong = |e: &dyn Display| damaged(&format!("{key}: the document from {first} on"), e);
    let version = document.get_i32("v").map_err(|e| wrong(&e))?;
    if version != VERSION {
        return Err(wrong(&format!("version {version} is not known here")));
    }
    let (mut events, mut end) = (Vec::new(), first.get());
    for (expected, event) in (first.get()..).zip(document.get_array("e").map_err(|e| wrong(&e))?) {
        let event = event.map_err(|e| wrong(&e))?;
        let event = event.as_document().ok_or_else(|| wrong(&"an event is no document"))?;
        let number = event.get_i64("s").map_err(|e| wrong(&e))?;
        if u64::try_from(number).ok() != Some(expected) {
            return Err(wrong(&format!("sequence {number} stands where {expected} should")));
        }
        end = expected.saturating_add(1);
        let number = Sequence::new(expected);
        if number < low || number > high {
            continue;
        }
        let record = event.get_binary("r").map_err(|e| wrong(&e))?;
        let record = Bytes::copy_from_slice(record.bytes);
        let event = KeyedEvent::decode_record(key.clone(), number, record)
            .map_err(|e| damaged(&format!("{key}: sequence {number}"), e))?;
        events.push(event);
    }
    let last = sequence(key, document, "l")?;
    if Sequence::new(end.saturating_sub(1)) != last {
        return Err(wrong(&format!("it says that it ends at {last}, and does not")));
    }
    Ok(events)
}

fn damaged(what: &str, problem: impl Display) -> DriverError {
    DriverError::damaged(format!("MongoDB: {what}: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{NewEvent, Timestamp};

    fn put() -> Put {
        let key = AggregateKey::new("account/☂ 1").unwrap();
        let event = |sequence: u64| {
            let event = NewEvent::raw("Deposited", format!(r#"{{"amount":{sequence}.10}}"#));
            let event = event.version(7).raw_metadata(r#"{"by":"Ada"}"#).id(Uuid::new_v4());
            let at = Timestamp::from_micros(-5);
            event.check().unwrap().place(&key, Sequence::new(sequence), Uuid::new_v4(), at)
        };
        Put::new((1..=4).map(event).collect()).unwrap()
    }

    #[test]
    fn a_put_reads_back() {
        let put = put();
        let document = of(&put).unwrap();
        let key = &put.events()[0].key;
        assert!(is_of(&document, &put));
        assert_eq!(super::key(&document).unwrap(), *key);
        let (low, high) = (Sequence::new(2), Sequence::new(3));
        assert_eq!(events(key, &document, low, high).unwrap(), put.events()[1..3]);
        let all = events(key, &document, Sequence::FIRST, Sequence::new(u64::MAX)).unwrap();
        assert_eq!(all, put.events());
    }

    #[test]
    fn what_is_not_as_it_was_written_is_damage() {
        let put = put();
        let key = &put.events()[0].key;
        let good = Document::try_from(of(&put).unwrap()).unwrap();
        let all = |document: &Document| {
            let raw = RawDocumentBuf::try_from(document).unwrap();
            events(key, &raw, Sequence::FIRST, Sequence::new(u64::MAX))
        };
        for change in [
            doc! { "v": 2 },
            doc! { "f": -1_i64 },
            doc! { "f": 7_i64 },
            doc! { "e": 3 },
            doc! { "e": [] },
            doc! { "l": 9_i64 },
        ] {
            let mut changed = good.clone();
            changed.extend(change);
            let error = all(&changed).unwrap_err();
            assert!(matches!(error, DriverError::Damaged { .. }), "{error:?}");
        }
        all(&good).unwrap();
    }
}
