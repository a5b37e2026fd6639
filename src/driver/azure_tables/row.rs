//! Keys and events as rows, and back.

use std::fmt::Display;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::error::{DriverError, Limit, LimitExceeded};
use crate::event::{AggregateKey, KeyedEvent, Sequence};

/// The row key of an aggregate's head; behind all digits.
pub(super) const HEAD: &str = "head";
/// The row key of an aggregate's snapshot; behind all digits too.
pub(super) const SNAPSHOT: &str = "snapshot";
/// The properties that a record may be spread over, as a query names them.
pub(super) const RECORD: &str = "RowKey,r0,r1,r2,r3,r4,r5,r6,r7,r8,r9,r10,r11,r12,r13,r14,r15";
/// The most of a record in one property.
const PIECE: usize = 64 << 10;
/// 1 KiB of UTF-16.
const KEY_CHARS: usize = 512;
/// What the service forbids in keys, and the escape itself, with what stands for it behind `!`.
const ESCAPES: [(char, char); 6] =
    [('/', 's'), ('\\', 'b'), ('#', 'h'), ('?', 'q'), ('%', 'p'), ('!', 'e')];

/// A row as the service has it: names and values, no type of its own.
pub(super) type Row = Map<String, Value>;

/// The aggregate key as a partition key.
pub(super) fn partition(key: &AggregateKey) -> String {
    escaped(key.as_str())
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        match ESCAPES.iter().find(|(forbidden, _)| *forbidden == char) {
            Some((_, stands)) => escaped.extend(['!', *stands]),
            None => escaped.push(char),
        }
    }
    escaped
}

/// Refuses a key that is too long once it is escaped.
pub(super) fn check_key(key: &AggregateKey) -> Result<(), DriverError> {
    let chars = partition(key).encode_utf16().count();
    if chars > KEY_CHARS {
        return Err(LimitExceeded::new(Limit::BytesPerKey, KEY_CHARS, chars).into());
    }
    Ok(())
}

fn plain(partition: &str) -> Option<String> {
    let mut plain = String::with_capacity(partition.len());
    let mut chars = partition.chars();
    while let Some(char) = chars.next() {
        plain.push(match char {
            '!' => {
                let stands = chars.next()?;
                ESCAPES.iter().find(|(_, other)| *other == stands)?.0
            }
            char => char,
        });
    }
    Some(plain)
}

pub(super) fn row_key(sequence: Sequence) -> String {
    format!("{:020}", sequence.get())
}

/// A value as a filter has it.
pub(super) fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

pub(super) fn partition_filter(key: &AggregateKey) -> String {
    format!("PartitionKey eq {}", quoted(&partition(key)))
}

pub(super) fn range_filter(key: &AggregateKey, low: Sequence, high: Sequence) -> String {
    let (low, high) = (row_key(low), row_key(high));
    format!("{} and RowKey ge '{low}' and RowKey le '{high}'", partition_filter(key))
}

/// The first events of the aggregates whose keys begin with `prefix`, behind that of `after` in the
/// service's order.
pub(super) fn keys_filter(prefix: &str, after: Option<&AggregateKey>) -> String {
    let mut filter = format!("RowKey eq {}", quoted(&row_key(Sequence::FIRST)));
    if !prefix.is_empty() {
        filter += &format!(" and PartitionKey ge {}", quoted(&escaped(prefix)));
    }
    if let Some(after) = after {
        filter += &format!(" and PartitionKey gt {}", quoted(&partition(after)));
    }
    filter
}

pub(super) fn of_event(event: &KeyedEvent) -> Row {
    let mut record = Vec::new();
    event.encode_record(&mut record);
    let mut row = Row::new();
    let mut set = |name: &str, value: String| row.insert(name.to_owned(), Value::String(value));
    set("PartitionKey", partition(&event.key));
    set("RowKey", row_key(event.sequence));
    set("type", event.event_type().to_owned());
    set("commit_id", event.commit_id.to_string());
    set_bytes(&mut row, &record);
    row
}

/// Spreads bytes over as many binary properties as they need.
fn set_bytes(row: &mut Row, bytes: &[u8]) {
    for (number, piece) in bytes.chunks(PIECE).enumerate() {
        let kind = Value::String("Edm.Binary".to_owned());
        row.insert(format!("r{number}@odata.type"), kind);
        row.insert(format!("r{number}"), Value::String(BASE64_STANDARD.encode(piece)));
    }
}

fn bytes_of(row: &Row) -> Result<Vec<u8>, base64::DecodeError> {
    let mut bytes = Vec::new();
    for number in 0.. {
        // A query answers properties that a row does not have with nothing, or with null.
        let Some(piece) = text(row, &format!("r{number}")) else { break };
        BASE64_STANDARD.decode_vec(piece, &mut bytes)?;
    }
    Ok(bytes)
}

