//! `verify` walks everything and finds what the index says wrongly; `reindex` makes the index again.

use std::sync::{Arc, Mutex, mpsc};

use futures::executor::block_on;
use redb::{Database, ReadableTable, TableDefinition};
use seriatim::Sequence;
use seriatim::driver::redb::{RedbDriver, Step};
use seriatim::driver::{Driver, DriverError, Fetch};

use crate::support::puts::{all, assert_dense, key, log, put, small};
use crate::support::sim_disk::SimDisk;
use crate::support::until_blocking;

const LATEST: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("latest");
const EARLIER: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("earlier");

/// A block of version 1, without a checksum: three neighbouring events from `position` on, of which
/// the first has this sequence.
fn unsealed_block(sequence: u8, position: u64) -> Vec<u8> {
    vec![1, sequence, 1, u8::try_from(position * 2 + 1).unwrap(), 1]
}

/// Changes redb's file of a store that is closed.
fn change(directory: &std::path::Path, work: impl FnOnce(&redb::WriteTransaction)) {
    let database = Database::open(directory.join("events.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    work(&transaction);
    transaction.commit().unwrap();
}

fn assert_is_damage<T: std::fmt::Debug>(answer: Result<T, DriverError>) {
    match answer {
        Err(DriverError::Damaged { message }) => assert!(message.contains("reindex"), "{message}"),
        other => panic!("{other:?}"),
    }
}

/// Three hundred aggregates of three events, and one of a thousand that stand apart.
fn fill(driver: &RedbDriver) {
    let mut next = 1;
    for n in 1..=1_000 {
        block_on(driver.put_events(put(&key("busy"), n, 1, 10))).unwrap();
        if n % 3 == 0 && next <= 300 {
            block_on(driver.put_events(put(&key(&format!("calm/{next}")), 1, 3, 10))).unwrap();
            next += 1;
        }
    }
}

#[test]
fn what_is_whole_is_counted_while_appends_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let steps = Arc::new(Mutex::new(Vec::new()));
    let told = steps.clone();
    let driver = RedbDriver::builder()
        .progress(move |progress| told.lock().unwrap().push(progress))
        .open(directory.path())
        .unwrap();
    fill(&driver);
    let verified = driver.verify().unwrap();
    assert_eq!((verified.events, verified.aggregates), (1_900, 301));
    assert_eq!(driver.reindex().unwrap(), 1_900);
    let verified = driver.verify().unwrap();
    assert_eq!((verified.events, verified.aggregates), (1_900, 301));
    let steps = steps.lock().unwrap();
    for step in [Step::Verifying, Step::Reindexing] {
        let last = steps.iter().rfind(|progress| progress.step == step).unwrap();
        assert_eq!((last.done, last.total), (1_900, 1_900));
    }
    drop(steps);
    block_on(driver.put_events(put(&key("busy"), 1_001, 1, 10))).unwrap();
    block_on(driver.close()).unwrap();
}

#[test]
fn a_wrong_index_is_named_and_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let driver = RedbDriver::open(directory.path()).unwrap();
    fill(&driver);
    block_on(driver.close()).unwrap();

    let database = Database::open(directory.path().join("events.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut latest = transaction.open_table(LATEST).unwrap();
        let other = latest.get("calm/2").unwrap().unwrap().value().to_vec();
        latest.insert("calm/1", other.as_slice()).unwrap();
        latest.remove("calm/3").unwrap();
    }
    transaction.commit().unwrap();
    drop(database);

    let driver = RedbDriver::open(directory.path()).unwrap();
    match driver.verify() {
        Err(DriverError::Damaged { message }) => {
            assert!(message.contains("calm/1") && message.contains("reindex"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    match all(&driver, &key("calm/1")) {
        Err(DriverError::Damaged { message }) => {
            assert!(message.contains("calm/1") && message.contains("reindex"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(driver.reindex().unwrap(), 1_900);
    driver.verify().unwrap();
    for n in 1..=300 {
        let events = all(&driver, &key(&format!("calm/{n}"))).unwrap();
        assert_eq!(events.len(), 3);
        assert_dense(&events);
    }
    let busy = all(&driver, &key("busy")).unwrap();
    assert_eq!(busy.len(), 1_000);
    assert_dense(&busy);
    assert_eq!(log(&driver).unwrap().len(), 1_900);
    block_on(driver.close()).unwrap();
}

#[test]
fn a_block_that_is_missing_between_two_others_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let driver = RedbDriver::open(directory.path()).unwrap();
    // Among these, each event stands alone.
    let (busy, rare) = (key("busy"), key("rare"));
    let (done, answers) = mpsc::channel();
    for n in 1..=2_000 {
        for put in [put(&busy, n, 1, 10), put(&rare, n, 1, 10)] {
            let done = done.clone();
            let tell = Box::new(move |answer: Result<_, _>| done.send(answer.is_ok()).unwrap());
            assert!(driver.put_events_then(put, tell).is_ok());
        }
    }
    drop(done);
    assert!(answers.iter().all(|is_written| is_written));
    block_on(driver.close()).unwrap();
    change(directory.path(), |transaction| {
        let mut earlier = transaction.open_table(EARLIER).unwrap();
        let of_busy = |key: &[u8]| key.starts_with(b"rare\0");
        let keys: Vec<Vec<u8>> =
            earlier.iter().unwrap().map(|row| row.unwrap().0.value().to_vec()).collect();
        let keys: Vec<_> = keys.into_iter().filter(|key| of_busy(key)).collect();
        assert!(keys.len() > 3);
        earlier.remove(keys[2].as_slice()).unwrap();
    });
    let driver = RedbDriver::open(directory.path()).unwrap();
    assert_is_damage(all(&driver, &rare));
    let inside = Fetch::ALL.after(Sequence::new(600));
    assert_is_damage(driver.fetch_page_now(&rare, inside).unwrap());
    let backwards = Fetch::ALL.backwards().after(Sequence::new(1_400)).limit(1_000);
    assert_is_damage(driver.fetch_page_now(&rare, backwards).unwrap());
    assert_eq!(all(&driver, &busy).unwrap().len(), 2_000);
    driver.reindex().unwrap();
    assert_eq!(all(&driver, &rare).unwrap().len(), 2_000);
    block_on(driver.close()).unwrap();
}

#[test]
fn an_event_with_another_sequence_than_the_index_says_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let driver = RedbDriver::open(directory.path()).unwrap();
    let a = key("a");
    block_on(driver.put_events(put(&a, 1, 3, 10))).unwrap();
    block_on(driver.close()).unwrap();
    change(directory.path(), |transaction| {
        let mut latest = transaction.open_table(LATEST).unwrap();
        latest.insert("a", unsealed_block(2, 1).as_slice()).unwrap();
    });
    let driver = RedbDriver::open(directory.path()).unwrap();
    assert_is_damage(driver.fetch_page_now(&a, Fetch::ALL.after(Sequence::new(1))).unwrap());
    block_on(driver.close()).unwrap();
}

#[test]
fn what_was_learnt_from_a_wrong_index_is_forgotten_when_it_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let driver = RedbDriver::open(directory.path()).unwrap();
    let a = key("a");
    block_on(driver.put_events(put(&a, 1, 4, 10))).unwrap();
    block_on(driver.close()).unwrap();
    change(directory.path(), |transaction| {
        let mut latest = transaction.open_table(LATEST).unwrap();
        latest.insert("a", unsealed_block(1, 1).as_slice()).unwrap();
    });
    let driver = RedbDriver::open(directory.path()).unwrap();
    block_on(driver.put_events(put(&a, 5, 1, 10))).expect_err("the index knows three events");
    driver.reindex().unwrap();
    assert_eq!(block_on(driver.latest_sequence(&a)).unwrap(), Sequence::new(4));
    assert_eq!(all(&driver, &a).unwrap().len(), 4);
    block_on(driver.put_events(put(&a, 4, 1, 10))).expect_err("sequence 4 was used");
    block_on(driver.put_events(put(&a, 5, 1, 10))).unwrap();
    driver.verify().unwrap();
    block_on(driver.close()).unwrap();
}

/// The store with one page damaged that has rows of the index and no events, page by page.
fn with_damaged_index_pages() -> Vec<SimDisk> {
    const PAGE: usize = 4096;
    let sound = SimDisk::new();
    let driver = small().open_on(Arc::new(sound.clone())).unwrap();
    for n in 0..250 {
        let key = key(&format!("aggregate-with-a-long-name/{n:05}"));
        block_on(driver.put_events(put(&key, 1, 1, 10))).unwrap();
    }
    block_on(driver.close()).unwrap();
    let content = sound.content("events.redb");
    let has = |page: &[u8], text: &[u8]| page.windows(text.len()).any(|found| found == text);
    let mut disks = Vec::new();
    for at in (0..content.len()).step_by(PAGE) {
        let page = &content[at..at + PAGE];
        if !has(page, b"aggregate-with-a-long-name/") || has(page, b"Happened") {
            continue;
        }
        let damages: [fn(&mut [u8]); 3] =
            [|page| page.fill(0), |page| page[0] ^= 3, |page| page[10..30].fill(0xff)];
        for damage in damages {
            let mut content = content.clone();
            damage(&mut content[at..at + PAGE]);
            let disk = sound.after_kill();
            disk.set_content("events.redb", content);
            disks.push(disk);
        }
    }
    assert!(disks.len() > 6, "{} damages", disks.len());
    disks
}

fn assert_is_whole(driver: &RedbDriver) {
    assert_eq!(driver.verify().unwrap().events, 250);
    for n in 0..250 {
        let key = key(&format!("aggregate-with-a-long-name/{n:05}"));
        assert_eq!(all(driver, &key).unwrap().len(), 1);
    }
    let key = key("aggregate-with-a-long-name/00100");
    block_on(driver.put_events(put(&key, 2, 1, 10))).unwrap();
}

#[test]
#[cfg_attr(debug_assertions, ignore = "redb with assertions walks all tables when it opens")]
fn an_index_with_a_damaged_page_is_made_again_in_an_open_store() {
    let mut rebuilt = 0;
    for disk in with_damaged_index_pages() {
        let mut driver = small().cache_bytes(0).open_on(Arc::new(disk.clone())).unwrap();
        // After some damages redb answers nothing more until it is opened again.
        match driver.reindex() {
            Ok(events) => {
                assert_eq!(events, 250);
                rebuilt += 1;
            }
            Err(_) => {
                let _ = block_on(driver.close());
                driver = small().rebuild_index().open_on(Arc::new(disk.clone())).unwrap();
            }
        }
        assert_is_whole(&driver);
        block_on(driver.close()).unwrap();
        // Also when it is not closed.
        let driver = small().open_on(Arc::new(disk.clone())).unwrap();
        block_on(driver.put_events(put(&key("b"), 1, 1, 10))).unwrap();
        let killed = disk.after_kill();
        drop(driver);
        let driver = small().open_on(Arc::new(killed)).unwrap();
        assert_eq!(driver.verify().unwrap().events, 252);
        block_on(driver.close()).unwrap();
    }
    assert!(rebuilt > 0);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "redb with assertions walks all tables when it opens")]
fn an_index_with_a_damaged_page_is_made_again_on_opening() {
    for disk in with_damaged_index_pages() {
        let driver = small().rebuild_index().open_on(Arc::new(disk.clone())).unwrap();
        assert_is_whole(&driver);
        block_on(driver.close()).unwrap();
        let driver = small().open_on(Arc::new(disk)).unwrap();
        assert_eq!(driver.verify().unwrap().events, 251);
        block_on(driver.close()).unwrap();
    }
}

/// The old index may say a wrong latest sequence, so a put that rests on it would take a sequence
/// that is there, or leave a gap.
#[test]
fn no_put_is_taken_by_an_index_that_is_being_rebuilt() {
    let disk = SimDisk::new();
    let driver = small().open_on(Arc::new(disk.clone())).unwrap();
    fill(&driver);
    block_on(driver.close()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("events.redb"), disk.content("events.redb")).unwrap();
    change(directory.path(), |transaction| {
        let mut latest = transaction.open_table(LATEST).unwrap();
        latest.remove("calm/1").unwrap();
    });
    disk.set_content("events.redb", std::fs::read(directory.path().join("events.redb")).unwrap());

    let driver = small().open_on(Arc::new(disk.clone())).unwrap();
    let wrong = key("calm/1");
    driver.verify().unwrap_err();
    disk.hold_syncs(Some("events.redb"));
    std::thread::scope(|scope| {
        let reindexing = scope.spawn(|| driver.reindex());
        until_blocking("the new index is flushed", || disk.holds_a_sync());
        let answer = block_on(driver.put_events(put(&wrong, 1, 1, 10)));
        disk.hold_syncs(None);
        match answer {
            Err(error @ DriverError::Unavailable { .. }) => {
                assert!(!error.may_have_been_written(), "{error}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(reindexing.join().unwrap().unwrap(), 1_900);
    });
    block_on(driver.put_events(put(&wrong, 4, 1, 10))).unwrap();
    assert_dense(&all(&driver, &wrong).unwrap());
    assert_eq!(driver.verify().unwrap().events, 1_901);
    block_on(driver.close()).unwrap();
}
