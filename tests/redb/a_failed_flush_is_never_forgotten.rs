//! A system reports a failed flush once, to whoever flushes next, and drops what it could not
//! write. Whichever thread of the driver hears of it, no put that it may have lost is answered as
//! durable, and the driver refuses puts from then on. The names of files are flushed too.

use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use seriatim::driver::redb::{Durability, RedbDriver};
use seriatim::driver::{Driver, DriverError};

use crate::support::puts::{all, assert_dense, key, put, small};
use crate::support::sim_disk::{Random, SimDisk};

/// Puts of one event until one fails: how many were answered, and the failure.
fn put_until_refused(driver: &RedbDriver, most: u64) -> (u64, Option<DriverError>) {
    let one = key("one");
    for sequence in 1..=most {
        if let Err(error) = block_on(driver.put_events(put(&one, sequence, 1, 500))) {
            return (sequence - 1, Some(error));
        }
    }
    (most, None)
}

fn refuses(driver: &RedbDriver, sequence: u64) {
    for _ in 0..3 {
        let refused = block_on(driver.put_events(put(&key("one"), sequence, 1, 10))).unwrap_err();
        assert!(matches!(refused, DriverError::Failed { .. }), "{refused:?}");
    }
}

#[test]
fn a_failure_that_the_keeper_hears_of_is_no_success_for_the_writer() {
    let disk = SimDisk::new();
    disk.fail_next_keeper_sync("journal/");
    let driver = RedbDriver::builder().open_on(Arc::new(disk.clone())).unwrap();
    let (answered, failure) = put_until_refused(&driver, 3);
    refuses(&driver, answered + 1);
    let _failed = block_on(driver.close());

    let disk = disk.after_power_loss(&mut Random::new(1));
    let driver = small().open_on(Arc::new(disk)).unwrap();
    let events = all(&driver, &key("one")).unwrap();
    assert_dense(&events);
    assert!(events.len() as u64 >= answered, "{answered} answered, {} there", events.len());
    assert!(failure.is_some_and(|failure| failure.may_have_been_written()));
    block_on(driver.close()).unwrap();
}

#[test]
fn a_failure_at_the_switch_of_files_stops_puts_that_are_answered_when_written() {
    let disk = SimDisk::new();
    let never = Duration::from_secs(3_600);
    let builder = small().durability(Durability::Written).flush_interval(never);
    let driver = builder.open_on(Arc::new(disk.clone())).unwrap();
    disk.fail_next_sync("journal/000001");
    let (answered, failure) = put_until_refused(&driver, 10_000);
    let failure = failure.expect("the journal never changed files");
    // Its frame is not written anywhere: what is lost came before it.
    assert!(!failure.may_have_been_written(), "{failure:?}");
    refuses(&driver, answered + 1);
    assert!(block_on(driver.close()).is_err());
}

#[test]
fn a_file_whose_name_may_be_lost_takes_no_puts() {
    for chance in 0..8 {
        let disk = SimDisk::new();
        let driver = small().open_on(Arc::new(disk.clone())).unwrap();
        disk.fail_next_sync_of_names();
        let (answered, failure) = put_until_refused(&driver, 10_000);
        assert!(failure.is_some() && !disk.is_to_fail_names(), "no file was made");
        refuses(&driver, answered + 1);
        let _failed = block_on(driver.close());

        let disk = disk.after_power_loss(&mut Random::new(chance));
        let driver = small().open_on(Arc::new(disk)).unwrap();
        let events = all(&driver, &key("one")).unwrap();
        assert_dense(&events);
        assert!(events.len() as u64 >= answered, "{answered} answered, {} there", events.len());
        block_on(driver.close()).unwrap();
    }
}

#[test]
fn an_opening_whose_names_may_be_lost_begins_again() {
    // The first flush of names is that of redb's file, the second that of the journal's.
    for flush in 0..2 {
        for chance in 0..8 {
            let disk = SimDisk::new();
            if flush == 1 {
                let driver = small().open_on(Arc::new(disk.clone())).unwrap();
                block_on(driver.close()).unwrap();
            }
            disk.fail_next_sync_of_names();
            let Err(error) = small().open_on(Arc::new(disk.clone())) else {
                panic!("opened on names that may be lost");
            };
            assert!(matches!(error, DriverError::Failed { .. }), "{error:?}");
            let driver = small().open_on(Arc::new(disk.clone())).unwrap();
            let (answered, failure) = put_until_refused(&driver, 20);
            assert!(failure.is_none() && answered == 20, "{failure:?}");

            let disk = disk.after_power_loss(&mut Random::new(chance));
            let driver = small().open_on(Arc::new(disk)).unwrap();
            assert_eq!(all(&driver, &key("one")).unwrap().len(), 20);
            block_on(driver.close()).unwrap();
        }
    }
}
