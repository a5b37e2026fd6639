//! A store whose directory is moved or replaced while it is open touches no file of the store that
//! stands in its place; a link that is turned elsewhere changes nothing.

use std::path::Path;

use futures::executor::block_on;
use seriatim::driver::Driver;
use seriatim::driver::redb::RedbDriver;

use crate::support::puts::{all, assert_dense, key, put, small};

/// One event an aggregate, until the driver refuses or so many are written: how many were.
fn fill(driver: &RedbDriver, most: u64) -> u64 {
    let one = key("one");
    let first = all(driver, &one).unwrap().len() as u64 + 1;
    let written =
        |sequence: &u64| block_on(driver.put_events(put(&one, *sequence, 1, 1_000))).is_ok();
    (first..first + most).take_while(written).count() as u64
}

fn events(path: &Path) -> u64 {
    let driver = small().open(path).unwrap();
    let events = all(&driver, &key("one")).unwrap();
    assert_dense(&events);
    block_on(driver.close()).unwrap();
    events.len() as u64
}

#[test]
fn the_store_in_its_place_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (place, elsewhere) = (folder.path().join("store"), folder.path().join("moved"));
    let moved = small().open(&place).unwrap();
    let before = fill(&moved, 10);
    std::fs::rename(&place, &elsewhere).unwrap();

    let other = small().open(&place).unwrap();
    let of_other = fill(&other, 100);
    // The moved one goes on in the files that it has open, and refuses when it needs another.
    let more = fill(&moved, 1_000);
    let error = block_on(moved.close()).unwrap_err().to_string();
    assert!(error.contains("moved or replaced") && error.contains("store"), "{error}");

    let of_other = of_other + fill(&other, 100);
    assert_eq!(of_other, 200);
    block_on(other.close()).unwrap();
    assert_eq!(events(&place), of_other);
    assert_eq!(events(&elsewhere), before + more);
}

#[cfg(unix)]
#[test]
fn a_link_that_is_turned_elsewhere_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (link, one, two) =
        (folder.path().join("link"), folder.path().join("1"), folder.path().join("2"));
    std::fs::create_dir(&one).unwrap();
    std::fs::create_dir(&two).unwrap();
    std::os::unix::fs::symlink(&one, &link).unwrap();
    let driver = small().open(&link).unwrap();
    let before = fill(&driver, 10);
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&two, &link).unwrap();
    assert_eq!(before + fill(&driver, 500), 510);
    block_on(driver.close()).unwrap();
    assert_eq!(events(&one), 510);
    assert_eq!(std::fs::read_dir(&two).unwrap().count(), 0);
}
