//! One flipped bit of any value in redb's file is damage that is named: no sequence exists twice,
//! and no snapshot and no checkpoint comes back as another one.

use std::sync::Arc;

use futures::executor::block_on;
use seriatim::driver::redb::RedbDriver;
use seriatim::driver::{Driver, DriverError};

use crate::support::puts::{all, assert_dense, key, log, put, small, unapplied};
use crate::support::sim_disk::SimDisk;

const SNAPSHOT: &[u8] = b"the state of an entity";
const CHECKPOINT: &[u8] = b"how far a consumer has come";

/// A closed store with three events, a snapshot and a checkpoint.
fn closed() -> SimDisk {
    let disk = SimDisk::new();
    let driver = open(&disk);
    block_on(driver.put_events(put(&key("a"), 1, 3, 10))).unwrap();
    block_on(driver.snapshots().unwrap().save_snapshot(&key("a"), SNAPSHOT.into())).unwrap();
    block_on(driver.log().unwrap().save_checkpoint("c", CHECKPOINT.into())).unwrap();
    block_on(driver.close()).unwrap();
    disk
}

fn open(disk: &SimDisk) -> RedbDriver {
    small().open_on(Arc::new(disk.clone())).unwrap()
}

/// Flips a bit at this offset of each place that looks so.
fn flip(disk: &SimDisk, bytes: usize, offset: usize, is_it: impl Fn(&[u8]) -> bool) {
    let mut content = disk.content("events.redb");
    let found: Vec<usize> = content
        .windows(bytes)
        .enumerate()
        .filter(|(_, window)| is_it(window))
        .map(|(at, _)| at)
        .collect();
    assert!(!found.is_empty(), "the value was not found");
    for at in found {
        content[at + offset] ^= 1;
    }
    disk.set_content("events.redb", content);
}

fn is_damaged<T: std::fmt::Debug>(result: Result<T, DriverError>) {
    assert!(matches!(result, Err(DriverError::Damaged { .. })), "{result:?}");
}

#[test]
fn a_row_of_the_index() {
    let disk = closed();
    // Version, checksum; sequence 1, one run from position 1 on (1 × 2 + 1), its length less 2.
    flip(&disk, 9, 8, |row| row[0] == 2 && row[5..] == [1, 1, 3, 1]);
    let driver = open(&disk);
    is_damaged(all(&driver, &key("a")));
    is_damaged(block_on(driver.latest_sequence(&key("a"))));
    is_damaged(block_on(driver.put_events(put(&key("a"), 3, 1, 20))));
    is_damaged(block_on(driver.put_events(put(&key("a"), 4, 1, 20))));
    is_damaged(driver.verify());

    driver.reindex().unwrap();
    driver.verify().unwrap();
    block_on(driver.put_events(put(&key("a"), 4, 1, 20))).unwrap();
    let events = all(&driver, &key("a")).unwrap();
    assert_dense(&events);
    assert_eq!((events.len(), log(&driver).unwrap().len()), (4, 4));
    block_on(driver.close()).unwrap();
}

/// The store opens, since what the journal adds is merged later. Closing merges it, and meets the
/// damage.
#[test]
fn a_row_of_the_index_under_an_unapplied_journal() {
    let disk = closed();
    let driver = unapplied().open_on(Arc::new(disk.clone())).unwrap();
    block_on(driver.put_events(put(&key("a"), 4, 1, 10))).unwrap();
    block_on(driver.put_events(put(&key("b"), 1, 1, 10))).unwrap();
    let disk = disk.after_kill();
    drop(driver);
    flip(&disk, 9, 8, |row| row[0] == 2 && row[5..] == [1, 1, 3, 1]);
    let driver = open(&disk);
    is_damaged(all(&driver, &key("a")));
    is_damaged(driver.verify());
    assert_eq!(all(&driver, &key("b")).unwrap().len(), 1);
    is_damaged(block_on(driver.close()));

    for _ in 0..2 {
        let driver = small().rebuild_index().open_on(Arc::new(disk.clone())).unwrap();
        assert_eq!(driver.verify().unwrap().events, 5);
        let events = all(&driver, &key("a")).unwrap();
        assert_dense(&events);
        assert_eq!((events.len(), all(&driver, &key("b")).unwrap().len()), (4, 1));
        block_on(driver.close()).unwrap();
    }
    let driver = open(&disk);
    driver.verify().unwrap();
    block_on(driver.put_events(put(&key("a"), 5, 1, 10))).unwrap();
    block_on(driver.close()).unwrap();
}

#[test]
fn a_snapshot() {
    let disk = closed();
    flip(&disk, SNAPSHOT.len(), 4, |value| value == SNAPSHOT);
    let driver = open(&disk);
    is_damaged(block_on(driver.snapshots().unwrap().load_snapshot(&key("a"))));
    is_damaged(driver.verify());
    assert_eq!(all(&driver, &key("a")).unwrap().len(), 3);
    // The next one takes its place.
    block_on(driver.snapshots().unwrap().save_snapshot(&key("a"), SNAPSHOT.into())).unwrap();
    block_on(driver.close()).unwrap();
    let driver = open(&disk);
    driver.verify().unwrap();
    let loaded = block_on(driver.snapshots().unwrap().load_snapshot(&key("a"))).unwrap();
    assert_eq!(loaded.as_deref(), Some(SNAPSHOT));
}

#[test]
fn a_checkpoint() {
    let disk = closed();
    flip(&disk, CHECKPOINT.len(), 4, |value| value == CHECKPOINT);
    let driver = open(&disk);
    is_damaged(block_on(driver.log().unwrap().load_checkpoint("c")));
    is_damaged(driver.verify());
    assert_eq!(block_on(driver.log().unwrap().load_checkpoint("d")).unwrap(), None);
    // The next one takes its place.
    block_on(driver.log().unwrap().save_checkpoint("c", CHECKPOINT.into())).unwrap();
    block_on(driver.close()).unwrap();
    let driver = open(&disk);
    driver.verify().unwrap();
    let loaded = block_on(driver.log().unwrap().load_checkpoint("c")).unwrap();
    assert_eq!(loaded.as_deref(), Some(CHECKPOINT));
}
