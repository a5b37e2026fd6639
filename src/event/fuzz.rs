//! Unit tests: no bytes and no text harm the decoders of events, and what they accept reads back.

use bytes::Bytes;

use super::fuzzing::fuzz;
use super::{AggregateKey, KeyedEvent, NewEvent, RawJson, Sequence, Timestamp, is_same_json};
use uuid::Uuid;

/// The outcome without what each input has of its own.
fn kind<T>(result: &Result<T, impl std::fmt::Display>) -> String {
    match result {
        Ok(_) => "taken".to_owned(),
        Err(error) => error.to_string().chars().filter(|c| !c.is_ascii_digit()).take(60).collect(),
    }
}

fn key() -> AggregateKey {
    AggregateKey::new("order/1").unwrap()
}

fn events() -> Vec<KeyedEvent> {
    let plain = NewEvent::raw("Happened", r#"{"t":"some text"}"#);
    let full = plain.clone().version(7).id(Uuid::from_u128(1)).raw_metadata(r#"{"user":"ada"}"#);
    let place = |event: NewEvent| {
        let event = event.check().unwrap();
        event.place(&key(), Sequence::new(1), Uuid::from_u128(7), Timestamp::from_micros(1))
    };
    let mut attempted = place(full.clone());
    attempted.attempt = Some(5);
    vec![place(plain), place(full), attempted]
}

fn records() -> Vec<Vec<u8>> {
    let record = |event: &KeyedEvent| {
        let mut record = Vec::new();
        event.encode_record(&mut record);
        record
    };
    events().iter().map(record).collect()
}

#[test]
fn fuzz_record() {
    let decode = |record: &[u8]| {
        KeyedEvent::decode_record(key(), Sequence::new(1), Bytes::copy_from_slice(record))
    };
    fuzz("record", records(), |input| {
        let decoded = decode(input);
        if let Ok(event) = &decoded {
            let mut again = Vec::new();
            event.encode_record(&mut again);
            assert_eq!(again.len(), event.record_bytes());
            assert_eq!(decode(&again).as_ref(), Ok(event));
            // The data may be no JSON: records are checked by who keeps them.
            let _ = (event.json::<serde_json::Value>(), serde_json::to_string(event));
            let _ = (event.event_id(), event.size_bytes());
        }
        let shape = |e: &KeyedEvent| {
            (e.attempt.is_some(), e.metadata.is_some(), e.explicit_event_id.is_some())
        };
        (kind(&decoded), decoded.as_ref().ok().map(shape))
    });
}

#[test]
fn fuzz_event_json() {
    let seeds = events().into_iter().map(|event| serde_json::to_vec(&event).unwrap());
    fuzz("event_json", seeds, |input| {
        let decoded = serde_json::from_slice::<KeyedEvent>(input);
        if let Ok(event) = &decoded {
            let text = serde_json::to_string(event).unwrap();
            assert!(!text.contains(['\n', '\r']), "one event is one line");
            assert_eq!(serde_json::from_str::<KeyedEvent>(&text).unwrap(), *event);
        }
        kind(&decoded)
    });
}

#[test]
fn fuzz_json() {
    let seeds =
        [r#"{"a":[1,2.50,-0,1e9,9007199254740993],"b":"x\n☂\ud800","c":null}"#, " [true]\n"];
    fuzz("json", seeds.map(|seed| seed.as_bytes().to_vec()), |input| {
        let parsed = RawJson::parse(Bytes::copy_from_slice(input));
        if let Ok(json) = &parsed {
            assert!(!json.as_str().contains(['\n', '\r']) && json.len() <= input.len());
            assert_eq!(RawJson::parse(json.to_bytes()).as_ref(), Ok(json));
            let field = ("added", RawJson::parse("1").unwrap());
            let with = RawJson::object_with(Some(json), &[field]).unwrap();
            assert_eq!(with.is_object(), json.is_object());
            // A surrogate alone is JSON, but no text.
            if json.json::<serde_json::Value>().is_ok() {
                assert!(is_same_json(json.as_bytes(), json.as_bytes()));
            }
        }
        kind(&parsed)
    });
}

#[test]
fn fuzz_key() {
    let seeds = ["account/1", "☂/☂", "a//b", "\u{9f}", "a\nb"];
    let long = vec![b'k'; AggregateKey::MAX_BYTES];
    let seeds = seeds.iter().map(|seed| seed.as_bytes().to_vec()).chain([long]);
    fuzz("key", seeds, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return "no text".to_owned() };
        let key = AggregateKey::new(text);
        if let Ok(key) = &key {
            assert_eq!(key.as_str(), text);
            assert!(key.category().len() <= text.len());
            let json = serde_json::to_string(key).unwrap();
            assert_eq!(serde_json::from_str::<AggregateKey>(&json).unwrap(), *key);
            let again = key.id().map(|id| AggregateKey::of_entity(key.category(), id));
            if let Some(Ok(again)) = again {
                assert_eq!(again, *key);
            }
        }
        let sound = !text.is_empty()
            && text.len() <= AggregateKey::MAX_BYTES
            && !text.chars().any(char::is_control);
        assert_eq!(key.is_ok(), sound, "{text:?}");
        kind(&key)
    });
}

#[test]
fn fuzz_timestamp() {
    let seeds = [
        "1970-01-01T00:00:01.500000Z",
        "2026-11-27T11:22:33+02:00",
        "-009999-01-02T01:59:59Z",
        "9999-12-30T22:00:00.999999999Z",
        "@-9223372036854775808us",
        "2026-02-29T24:60:61[Europe/Berlin]",
    ];
    fuzz("timestamp", seeds.map(|seed| seed.as_bytes().to_vec()), |input| {
        let Ok(text) = std::str::from_utf8(input) else { return "no text".to_owned() };
        let time = text.parse::<Timestamp>();
        if let Ok(time) = time {
            assert_eq!(time.to_string().parse(), Ok(time));
            let json = serde_json::to_string(&time).unwrap();
            assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), time);
            let _ = std::time::SystemTime::from(time);
        }
        let separators = |c: &char| !c.is_ascii_digit();
        format!("{} {}", time.is_ok(), text.chars().filter(separators).take(8).collect::<String>())
    });
}
