//! redb believes its own pages and panics where one is damaged. Whatever is asked of the driver
//! then, the answer is an error that says so: no panic, and no put whose outcome is unknown.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures::StreamExt;
use futures::executor::block_on;
use seriatim::driver::redb::RedbDriver;
use seriatim::driver::{Driver, DriverError, Fetch, LogFetch};
use seriatim::{Append, AppendError, EventStore, NewEvent, Position, Sequence};

use crate::support::puts::{key, put, small};
use crate::support::sim_disk::SimDisk;

const KEYS: u64 = 250;
const PAGE: usize = 4096;

fn name(n: u64) -> String {
    format!("aggregate-with-a-long-name/{n:05}")
}

fn closed() -> SimDisk {
    let disk = SimDisk::new();
    let driver = small().open_on(Arc::new(disk.clone())).unwrap();
    for n in 0..KEYS {
        let key = key(&name(n));
        block_on(driver.put_events(put(&key, 1, 1, 10))).unwrap();
        let snapshots = driver.snapshots().unwrap();
        block_on(snapshots.save_snapshot(&key, vec![b'x'; 90].into())).unwrap();
    }
    block_on(driver.close()).unwrap();
    disk
}

/// The store with one of its pages filled with zeros after opening, page by page. The first is
/// redb's header.
fn damaged() -> impl Iterator<Item = (usize, RedbDriver)> {
    let sound = closed();
    let pages = sound.content("events.redb").len() / PAGE;
    (1..pages).filter_map(move |page| {
        let disk = sound.after_kill();
        // Without caches, so that the file is read.
        let builder = small().cache_bytes(0).segment_cache_bytes(0);
        let driver = builder.open_on(Arc::new(disk.clone())).unwrap();
        let mut content = disk.content("events.redb");
        // Opening may give back the last ones, which are free.
        let bytes = content.get_mut(page * PAGE..(page + 1) * PAGE)?;
        let is_empty = bytes.iter().all(|byte| *byte == 0);
        bytes.fill(0);
        disk.set_content("events.redb", content);
        (!is_empty).then_some((page, driver))
    })
}

fn put_then(driver: &RedbDriver, n: u64) -> Result<(), DriverError> {
    let (answer, answered) = mpsc::channel();
    let done = Box::new(move |result: Result<_, _>| drop(answer.send(result.map(drop))));
    assert!(driver.put_events_then(put(&key(&name(n)), 2, 1, 10), done).is_ok());
    answered.recv_timeout(Duration::from_secs(60)).expect("no answer")
}

type Question = fn(&RedbDriver, u64) -> Result<(), DriverError>;

const QUESTIONS: [(&str, Question); 10] = [
    ("latest", |driver, n| block_on(driver.latest_sequence(&key(&name(n)))).map(drop)),
    ("check", |driver, n| {
        block_on(driver.check_sequence(&key(&name(n)), Sequence::new(1))).map(drop)
    }),
    ("page", |driver, n| driver.fetch_page_now(&key(&name(n)), Fetch::ALL).unwrap().map(drop)),
    ("pages", |driver, n| {
        block_on(driver.fetch_events(&key(&name(n)), Fetch::ALL).next()).unwrap().map(drop)
    }),
    ("keys", |driver, n| block_on(driver.keys(&name(n), None).next()).unwrap().map(drop)),
    ("log", |driver, n| driver.log_page(Position::new(n + 1), 1).map(drop)),
    ("log backwards", |driver, n| {
        let fetch = LogFetch::ALL.from(Position::new(n + 1)).backwards().limit(1);
        driver.log().unwrap().log_page_now(fetch).map(drop)
    }),
    ("snapshot", |driver, n| {
        block_on(driver.snapshots().unwrap().load_snapshot(&key(&name(n)))).map(drop)
    }),
    ("put", |driver, n| block_on(driver.put_events(put(&key(&name(n)), 2, 1, 10))).map(drop)),
    ("put by callback", |driver, n| put_then(driver, n + 1)),
];

#[test]
fn by_the_driver() {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for (page, driver) in damaged() {
        for (question, ask) in QUESTIONS {
            for n in (0..KEYS - 2).step_by(13) {
                match ask(&driver, n) {
                    Ok(()) => {}
                    Err(DriverError::Damaged { .. }) => *found.entry(question).or_default() += 1,
                    Err(other) => panic!("page {page}, {question}: {other:?}"),
                }
            }
        }
        let _ = driver.verify();
        let _ = driver.reindex();
        let _ = block_on(driver.close());
    }
    println!("{found:?}");
    assert_eq!(found.len(), QUESTIONS.len(), "{found:?}");
}

#[test]
fn by_the_store() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut found = 0;
    for (page, driver) in damaged() {
        runtime.block_on(async {
            let store = EventStore::builder().driver(Arc::new(driver)).open().await.unwrap();
            for n in (0..KEYS).step_by(29) {
                let append = Append::to(name(n)).event(NewEvent::raw("Happened", "{}"));
                match store.append(append).await {
                    Ok(_) => {}
                    Err(AppendError::Driver { source: DriverError::Damaged { .. }, .. }) => {
                        found += 1
                    }
                    Err(other) => panic!("page {page}: {other:?}"),
                }
            }
            let _ = store.close().await;
        });
    }
    assert!(found > 0);
}
