//! Bad input gets a typed error whose message says what to fix, and changes nothing: the driver is
//! not even asked. Right at each limit the same input is taken.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{append, assert_says, event, held_driver, held_driver_with, history};
use seriatim::driver::faults::FaultyDriver;
use seriatim::driver::{Limit, Limits};
use seriatim::{
    AggregateKey, Append, AppendError, Builder, EventError, EventStore, KeyError,
    MAX_EVENT_TYPE_BYTES, NewEvent, OpenError, ReadError,
};

/// Appends, and proves that the driver was not asked and that trying again makes no sense.
async fn refused(append: Append) -> AppendError {
    refused_by(held_driver(), append).await
}

async fn refused_by(driver: Arc<FaultyDriver>, append: Append) -> AppendError {
    driver.release_puts();
    let store = EventStore::builder().driver(driver.clone()).open().await.unwrap();
    let error = store.append(append.clone()).await.unwrap_err();
    let tried = store.try_append(append).await.unwrap_err();
    assert_eq!(error.to_string(), tried.to_string());
    assert!(!error.is_retryable() && !error.is_conflict(), "{error}");
    assert_eq!(driver.counts().total(), 0, "the driver was asked, although: {error}");
    assert_eq!(store.resident(), 0, "an actor was started, although: {error}");
    store.close().await.unwrap();
    error
}

const BAD_KEYS: [(&str, &str); 6] = [
    ("", "empty"),
    ("a\nb", "control character"),
    ("\0", "control character"),
    ("tab\t", "at byte 3"),
    ("\u{7f}", "control character"),
    ("next\u{85}line", "control character"),
];

#[tokio::test]
async fn keys_that_are_none() {
    for (key, says) in BAD_KEYS {
        let error = refused(append(key)).await;
        assert!(matches!(error, AppendError::InvalidKey(_)), "{error:?}");
        assert_says(&error, &["aggregate key", says]);
    }
    let longest = "k".repeat(AggregateKey::MAX_BYTES);
    let error = refused(append(&format!("{longest}k"))).await;
    assert!(matches!(error, AppendError::InvalidKey(KeyError::TooLong { bytes: 513 })));
    assert_says(&error, &["513 bytes", "limit of 512"]);
    // It is bytes that count.
    let error = refused(append(&"é".repeat(257))).await;
    assert!(matches!(error, AppendError::InvalidKey(KeyError::TooLong { bytes: 514 })));

    let store = EventStore::open("memory:").await.unwrap();
    assert_eq!(store.append(append(&longest)).await.unwrap().last, 1);
    store.close().await.unwrap();
}

#[tokio::test]
async fn reads_of_keys_that_are_none() {
    let store = EventStore::open("memory:").await.unwrap();
    for (key, says) in BAD_KEYS {
        let errors = [
            store.read(key).collect().await.unwrap_err(),
            store.read(key).next().await.unwrap().unwrap_err(),
            store.latest_sequence(key).await.unwrap_err(),
            store.exists(key).await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, ReadError::InvalidKey(_)), "{error:?}");
            assert!(!error.is_retryable());
            assert_says(&error, &["aggregate key", says]);
        }
    }
    // A prefix is no key: nothing begins with it, and that is all.
    assert_eq!(store.keys("a\nb").collect().await.unwrap(), []);
    assert_eq!(store.keys("k".repeat(600)).collect().await.unwrap(), []);
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_append_without_events() {
    let error = refused(Append::to("a/1")).await;
    assert!(matches!(error, AppendError::Empty { .. }), "{error:?}");
    assert_says(&error, &["a/1", "at least one event"]);
}

