//! Bytes damaged in the middle of the journal, at a file switch and in redb's file are named on
//! opening or by `verify`, never skipped.

use std::sync::Arc;

use futures::executor::block_on;
use seriatim::driver::redb::RedbDriver;
use seriatim::driver::{Driver, DriverError, Fetch};

use crate::support::puts::{all, assert_dense, key, log, put, small, unapplied};
use crate::support::sim_disk::{self, SimDisk};

const PUTS: u64 = 120;

/// A store that was killed with everything in its journal: 120 puts of some 1.5 KiB in several
/// files.
fn killed() -> SimDisk {
    let disk = SimDisk::new();
    let driver = unapplied().open_on(Arc::new(disk.clone())).unwrap();
    for n in 1..=PUTS {
        block_on(driver.put_events(put(&key("account/1"), n, 1, 1_200))).unwrap();
    }
    let left = disk.after_kill();
    block_on(driver.close()).unwrap();
    left
}

fn journal(disk: &SimDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.starts_with("journal/")).collect()
}

/// Where frames begin in a file: every 1.5 KiB here.
fn frames(content: &[u8]) -> Vec<usize> {
    let sectors = (0..content.len()).step_by(512);
    sectors.filter(|at| content[*at..].starts_with(&[0xfe, b'S', b'J', 0])).collect()
}

fn open(disk: &SimDisk) -> Result<RedbDriver, DriverError> {
    unapplied().open_on(Arc::new(disk.clone()))
}

#[track_caller]
fn assert_named(result: Result<RedbDriver, DriverError>, position: u64) {
    let named = format!("position {position}");
    match result {
        Err(DriverError::Damaged { message }) => {
            assert!(message.contains(&named), "{message:?} does not name {named}");
        }
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("the damage at {named} was skipped"),
    }
}

#[test]
fn a_killed_store_has_everything() {
    let driver = open(&killed()).unwrap();
    let events = all(&driver, &key("account/1")).unwrap();
    assert_eq!(events.len() as u64, PUTS);
    assert_dense(&events);
}

#[test]
fn any_byte_of_a_frame_in_the_middle_is_named() {
    let sound = killed();
    let name = &journal(&sound)[0];
    let content = sound.content(name);
    let third = frames(&content)[2];
    for byte in [0, 5, 9, 30, 33, 45, 50, 57, 64, 70, 400, 1_300] {
        let disk = sound.after_kill();
        let mut damaged = content.clone();
        damaged[third + byte] ^= 0x10;
        disk.set_content(name, damaged);
        assert_named(open(&disk), 3);
    }
}

#[test]
fn the_last_frame_of_a_file_and_the_first_of_the_next_are_named() {
    let sound = killed();
    let files = journal(&sound);
    assert!(files.len() > 2, "the journal never switched files");
    let first = sound.content(&files[0]);
    let in_first = frames(&first).len() as u64;

    let disk = sound.after_kill();
    let mut damaged = first.clone();
    damaged[*frames(&first).last().unwrap() + 100] ^= 1;
    disk.set_content(&files[0], damaged);
    assert_named(open(&disk), in_first);

    let disk = sound.after_kill();
    let mut damaged = sound.content(&files[1]);
    damaged[100] ^= 1;
    disk.set_content(&files[1], damaged);
    assert_named(open(&disk), in_first + 1);
}

#[test]
fn a_missing_file_is_named() {
    let sound = killed();
    let files = journal(&sound);
    let in_first = frames(&sound.content(&files[0])).len() as u64;
    for (index, position) in [(0, 1), (1, in_first + 1)] {
        let disk = sound.after_kill();
        disk.remove_file(&files[index]);
        assert_named(open(&disk), position);
    }
}

