//! A small store of each format version stays here, and every later version opens and reads it.
//!
//! `fixtures/redb-v1/closed` was closed; `fixtures/redb-v1/killed` was killed with half of its
//! events in the journal. `cargo test --test redb redb_opens_older_stores -- --ignored` writes
//! them, which is done once for each format version, by the version that brings it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::executor::block_on;
use seriatim::driver::redb::{RedbBuilder, RedbDriver};
use seriatim::driver::{Driver, Put};
use seriatim::{AggregateKey, KeyedEvent, Position};

use crate::support::puts::{all, log};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/redb-v1").join(name)
}

fn keys() -> [AggregateKey; 4] {
    ["plain", "account/1", "odd #?\\% 😀", "account/with/more"].map(|text| text.parse().unwrap())
}

/// The events of one aggregate, in every shape the format has.
fn events(number: usize, key: &AggregateKey, first: u64, count: u64) -> Vec<KeyedEvent> {
    (first..first + count)
        .map(|sequence| {
            let mut json = serde_json::json!({
                "key": key.as_str(),
                "sequence": sequence,
                "type": if sequence % 2 == 0 { "Moved" } else { "Opened ☂" },
                "data": {"number": number, "text": "größer", "list": [1, 2.50, null]},
                "commit_id": uuid::Uuid::from_u128(u128::from(sequence) << 8 | number as u128),
                "recorded_at": format!("2026-01-02T03:04:05.{sequence:06}Z"),
            });
            if sequence % 3 == 0 {
                json["metadata"] = serde_json::json!({"correlation_id": format!("c-{sequence}")});
                json["version"] = 7.into();
            }
            if sequence % 5 == 0 {
                json["event_id"] = uuid::Uuid::from_u128(u128::from(sequence)).to_string().into();
            }
            serde_json::from_str(&json.to_string()).unwrap()
        })
        .collect()
}

fn options() -> RedbBuilder {
    RedbDriver::builder().journal_file_bytes(RedbBuilder::MIN_JOURNAL_FILE_BYTES)
}

fn fill(driver: &RedbDriver, first: u64, count: u64) {
    for sequence in (first..first + count).step_by(2) {
        for (number, key) in keys().iter().enumerate() {
            let put = Arc::new(Put::new(events(number, key, sequence, 2)).unwrap());
            block_on(driver.put_events(put)).unwrap();
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
#[ignore = "writes the fixtures of this format version; run once when the format changes"]
fn write_fixtures() {
    let closed = fixture("closed");
    let driver = options().open(&closed).unwrap();
    fill(&driver, 1, 20);
    block_on(driver.close()).unwrap();

    // A copy of an open store's files is what a killed process leaves.
    let directory = tempfile::tempdir().unwrap();
    let hour = std::time::Duration::from_secs(3_600);
    let driver = options().apply_after(hour).open(directory.path()).unwrap();
    fill(&driver, 1, 10);
    driver.verify().unwrap();
    fill(&driver, 11, 10);
    copy(directory.path(), &fixture("killed"));
    block_on(driver.close()).unwrap();
    let _ = fs::remove_file(fixture("killed").join("reserve"));
}

#[test]
fn a_store_of_version_1_that_was_closed_is_read() {
    assert_readable("closed");
}

#[test]
fn a_store_of_version_1_that_was_killed_is_read() {
    assert_readable("killed");
}

fn assert_readable(name: &str) {
    let directory = tempfile::tempdir().unwrap();
    copy(&fixture(name), directory.path());
    let driver = RedbDriver::open(directory.path()).unwrap();
    let whole = log(&driver).unwrap();
    assert_eq!(whole.len(), 80);
    for (event, position) in whole.iter().zip(1..) {
        assert_eq!(event.position, Some(Position::new(position)));
    }
    for (number, key) in keys().iter().enumerate() {
        let stored = all(&driver, key).unwrap();
        let expected = events(number, key, 1, 20);
        assert_eq!(stored.len(), expected.len());
        for (mut stored, expected) in stored.into_iter().zip(expected) {
            assert!(stored.recorded_at >= expected.recorded_at);
            stored.position = None;
            stored.recorded_at = expected.recorded_at;
            assert_eq!(stored, expected);
        }
    }
    let verified = driver.verify().unwrap();
    assert_eq!((verified.events, verified.aggregates), (80, 4));
    fill(&driver, 21, 2);
    assert_eq!(log(&driver).unwrap().len(), 88);
    block_on(driver.close()).unwrap();
}
