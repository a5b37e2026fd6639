//! Compacting gives back what redb's file does not need, also an index that a rebuild left behind,
//! and changes no event. A store that is open is not compacted, and a loss of power in the middle
//! loses nothing.

use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use seriatim::KeyedEvent;
use seriatim::driver::Driver;
use seriatim::driver::redb::{RedbDriver, Step};

use crate::support::puts::{key, log, put, small};
use crate::support::sim_disk::{Random, SimDisk};

/// A store whose index was rebuilt: the old one takes room in the file.
fn fill(disk: &SimDisk, puts: u64) -> Vec<KeyedEvent> {
    let driver = small().open_on(Arc::new(disk.clone())).unwrap();
    for n in 1..=puts {
        let busy = driver.put_events(put(&key("busy"), n * 2 - 1, 2, 100));
        let calm = driver.put_events(put(&key(&format!("calm/{n:0>200}")), 1, 1, 100));
        block_on(busy).unwrap();
        block_on(calm).unwrap();
    }
    block_on(driver.close()).unwrap();
    let driver = small().rebuild_index().open_on(Arc::new(disk.clone())).unwrap();
    let events = log(&driver).unwrap();
    block_on(driver.close()).unwrap();
    assert_eq!(events.len() as u64, puts * 3);
    events
}

#[track_caller]
fn assert_holds(disk: &SimDisk, events: &[KeyedEvent]) {
    let driver = small().open_on(Arc::new(disk.clone())).unwrap();
    assert_eq!(log(&driver).unwrap(), events);
    assert_eq!(driver.verify().unwrap().events, events.len() as u64);
    block_on(driver.close()).unwrap();
}

#[test]
fn the_file_is_smaller_and_holds_the_same() {
    let disk = SimDisk::new();
    let events = fill(&disk, 2_000);
    let driver = small().open_on(Arc::new(disk.clone())).unwrap();
    let before = driver.space().unwrap();
    assert!(before.other_bytes > before.index_bytes / 2, "an index was left behind: {before:?}");
    block_on(driver.close()).unwrap();

    let steps = Arc::new(Mutex::new(Vec::new()));
    let told = steps.clone();
    let builder = small().progress(move |progress| told.lock().unwrap().push(progress));
    let compacted = builder.compact_on(Arc::new(disk.clone())).unwrap();
    let size = disk.content("events.redb").len() as u64;
    assert_eq!(compacted.bytes_after, size);
    let given_back = compacted.bytes_before - compacted.bytes_after;
    assert!(given_back > before.other_bytes / 2, "{compacted:?} of {before:?}");
    assert!(steps.lock().unwrap().iter().any(|p| p.step == Step::Compacting && p.done > 0));
    assert!(!disk.names().iter().any(|name| name.contains("journal") || name == "reserve"));

    assert_holds(&disk, &events);
    let driver = small().open_on(Arc::new(disk.clone())).unwrap();
    let after = driver.space().unwrap();
    // A further rebuild finds a place for what it leaves behind.
    block_on(driver.close()).unwrap();
    let rebuilt = small().rebuild_index().open_on(Arc::new(disk.clone())).unwrap();
    block_on(rebuilt.close()).unwrap();
    assert_holds(&disk, &events);
    let driver = small().open_on(Arc::new(disk.clone())).unwrap();
    assert_eq!((after.log_bytes, after.index_bytes), (before.log_bytes, before.index_bytes));
    assert!(after.other_bytes < before.other_bytes / 4, "{after:?} of {before:?}");
    block_on(driver.put_events(put(&key("busy"), 4_001, 1, 10))).unwrap();
    block_on(driver.close()).unwrap();
}

#[test]
fn what_is_only_in_the_journal_of_a_killed_process_is_kept() {
    let disk = SimDisk::new();
    fill(&disk, 100);
    let driver = small().open_on(Arc::new(disk.clone())).unwrap();
    block_on(driver.put_events(put(&key("busy"), 201, 5, 100))).unwrap();
    let events = log(&driver).unwrap();
    let killed = disk.after_kill();
    block_on(driver.close()).unwrap();
    assert_eq!(events.len(), 305);
    small().compact_on(Arc::new(killed.clone())).unwrap();
    assert_holds(&killed, &events);
}

#[test]
fn a_loss_of_power_at_any_moment_loses_nothing() {
    let whole = SimDisk::new();
    let events = fill(&whole, 100);
    let counted = whole.after_kill();
    let before = counted.operations();
    small().compact_on(Arc::new(counted.clone())).unwrap();
    let operations = counted.operations() - before;
    assert!(operations > 20, "{operations}");
    let stride = (operations / 40).max(1);
    for seed in (0..operations).step_by(stride as usize) {
        let disk = whole.after_kill();
        disk.fail_power_after(seed);
        let failed = small().compact_on(Arc::new(disk.clone()));
        assert!(failed.is_err() || !disk.has_failed(), "{seed}: {failed:?}");
        let disk = disk.after_power_loss(&mut Random::new(seed));
        assert_holds(&disk, &events);
        small().compact_on(Arc::new(disk.clone())).unwrap();
        assert_holds(&disk, &events);
    }
}

#[test]
fn a_store_that_is_open_or_absent_is_refused_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let driver = RedbDriver::open(folder.path().join("data")).unwrap();
    let compact = |name: &str| RedbDriver::builder().compact(folder.path().join(name));
    let refused = compact("data").unwrap_err().to_string();
    let holder = format!("process {}", std::process::id());
    assert!(refused.contains(&holder), "{refused}");
    block_on(driver.put_events(put(&key("a"), 1, 1, 10))).unwrap();
    block_on(driver.close()).unwrap();
    let refused = compact("dta").unwrap_err().to_string();
    assert!(refused.contains("no store"), "{refused}");
    assert!(!folder.path().join("dta").exists());
    compact("data").unwrap();
}
