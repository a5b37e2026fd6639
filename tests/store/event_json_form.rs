//! The JSON form of a stored event: the four fields `key`, `sequence`, `type` and `data` first, the
//! others under names of their own behind them, always in the same order and on one line. Numbers
//! come back byte for byte, and what was written can be read again.

use std::time::{Duration, SystemTime};

use crate::support::history;
use seriatim::{Append, EventStore, KeyedEvent, NewEvent, Position, Timestamp};
use uuid::Uuid;

const COMMIT: Uuid = Uuid::from_u128(0x11);
const EVENT_ID: Uuid = Uuid::from_u128(0x22);

/// Numbers that a detour through floating point would change.
const NUMBERS: &str = r#"[9007199254740993,-9223372036854775809,1.10,1e400,-0.0,0.1e-7,123456789012345678901234567890.123456789]"#;

/// The event as stored and read back, on memory and on redb.
async fn stored(event: NewEvent) -> [KeyedEvent; 2] {
    let directory = tempfile::tempdir().unwrap();
    let redb = format!("redb:{}", directory.path().display());
    let mut events = Vec::new();
    for url in ["memory:", &redb] {
        let store = EventStore::builder()
            .url(url)
            .clock(|| SystemTime::UNIX_EPOCH + Duration::from_micros(1_500_000))
            .open()
            .await
            .unwrap();
        let append = Append::to("account/1").commit_id(COMMIT).event(event.clone());
        store.append(append).await.unwrap();
        events.extend(history(&store, "account/1").await);
        store.close().await.unwrap();
    }
    events.try_into().unwrap()
}