/// The bad event stands behind a good one, which must not be written either.
async fn refused_event(bad: NewEvent) -> (EventError, AppendError) {
    let error = refused(append("a/1").event(bad).event(event(2))).await;
    assert_says(&error, &["a/1", "event 1"]);
    match &error {
        AppendError::InvalidEvent { index: 1, source, .. } => (source.clone(), error),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn data_that_is_not_json() {
    for text in
        ["", " ", "{", "{} {}", "nul", "'x'", "{\"a\":}", "\"line\nbreak\"", "\u{feff}{}", "NaN"]
    {
        let (source, error) = refused_event(NewEvent::raw("E", text)).await;
        assert!(matches!(source, EventError::Data(_)), "{text:?}: {source:?}");
        assert_says(&error, &["data is not JSON"]);
    }
    let (source, _) = refused_event(NewEvent::raw("E", &b"\"\xff\""[..])).await;
    assert!(matches!(source, EventError::Data(_)), "{source:?}");
    let no_json_form = HashMap::from([((1, 2), 3)]);
    let (source, error) = refused_event(NewEvent::new("E", &no_json_form)).await;
    assert!(matches!(source, EventError::Data(_)), "{source:?}");
    assert_says(&error, &["key must be a string"]);
}

#[tokio::test]
async fn metadata_that_is_no_object() {
    for text in ["[1]", "1", "\"{}\"", "null", "true"] {
        let (source, error) = refused_event(event(1).raw_metadata(text)).await;
        assert!(matches!(source, EventError::MetadataNotAnObject), "{text:?}: {source:?}");
        assert_says(&error, &["metadata is not a JSON object"]);
    }
    let (source, error) = refused_event(event(1).raw_metadata("{")).await;
    assert!(matches!(source, EventError::Metadata(_)), "{source:?}");
    assert_says(&error, &["metadata is not JSON"]);
    let (source, _) = refused_event(event(1).metadata(&[1])).await;
    assert!(matches!(source, EventError::MetadataNotAnObject), "{source:?}");
}

#[tokio::test]
async fn event_types_that_are_none() {
    let longest = "t".repeat(MAX_EVENT_TYPE_BYTES);
    for name in ["", "a\nb", "\0", &format!("{longest}t")] {
        let (source, error) = refused_event(NewEvent::raw(name, "{}")).await;
        assert!(matches!(source, EventError::Type), "{name:?}: {source:?}");
        assert_says(&error, &["event type", "256 bytes"]);
    }
    let store = EventStore::open("memory:").await.unwrap();
    store.append(Append::to("a").event(NewEvent::raw(&longest, "{}"))).await.unwrap();
    assert_eq!(history(&store, "a").await[0].event_type(), longest);
    store.close().await.unwrap();
}

/// An event of the aggregate "a" that has exactly so many bytes, as drivers count them.
fn sized(bytes: usize) -> NewEvent {
    NewEvent::raw("T", format!("\"{}\"", "x".repeat(bytes - "a".len() - "T".len() - 2)))
}

#[tokio::test]
async fn appends_over_a_limit_of_the_driver() {
    let mut limits = Limits::default();
    limits.events_per_put = 5;
    limits.bytes_per_event = 100;
    limits.bytes_per_put = 300;
    limits.bytes_per_key = 20;
    let held = || held_driver_with(limits);
    let too_large = async |append, limit, max, actual, name: &str| {
        let error = refused_by(held(), append).await;
        let AppendError::TooLarge { exceeded, .. } = &error else { panic!("{error:?}") };
        assert_eq!((exceeded.limit, exceeded.max, exceeded.actual), (limit, max, actual));
        assert_says(&error, &[name, &max.to_string(), &actual.to_string()]);
    };
    let to = |events: &[usize]| Append::to("a").events(events.iter().copied().map(sized));
    too_large(to(&[50, 101]), Limit::BytesPerEvent, 100, 101, "bytes per event").await;
    too_large(to(&[100, 100, 60, 41]), Limit::BytesPerPut, 300, 301, "bytes per put").await;
    too_large(to(&[10; 6]), Limit::EventsPerPut, 5, 6, "events per put").await;
    let long_key = "k".repeat(21);
    too_large(append(&long_key), Limit::BytesPerKey, 20, 21, "bytes per key").await;

    let driver = held();
    driver.release_puts();
    let store = EventStore::builder().driver(driver).open().await.unwrap();
    assert_eq!(store.append(to(&[100, 100, 60, 30, 10])).await.unwrap().last, 5);
    assert_eq!(store.append(append(&long_key[1..])).await.unwrap().last, 1);
    store.close().await.unwrap();
}

#[tokio::test]
async fn appends_over_the_limits_of_the_built_in_drivers() {
    let directory = tempfile::tempdir().unwrap();
    for url in ["memory:".to_owned(), format!("redb:{}", directory.path().display())] {
        let store = EventStore::open(url).await.unwrap();
        let limits = Limits::default();
        let too_many = Append::to("a").events((0..=limits.events_per_put as u64).map(event));
        let too_large = Append::to("a").event(sized(limits.bytes_per_event + 1));
        let too_large_together = Append::to("a").events((0..3).map(|_| sized(6 << 20)));
        for append in [too_many, too_large, too_large_together] {
            let error = store.append(append).await.unwrap_err();
            assert!(matches!(error, AppendError::TooLarge { .. }), "{error:?}");
        }
        assert_eq!(store.keys("").collect().await.unwrap(), []);
        let largest = Append::to("a").event(sized(limits.bytes_per_event));
        assert_eq!(store.append(largest).await.unwrap().last, 1);
        assert_eq!(history(&store, "a").await[0].size_bytes(), limits.bytes_per_event);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn urls_that_name_no_store() {
    for url in ["", "nosuch:thing", "Memory:", "/tmp/x", "redb2:x", ":"] {
        let error = EventStore::open(url).await.unwrap_err();
        assert!(matches!(error, OpenError::UnknownScheme { .. }), "{url:?}: {error:?}");
        // Any part of a URL that no driver knows may be a secret, so it is not repeated.
        assert_says(&error, &["names no driver", "memory:", "redb:DIRECTORY"]);
    }
    for (url, says) in [("redb:", "directory"), ("redb", "directory"), ("memory:x", "no name")] {
        let error = EventStore::open(url).await.unwrap_err();
        assert!(matches!(error, OpenError::Driver { .. }), "{url:?}: {error:?}");
        assert_says(&error, &[url, says]);
    }
    let error = EventStore::builder().open().await.unwrap_err();
    assert!(matches!(error, OpenError::NoDriver), "{error:?}");
    assert_says(&error, &["URL or a driver"]);
}

#[tokio::test]
async fn options_that_cannot_work() {
    type Option = (&'static str, fn(Builder) -> Builder);
    let zero: [Option; 9] = [
        ("arbiters", |builder| builder.arbiters(0)),
        ("permits_per_aggregate", |builder| builder.permits_per_aggregate(0)),
        ("max_resident", |builder| builder.max_resident(0)),
        ("bytes_in_flight", |builder| builder.bytes_in_flight(0)),
        ("commit_id_window", |builder| builder.commit_id_window(0)),
        ("idle_timeout", |builder| builder.idle_timeout(Duration::ZERO)),
        ("put_deadline", |builder| builder.put_deadline(Duration::ZERO)),
        ("put_attempt_timeout", |builder| builder.put_attempt_timeout(Duration::ZERO)),
        ("read_deadline", |builder| builder.read_deadline(Duration::ZERO)),
    ];
    let too_large: [Option; 2] = [
        ("permits_per_aggregate", |builder| builder.permits_per_aggregate(usize::MAX)),
        ("max_resident", |builder| builder.max_resident(usize::MAX)),
    ];
    for (name, set) in zero.into_iter().chain(too_large) {
        let error = set(EventStore::builder().url("memory:")).open().await.unwrap_err();
        match &error {
            OpenError::InvalidOption { option, .. } => assert_eq!(*option, name),
            other => panic!("{name}: {other:?}"),
        }
        assert_says(&error, &[name]);
    }
}

/// The largest value means "never" or "no bound".
#[tokio::test]
async fn the_largest_options_work() {
    let driver = held_driver();
    driver.release_puts();
    let store = EventStore::builder()
        .driver(driver)
        .idle_timeout(Duration::MAX)
        .put_deadline(Duration::MAX)
        .put_attempt_timeout(Duration::MAX)
        .read_deadline(Duration::MAX)
        .close_deadline(Duration::MAX)
        .bytes_in_flight(usize::MAX)
        .commit_id_window(usize::MAX)
        .open()
        .await
        .unwrap();
    let id = uuid::Uuid::new_v4();
    for repeated in [false, true] {
        let appended = store.append(append("a").commit_id(id)).await.unwrap();
        assert_eq!((appended.last, appended.repeated), (1.into(), repeated));
    }
    assert_eq!(history(&store, "a").await.len(), 1);
    store.close().await.unwrap();
}
