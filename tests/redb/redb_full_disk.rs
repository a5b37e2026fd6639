//! A full disk refuses puts and harms nothing: reads go on, and when there is room again puts are
//! taken without opening again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use seriatim::driver::{Driver, DriverError, Put};
use uuid::Uuid;

use crate::support::puts::{all, assert_dense, event, key, put, small, unapplied};
use crate::support::sim_disk::SimDisk;

#[test]
fn puts_are_refused_until_there_is_room() {
    let disk = SimDisk::new();
    let driver = small().open_on(Arc::new(disk.clone())).unwrap();
    let one = key("one");
    let mut answered = 0;
    for _ in 0..50 {
        block_on(driver.put_events(put(&one, answered + 1, 1, 500))).unwrap();
        answered += 1;
    }
    // Room for a little more, and then no more.
    disk.set_capacity(Some(disk.used() + (100 << 10)));
    let refused = loop {
        match block_on(driver.put_events(put(&one, answered + 1, 1, 4_000))) {
            Ok(_) => answered += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, DriverError::Unavailable { .. }), "{refused:?}");
    assert!(refused.is_retryable() && !refused.may_have_been_written());
    let events = all(&driver, &one).unwrap();
    assert_eq!(events.len() as u64, answered);
    assert_dense(&events);

    disk.set_capacity(None);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match block_on(driver.put_events(put(&one, answered + 1, 1, 4_000))) {
            Ok(_) => break,
            Err(error) if error.is_retryable() && Instant::now() < deadline => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(all(&driver, &one).unwrap().len() as u64, answered + 1);
    driver.verify().unwrap();
    block_on(driver.close()).unwrap();
}

#[test]
fn a_store_closed_on_a_full_disk_opens_again_with_everything() {
    let disk = SimDisk::new();
    let driver = small().open_on(Arc::new(disk.clone())).unwrap();
    let one = key("one");
    let mut answered = 0;
    block_on(driver.put_events(put(&one, 1, 1, 500))).unwrap();
    answered += 1;
    disk.set_capacity(Some(disk.used() + (60 << 10)));
    while block_on(driver.put_events(put(&one, answered + 1, 1, 4_000))).is_ok() {
        answered += 1;
    }
    // It may or may not find room for the rest; either way nothing is lost.
    let _ = block_on(driver.close());
    disk.set_capacity(None);
    let driver = small().open_on(Arc::new(disk.after_kill())).unwrap();
    let events = all(&driver, &one).unwrap();
    assert_eq!(events.len() as u64, answered);
    assert_dense(&events);
    driver.verify().unwrap();
    block_on(driver.close()).unwrap();
}

#[test]
fn a_store_that_finds_no_room_on_opening_opens_when_there_is() {
    let disk = SimDisk::new();
    let driver = unapplied().open_on(Arc::new(disk.clone())).unwrap();
    let one = key("one");
    for sequence in 1..=100 {
        block_on(driver.put_events(put(&one, sequence, 1, 4_000))).unwrap();
    }
    let disk = disk.after_kill();
    // Room for the journal's new file, then only for a part of what is in the old ones.
    for more in [0, 100 << 10, 300 << 10] {
        disk.set_capacity(Some(disk.used() + more));
        let refused = small().open_on(Arc::new(disk.clone())).map(drop).unwrap_err();
        assert!(matches!(refused, DriverError::Unavailable { .. }), "{more}: {refused:?}");
    }
    disk.set_capacity(None);
    let driver = small().open_on(Arc::new(disk)).unwrap();
    let events = all(&driver, &one).unwrap();
    assert_eq!(events.len(), 100);
    assert_dense(&events);
    driver.verify().unwrap();
    block_on(driver.close()).unwrap();
}

/// No room is made sure of for it. redb's file is given up then until the store is opened again,
/// and every answer says so.
#[test]
fn an_index_that_finds_no_room_is_not_rebuilt() {
    let disk = SimDisk::new();
    let driver = unapplied().open_on(Arc::new(disk.clone())).unwrap();
    for hundred in 0..50 {
        let keys = (0..100).map(|n| key(&format!("aggregate/{hundred:02}{n:02}")));
        let events = keys.map(|key| event(&key, 1, Uuid::new_v4(), 10)).collect();
        block_on(driver.put_events(Arc::new(Put::new(events).unwrap()))).unwrap();
    }
    let disk = disk.after_kill();
    // Opening writes all of it at once, and closing the index, so redb's file has few free pages.
    block_on(small().open_on(Arc::new(disk.clone())).unwrap().close()).unwrap();
    let driver = small().cache_bytes(0).open_on(Arc::new(disk.clone())).unwrap();
    disk.set_capacity(Some(disk.used()));
    let refused = driver.reindex().unwrap_err();
    assert!(matches!(refused, DriverError::Unavailable { .. }), "{refused:?}");
    disk.set_capacity(None);
    let one = key("aggregate/0001");
    let told = [
        all(&driver, &one).map(drop).unwrap_err(),
        block_on(driver.put_events(put(&one, 2, 1, 10))).map(drop).unwrap_err(),
        driver.verify().map(drop).unwrap_err(),
    ];
    for error in told {
        assert!(error.to_string().contains("close the store and open it again"), "{error}");
    }
    let _ = block_on(driver.close());
    let driver = small().open_on(Arc::new(disk)).unwrap();
    assert_eq!(driver.reindex().unwrap(), 5_000);
    assert_eq!(driver.verify().unwrap().events, 5_000);
    block_on(driver.put_events(put(&one, 2, 1, 10))).unwrap();
    block_on(driver.close()).unwrap();
}