#[test]
fn a_damaged_journal_is_left_as_it_was() {
    let disk = killed();
    let name = &journal(&disk)[0];
    let mut damaged = disk.content(name);
    damaged[600] ^= 1;
    disk.set_content(name, damaged);
    assert_named(open(&disk), 1);
    assert_named(open(&disk), 1);
    let mut repaired = disk.content(name);
    repaired[600] ^= 1;
    disk.set_content(name, repaired);
    assert_eq!(log(&open(&disk).unwrap()).unwrap().len() as u64, PUTS);
}

#[test]
fn another_stores_journal_is_not_taken() {
    let (one, other) = (killed(), killed());
    let theirs = journal(&other);
    for name in &journal(&one) {
        match theirs.contains(name) {
            true => one.set_content(name, other.content(name)),
            false => one.remove_file(name),
        }
    }
    // Nothing of its own is there: the journal ends where redb has come to.
    let driver = open(&one).unwrap();
    assert_eq!(log(&driver).unwrap(), []);
}

/// A store that was closed: everything is in redb.
fn closed() -> SimDisk {
    let disk = killed();
    block_on(open(&disk).unwrap().close()).unwrap();
    disk
}

/// Changes one byte of the event whose data says `n`.
fn damage_event(disk: &SimDisk, n: u64) {
    let mut content = disk.content("events.redb");
    let needle = format!("\"n\":{n}}}");
    let found: Vec<usize> = content
        .windows(needle.len())
        .enumerate()
        .filter(|(_, window)| *window == needle.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!found.is_empty());
    // Old copies that redb does not use any more may lie about.
    for at in found {
        content[at + 1] ^= 1;
    }
    disk.set_content("events.redb", content);
}

#[test]
fn a_damaged_segment_is_named_by_reads_and_by_verify() {
    let disk = closed();
    let driver = open(&disk).unwrap();
    driver.verify().unwrap();
    block_on(driver.close()).unwrap();
    damage_event(&disk, 50);
    let driver = small().open_on(Arc::new(disk)).unwrap();
    let named = |result: Result<(), DriverError>| match result {
        Err(DriverError::Damaged { message }) => {
            assert!(message.contains("position 4") || message.contains("position 50"), "{message}");
        }
        other => panic!("{other:?}"),
    };
    named(driver.verify().map(drop));
    named(log(&driver).map(drop));
    named(all(&driver, &key("account/1")).map(drop));
    let around = Fetch::ALL.after(49.into()).limit(1);
    named(driver.fetch_page_now(&key("account/1"), around).unwrap().map(drop));
    // The rest is still read.
    let first = driver.fetch_page_now(&key("account/1"), Fetch::ALL.limit(10)).unwrap().unwrap();
    assert_eq!(first.events.len(), 10);
}

#[test]
fn any_byte_of_redbs_file_is_seen_or_does_not_matter() {
    let sound = closed();
    let driver = small().open_on(Arc::new(sound.after_kill())).unwrap();
    let whole = log(&driver).unwrap();
    let by_key = all(&driver, &key("account/1")).unwrap();
    block_on(driver.close()).unwrap();
    let content = sound.content("events.redb");
    let seed = std::env::var("SERIATIM_DAMAGE_SEED").ok().and_then(|n| n.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("seed {seed}");
    let mut random = sim_disk::Random::new(seed);
    let mut seen = 0;
    for _ in 0..300 {
        let disk = sound.after_kill();
        let mut damaged = content.clone();
        damaged[random.below(content.len() as u64) as usize] ^= 1 << random.below(8);
        disk.set_content("events.redb", damaged);
        let Ok(driver) = small().open_on(Arc::new(disk)) else {
            seen += 1;
            continue;
        };
        match driver.verify() {
            Err(_) => seen += 1,
            Ok(_) => {
                assert_eq!(log(&driver).unwrap(), whole);
                assert_eq!(all(&driver, &key("account/1")).unwrap(), by_key);
            }
        }
        let _ = block_on(driver.close());
    }
    assert!(seen > 50, "only {seen} of 300 were seen");
}