pub(super) fn of_snapshot(key: &AggregateKey, snapshot: &[u8]) -> Row {
    let mut row = Row::new();
    row.insert("PartitionKey".to_owned(), Value::String(partition(key)));
    row.insert("RowKey".to_owned(), Value::String(SNAPSHOT.to_owned()));
    set_bytes(&mut row, snapshot);
    row
}

pub(super) fn snapshot(key: &AggregateKey, row: &Row) -> Result<Bytes, DriverError> {
    bytes_of(row).map(Bytes::from).map_err(|e| damaged(key, format!("its snapshot: {e}")))
}

pub(super) fn of_head(key: &AggregateKey, latest: Sequence) -> Row {
    let mut row = Row::new();
    let mut set = |name: &str, value: String| row.insert(name.to_owned(), Value::String(value));
    set("PartitionKey", partition(key));
    set("RowKey", HEAD.to_owned());
    set("latest@odata.type", "Edm.Int64".to_owned());
    // The service's integers are signed; no sequence is ever above.
    set("latest", latest.get().min(i64::MAX as u64).to_string());
    row
}

pub(super) fn key_of(row: &Row) -> Result<AggregateKey, DriverError> {
    let partition = text(row, "PartitionKey").ok_or_else(|| damaged("a row", "has no key"))?;
    let key = plain(partition).and_then(|key| AggregateKey::new(&key).ok());
    key.ok_or_else(|| damaged(partition, "is no escaped aggregate key"))
}

pub(super) fn latest(key: &AggregateKey, head: &Row) -> Result<Sequence, DriverError> {
    let latest = text(head, "latest").and_then(|latest| latest.parse().ok());
    latest.map(Sequence::new).ok_or_else(|| damaged(key, "its head says no sequence"))
}

pub(super) fn event(key: &AggregateKey, row: &Row) -> Result<KeyedEvent, DriverError> {
    let sequence = text(row, "RowKey").and_then(|number| number.parse().ok()).map(Sequence::new);
    let sequence = sequence.ok_or_else(|| damaged(key, "a row says no sequence"))?;
    let wrong = |problem: &dyn Display| damaged(key, format!("sequence {sequence}: {problem}"));
    let record = bytes_of(row).map_err(|e| wrong(&e))?;
    KeyedEvent::decode_record(key.clone(), sequence, Bytes::from(record)).map_err(|e| wrong(&e))
}

fn text<'a>(row: &'a Row, name: &str) -> Option<&'a str> {
    row.get(name).and_then(Value::as_str)
}

fn damaged(what: impl Display, problem: impl Display) -> DriverError {
    DriverError::damaged(format!("Azure Tables: {what}: {problem}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::event::{NewEvent, Timestamp};

    proptest! {
        #[test]
        fn an_escaped_key_reads_back(text in "[a-c/\\\\#?%!'☂ ]{1,60}") {
            let key = AggregateKey::new(&text).unwrap();
            let escaped = partition(&key);
            prop_assert!(!escaped.contains(['/', '\\', '#', '?', '%']));
            prop_assert_eq!(plain(&escaped).unwrap(), text);
        }

        #[test]
        fn an_event_reads_back(bytes in 1..400_000usize, sequence in 1..u64::MAX) {
            let key = AggregateKey::new("account/1").unwrap();
            let data = format!("\"{}\"", "x".repeat(bytes));
            let event = NewEvent::raw("Deposited", data).version(3).raw_metadata("{\"a\":1.10}");
            let event = event.check().unwrap().place(
                &key, Sequence::new(sequence), Uuid::new_v4(), Timestamp::from_micros(7),
            );
            prop_assert_eq!(super::event(&key, &of_event(&event)).unwrap(), event);
        }
    }

    #[test]
    fn a_key_that_does_not_fit_is_refused_by_its_escaped_length() {
        check_key(&AggregateKey::new(&"a".repeat(512)).unwrap()).unwrap();
        check_key(&AggregateKey::new(&"/".repeat(256)).unwrap()).unwrap();
        let error = check_key(&AggregateKey::new(&"/".repeat(257)).unwrap()).unwrap_err();
        assert!(error.to_string().contains("514 bytes per key"), "{error}");
    }

    #[test]
    fn what_is_not_as_it_was_written_is_damage() {
        let key = AggregateKey::new("a").unwrap();
        for row in [r#"{}"#, r#"{"RowKey":"x"}"#, r#"{"RowKey":"1"}"#, r#"{"RowKey":"1","r0":"?"}"#]
        {
            let row: Row = serde_json::from_str(row).unwrap();
            assert!(matches!(event(&key, &row), Err(DriverError::Damaged { .. })));
        }
        let row: Row = serde_json::from_str(r#"{"PartitionKey":"a!x"}"#).unwrap();
        assert!(matches!(key_of(&row), Err(DriverError::Damaged { .. })));
    }
}
