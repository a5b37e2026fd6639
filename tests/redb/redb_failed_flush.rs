//! After a failed flush nobody can say what the disk holds: puts are refused until the store is
//! opened again, and reads go on.

use std::sync::Arc;

use futures::executor::block_on;
use seriatim::driver::{Driver, DriverError};

use crate::support::puts::{all, assert_dense, key, put, small, unapplied};
use crate::support::sim_disk::SimDisk;

#[test]
fn a_failed_flush_of_the_journal_stops_puts_and_not_reads() {
    let disk = SimDisk::new();
    let driver = unapplied().open_on(Arc::new(disk.clone())).unwrap();
    let one = key("one");
    block_on(driver.put_events(put(&one, 1, 3, 10))).unwrap();
    disk.fail_next_sync("journal/");
    let unknown = block_on(driver.put_events(put(&one, 4, 1, 10))).unwrap_err();
    assert!(unknown.may_have_been_written(), "{unknown}");
    for _ in 0..3 {
        let refused = block_on(driver.put_events(put(&one, 4, 1, 10))).unwrap_err();
        assert!(matches!(refused, DriverError::Failed { .. }), "{refused:?}");
    }
    // Answered events are read; the others never show.
    assert_eq!(all(&driver, &one).unwrap().len(), 3);
    assert!(block_on(driver.close()).is_err());

    let driver = small().open_on(Arc::new(disk.after_kill())).unwrap();
    let events = all(&driver, &one).unwrap();
    assert_dense(&events);
    assert!(events.len() == 3 || events.len() == 4);
    block_on(driver.put_events(put(&one, events.len() as u64 + 1, 1, 10))).unwrap();
    block_on(driver.close()).unwrap();
}

#[test]
fn a_failed_flush_of_redb_stops_puts_and_loses_nothing() {
    let disk = SimDisk::new();
    let driver = small().open_on(Arc::new(disk.clone())).unwrap();
    let one = key("one");
    disk.fail_next_sync("events.redb");
    let mut answered = 0;
    let refused = loop {
        match block_on(driver.put_events(put(&one, answered + 1, 1, 500))) {
            Ok(_) => answered += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, DriverError::Failed { .. }), "{refused:?}");
    assert!(block_on(driver.close()).is_err());
    let driver = small().open_on(Arc::new(disk.after_kill())).unwrap();
    let events = all(&driver, &one).unwrap();
    assert_eq!(events.len() as u64, answered);
    assert_dense(&events);
    block_on(driver.close()).unwrap();
}
