//! A full disk refuses puts and harms nothing: reads go on, and when there is room again puts are
//! taken without opening again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use seriatim::driver::{Driver, DriverError};

use crate::support::puts::{all, assert_dense, key, put, small};
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