/// `json` with or without the number of the append's call, which stands after the commit id.
fn assert_round_trips(event: &KeyedEvent, json: &str) {
    let whole = serde_json::to_string(event).unwrap();
    let attempt = whole.split_once(r#""attempt":"#).unwrap().1.split_once(',').unwrap().0;
    assert!(attempt.parse::<u64>().unwrap() < 1 << 53, "{attempt}");
    let field = format!(r#""attempt":{attempt},"#);
    assert_eq!(whole.replacen(&field, "", 1), json.replacen(&field, "", 1));
    let json = whole.as_str();
    let again: KeyedEvent = serde_json::from_str(json).unwrap();
    assert_eq!(again, *event);
    assert_eq!(again.event_id(), event.event_id());
    let from_bytes: KeyedEvent = serde_json::from_slice(json.as_bytes()).unwrap();
    assert_eq!(serde_json::to_string(&from_bytes).unwrap(), json);
    let from_reader: KeyedEvent = serde_json::from_reader(json.as_bytes()).unwrap();
    assert_eq!(serde_json::to_string(&from_reader).unwrap(), json);
}

#[tokio::test]
async fn four_fields_and_the_others_under_names_of_their_own() {
    let event = NewEvent::raw("Opened", r#"{"owner":"Ada"}"#)
        .version(3)
        .raw_metadata(r#"{"correlation_id":"c","user":7}"#)
        .id(EVENT_ID);
    for event in stored(event).await {
        assert_round_trips(
            &event,
            concat!(
                r#"{"key":"account/1","sequence":1,"type":"Opened","data":{"owner":"Ada"},"#,
                r#""version":3,"metadata":{"correlation_id":"c","user":7},"#,
                r#""event_id":"00000000-0000-0000-0000-000000000022","#,
                r#""commit_id":"00000000-0000-0000-0000-000000000011","#,
                r#""recorded_at":"1970-01-01T00:00:01.500000Z","position":1}"#,
            ),
        );
    }
}

#[tokio::test]
async fn what_has_no_value_is_not_there() {
    for mut event in stored(NewEvent::raw("Opened", "{}")).await {
        event.position = None;
        assert_round_trips(
            &event,
            concat!(
                r#"{"key":"account/1","sequence":1,"type":"Opened","data":{},"version":1,"#,
                r#""commit_id":"00000000-0000-0000-0000-000000000011","#,
                r#""recorded_at":"1970-01-01T00:00:01.500000Z"}"#,
            ),
        );
    }
}

#[tokio::test]
async fn numbers_order_and_spaces_stay_byte_for_byte() {
    let data = format!(r#"{{"z":{NUMBERS}, "a" : "ü😀\u00fc\/\n", "a":null}}"#);
    let metadata = format!(r#"{{"numbers":{NUMBERS}}}"#);
    for event in stored(NewEvent::raw("E", data.clone()).raw_metadata(metadata.clone())).await {
        assert_eq!(event.data.as_str(), data);
        assert_eq!(event.metadata.as_ref().unwrap().as_str(), metadata);
        let json = serde_json::to_string(&event).unwrap();
        assert!(json.contains(&data) && json.contains(&metadata), "{json}");
        assert_round_trips(&event, &json);
        let all: Vec<KeyedEvent> = serde_json::from_str(&format!("[{json}, {json}]")).unwrap();
        assert_eq!(all, [event.clone(), event]);
    }
}

#[tokio::test]
async fn an_event_stays_one_line() {
    let data = "{\r\n  \"text\": \"two\\nlines\",\n\n  \"list\": [\r1,\n2]\n}\n";
    let event = NewEvent::raw("E", data).raw_metadata("\n{\n}\n");
    for event in stored(event).await {
        assert_eq!(
            event.data.as_str(),
            "{    \"text\": \"two\\nlines\",    \"list\": [ 1, 2] }",
            "more than the line breaks has changed"
        );
        let json = serde_json::to_string(&event).unwrap();
        assert!(!json.contains(['\n', '\r']), "{json}");
        assert_round_trips(&event, &json);
        // An export of many events, a line each.
        let lines = format!("{json}\n{json}\n");
        let read: Vec<KeyedEvent> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read.len(), 2);
    }
}

#[test]
fn fields_are_found_in_any_order_and_strangers_are_passed_over() {
    let json = concat!(
        r#"{"position":7,"data":{"x":1.10},"later":[{}],"type":"E","key":"k","#,
        r#""recorded_at":"2026-01-02T03:04:05Z","sequence":4,"#,
        r#""commit_id":"00000000-0000-0000-0000-000000000011"}"#,
    );
    let event: KeyedEvent = serde_json::from_str(json).unwrap();
    assert_eq!((event.key.as_str(), event.event_type(), event.version), ("k", "E", 1));
    assert_eq!((event.sequence, event.position), (4.into(), Some(Position::new(7))));
    assert_eq!(event.data.as_str(), r#"{"x":1.10}"#);
    assert_eq!(event.recorded_at, "2026-01-02T03:04:05Z".parse::<Timestamp>().unwrap());
}

#[test]
fn what_is_no_event_is_refused() {
    let good = concat!(
        r#"{"key":"k","sequence":4,"type":"E","data":1,"recorded_at":"2026-01-02T03:04:05Z","#,
        r#""commit_id":"00000000-0000-0000-0000-000000000011"}"#,
    );
    serde_json::from_str::<KeyedEvent>(good).unwrap();
    for (part, bad) in [
        (r#""key":"k","#, r#""key":"","#),
        (r#""key":"k","#, ""),
        (r#""sequence":4,"#, r#""sequence":-4,"#),
        (r#""sequence":4,"#, r#""sequence":4.5,"#),
        (r#""type":"E","#, ""),
        (r#""data":1,"#, ""),
        (r#""data":1,"#, r#""data":,"#),
        ("2026-01-02T03:04:05Z", "yesterday"),
        ("00000000-0000-0000-0000-000000000011", "11"),
    ] {
        let json = good.replacen(part, bad, 1);
        assert_ne!(json, good);
        assert!(serde_json::from_str::<KeyedEvent>(&json).is_err(), "{json}");
    }
}
