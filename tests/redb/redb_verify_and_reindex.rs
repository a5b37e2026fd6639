//! `verify` walks everything and finds what the index says wrongly; `reindex` makes the index anew.

use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use redb::{Database, ReadableTable, TableDefinition};
use seriatim::driver::redb::{RedbDriver, Step};
use seriatim::driver::{Driver, DriverError};

use crate::support::puts::{all, assert_dense, key, log, put};

const LATEST: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("latest");

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
fn a_wrong_index_is_named_and_made_anew() {
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
