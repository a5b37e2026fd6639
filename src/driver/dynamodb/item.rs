//! An event as an item of the table, and back.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;

use crate::driver::Limits;
use crate::error::DriverError;
use crate::event::{AggregateKey, KeyedEvent, Sequence};

/// The partition key: the aggregate key.
pub(super) const KEY: &str = "pk";
/// The sort key: the sequence.
pub(super) const SEQUENCE: &str = "seq";
/// The event's type, for people.
const TYPE: &str = "type";
/// The event's commit id, for people.
const COMMIT_ID: &str = "commit_id";
/// The event itself, in its stored form.
const RECORD: &str = "record";

pub(super) type AttributeMap = HashMap<String, AttributeValue>;

/// More than an item ever has beside what [`KeyedEvent::size_bytes`] counts: the attributes' names
/// (24), the sequence (at most 21), the commit id as text (36), the record's fixed fields (51), and
/// the type a second time (at most 256).
const OVERHEAD: usize = 512;

/// DynamoDB takes 400 KiB an item, and 100 items and 4 MB in a transaction. An event's bytes leave
/// room for what an item has beside them.
pub(super) const LIMITS: Limits = Limits {
    events_per_put: 100,
    bytes_per_put: 4_000_000 - 100 * OVERHEAD,
    bytes_per_event: 400 * 1024 - OVERHEAD,
    bytes_per_key: AggregateKey::MAX_BYTES,
    aggregates_per_put: 100,
};

/// The event's item.
pub(super) fn item(event: &KeyedEvent) -> AttributeMap {
    let mut record = Vec::new();
    event.encode_record(&mut record);
    HashMap::from([
        (KEY.to_owned(), key_value(&event.key)),
        (SEQUENCE.to_owned(), sequence_value(event.sequence)),
        (TYPE.to_owned(), AttributeValue::S(event.event_type().to_owned())),
        (COMMIT_ID.to_owned(), AttributeValue::S(event.commit_id.to_string())),
        (RECORD.to_owned(), AttributeValue::B(Blob::new(record))),
    ])
}

/// The event in an item of this aggregate.
pub(super) fn event(key: &AggregateKey, mut item: AttributeMap) -> Result<KeyedEvent, DriverError> {
    let sequence = sequence(key, &item)?;
    let Some(AttributeValue::B(record)) = item.remove(RECORD) else {
        return Err(DriverError::damaged(format!(
            "{key}: the item at sequence {sequence} has no binary attribute {RECORD:?}"
        )));
    };
    let record = Bytes::from(record.into_inner());
    KeyedEvent::decode_record(key.clone(), sequence, record)
        .map_err(|e| DriverError::damaged(format!("{key}: at sequence {sequence}: {e}")))
}

/// The sequence in an item of this aggregate.
pub(super) fn sequence(key: &AggregateKey, item: &AttributeMap) -> Result<Sequence, DriverError> {
    let number = item.get(SEQUENCE).and_then(|value| value.as_n().ok());
    let sequence = number.and_then(|number| number.parse().ok()).filter(|&number| number != 0);
    sequence.map(Sequence::new).ok_or_else(|| {
        DriverError::damaged(format!("{key}: an item's attribute {SEQUENCE:?} is no sequence"))
    })
}

/// The aggregate key of an item.
pub(super) fn key(item: &AttributeMap) -> Result<AggregateKey, DriverError> {
    let text = item.get(KEY).and_then(|value| value.as_s().ok());
    let text = text
        .ok_or_else(|| DriverError::damaged(format!("an item's attribute {KEY:?} is no string")))?;
    AggregateKey::new(text)
        .map_err(|e| DriverError::damaged(format!("{text:?} is no aggregate key: {e}")))
}

pub(super) fn key_value(key: &AggregateKey) -> AttributeValue {
    AttributeValue::S(key.as_str().to_owned())
}

pub(super) fn sequence_value(sequence: Sequence) -> AttributeValue {
    AttributeValue::N(sequence.get().to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::event::{NewEvent, Timestamp};

    /// The bytes of an item, as DynamoDB counts them: names and values, a number by two digits a
    /// byte and one more (and one for a sign, which no sequence has).
    fn engine_bytes(item: &AttributeMap) -> usize {
        let value = |value: &AttributeValue| match value {
            AttributeValue::S(text) => text.len(),
            AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
            AttributeValue::B(blob) => blob.as_ref().len(),
            other => unreachable!("{other:?}"),
        };
        item.iter().map(|(name, held)| name.len() + value(held)).sum()
    }

    fn keyed(
        key: &str,
        kind: &str,
        sequence: u64,
        text: &str,
        metadata: Option<&str>,
    ) -> KeyedEvent {
        let mut new = NewEvent::raw(kind, serde_json::to_string(text).unwrap());
        if let Some(id) = metadata {
            new = new.metadata_field("correlation_id", id).id(Uuid::now_v7());
        }
        let key = AggregateKey::new(key).unwrap();
        new.check().unwrap().place(&key, Sequence::new(sequence), Uuid::now_v7(), Timestamp::now())
    }

    proptest! {
        #[test]
        fn an_event_comes_back_from_its_item(
            key in "[^\\p{Cc}]{1,100}",
            kind in "[A-Za-z]{1,256}",
            sequence in 1..=u64::MAX,
            text in ".{0,2000}",
            metadata in proptest::option::of("[a-z0-9]{1,200}"),
        ) {
            let wanted = keyed(&key, &kind, sequence, &text, metadata.as_deref());
            let item = item(&wanted);
            prop_assert!(engine_bytes(&item) <= wanted.size_bytes() + OVERHEAD);
            prop_assert_eq!(super::key(&item).unwrap(), wanted.key.clone());
            prop_assert_eq!(event(&wanted.key, item).unwrap(), wanted);
        }
    }

    #[test]
    fn an_item_of_something_else_is_damage() {
        let good = keyed("a", "Tested", 7, "x", None);
        let spoilt = |name: &str, value: Option<AttributeValue>| {
            let mut item = item(&good);
            item.remove(name);
            item.extend(value.map(|value| (name.to_owned(), value)));
            event(&good.key, item)
        };
        let text = |text: &str| Some(AttributeValue::S(text.to_owned()));
        let number = |digits: &str| Some(AttributeValue::N(digits.to_owned()));
        for seen in [
            spoilt(SEQUENCE, None),
            spoilt(SEQUENCE, text("7")),
            spoilt(SEQUENCE, number("0")),
            spoilt(SEQUENCE, number("1.5")),
            spoilt(RECORD, None),
            spoilt(RECORD, text("{}")),
            spoilt(RECORD, Some(AttributeValue::B(Blob::new([9, 9, 9])))),
        ] {
            assert!(matches!(seen, Err(DriverError::Damaged { .. })), "{seen:?}");
        }
    }
}
