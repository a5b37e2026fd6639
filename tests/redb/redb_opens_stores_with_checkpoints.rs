//! A small store with checkpoints stays here, and every later version opens and reads it; see
//! `redb_opens_older_stores`.
//!
//! `fixtures/redb-v1-checkpoints/closed` was closed; `…/killed` was killed with half of its events
//! and checkpoints in the journal, its last frames without an event. `cargo test --test
//! redb_opens_stores_with_checkpoints -- --ignored` wrote them.

use std::fs;
use std::path::{Path, PathBuf};

use futures::executor::block_on;
use seriatim::Position;
use seriatim::driver::Driver;
use seriatim::driver::LogStore;
use seriatim::driver::redb::{RedbBuilder, RedbDriver};

use crate::support::puts::{all, assert_dense, key, log, put};

const NAMES: [&str; 2] = ["consumer/plain", "parked/odd ☂"];

fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/redb-v1-checkpoints");
    fixtures.join(name)
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

fn options() -> RedbBuilder {
    let hour = std::time::Duration::from_secs(3_600);
    let options = RedbDriver::builder().journal_file_bytes(RedbBuilder::MIN_JOURNAL_FILE_BYTES);
    options.apply_after(hour)
}

/// Four events, each followed by a checkpoint under either name.
fn fill(driver: &RedbDriver, first: u64) {
    for sequence in first..first + 4 {
        block_on(driver.put_events(put(&key("a"), sequence, 1, 10))).unwrap();
        for name in NAMES {
            let checkpoint = format!("{name} at {sequence}").into();
            block_on(driver.save_checkpoint(name, checkpoint)).unwrap();
        }
    }
}

#[test]
#[ignore = "writes the fixtures; run once when the format changes"]
fn write_fixtures() {
    let driver = options().open(fixture("closed")).unwrap();
    fill(&driver, 1);
    fill(&driver, 5);
    block_on(driver.close()).unwrap();
    let _ = fs::remove_file(fixture("closed").join("lock"));

    let directory = tempfile::tempdir().unwrap();
    let driver = options().open(directory.path()).unwrap();
    fill(&driver, 1);
    driver.verify().unwrap();
    fill(&driver, 5);
    copy(directory.path(), &fixture("killed"));
    block_on(driver.close()).unwrap();
    for name in ["reserve", "lock"] {
        let _ = fs::remove_file(fixture("killed").join(name));
    }
}

#[test]
fn a_store_that_was_closed_is_read() {
    assert_readable("closed");
}

#[test]
fn a_store_that_was_killed_is_read() {
    assert_readable("killed");
}

fn assert_readable(name: &str) {
    let directory = tempfile::tempdir().unwrap();
    copy(&fixture(name), directory.path());
    let mut last = 8;
    for _ in 0..2 {
        let driver = options().open(directory.path()).unwrap();
        for name in NAMES {
            let found = block_on(driver.load_checkpoint(name)).unwrap().unwrap();
            assert_eq!(found, format!("{name} at {last}"));
        }
        let events = all(&driver, &key("a")).unwrap();
        assert_dense(&events);
        assert_eq!(events.len() as u64, last);
        assert_eq!(log(&driver).unwrap(), events, "positions and sequences of one aggregate agree");
        assert_eq!(driver.last_position().unwrap(), Position::new(last));
        assert_eq!(driver.verify().unwrap().events, last);
        fill(&driver, last + 1);
        last += 4;
        block_on(driver.close()).unwrap();
    }
}
