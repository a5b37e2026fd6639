//! A backup is restored with every event the same, at the same position: all of it, up to a
//! position, or up to a time. A further backup adds what is new.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use seriatim::backup::{BackupError, Restore};
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::redb::RedbDriver;
use seriatim::driver::{Driver, LogFetch, LogStore, Put};
use seriatim::{Append, EventStore, KeyedEvent, NewEvent};
use uuid::Uuid;

use crate::support::logged::{happen, on_each};
use crate::support::{assert_says, event};

/// Appends of one to three events, with every field that an event can have.
async fn fill(store: &EventStore, appends: u64) {
    for n in 0..appends {
        let full = NewEvent::raw("Moved", format!("{{\"n\": {n}.0e1}}"))
            .metadata_field("user", &n)
            .id(Uuid::from_u128(n.into()))
            .version(3);
        let append = Append::to(format!("cart/{}", n % 7)).event(full);
        let append = append.events((0..n % 3).map(event));
        let append = if n % 2 == 0 { append.commit_id(Uuid::new_v4()) } else { append };
        store.append(append).await.unwrap();
    }
}

async fn log(store: &EventStore) -> Vec<KeyedEvent> {
    store.log().unwrap().read().collect().await.unwrap()
}

pub(crate) fn log_of(driver: &dyn Driver) -> Vec<KeyedEvent> {
    let mut events: Vec<KeyedEvent> = Vec::new();
    loop {
        let next = events.len() as u64 + 1;
        let page = driver.log().unwrap().log_page_now(LogFetch::ALL.from(next)).unwrap();
        if page.events.is_empty() {
            return events;
        }
        events.extend(page.events);
    }
}

pub(crate) async fn restored(target: &Path) -> Vec<KeyedEvent> {
    let driver = MemoryDriver::new();
    Restore::from_dir(target).into_driver(&driver).await.unwrap();
    log_of(&driver)
}

#[tokio::test]
async fn all_of_it_into_each_driver() {
    on_each(|store| async move {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a/b");
        fill(&store, 200).await;
        let done = store.backup(&target).file_bytes(5_000).await.unwrap();
        let wanted = log(&store).await;
        let all = wanted.len() as u64;
        assert_eq!((done.added, done.contents.last.get()), (all, all));
        assert!(done.contents.files > 3, "{done:?}");
        assert_eq!(Restore::from_dir(&target).check().unwrap(), done.contents);
        assert!(restored(&target).await == wanted);
        let redb = RedbDriver::open(folder.path().join("redb")).unwrap();
        let said = Restore::from_dir(&target).into_driver(&redb).await.unwrap();
        assert_eq!((said.events, said.last), (wanted.len() as u64, done.contents.last));
        assert_eq!(said.last_recorded_at, wanted.last().map(|event| event.recorded_at));
        assert!(log_of(&redb) == wanted);
        redb.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_further_backup_adds_what_is_new_and_merges_small_files() {
    on_each(|store| async move {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path();
        assert_eq!(store.backup(target).await.unwrap().added, 0);
        assert!(restored(target).await.is_empty());
        for n in 1..=40 {
            happen(&store, &format!("light/{}", n % 3), "Switched").await;
            let done = store.backup(target).await.unwrap();
            assert_eq!((done.added, done.contents.last.get()), (1, n));
            assert!(done.contents.files <= 7, "{done:?}");
            let listed = std::fs::read_dir(target).unwrap().filter(|entry| {
                entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("events-")
            });
            assert_eq!(listed.count(), done.contents.files, "merged files are left");
        }
        let again = store.backup(target).await.unwrap();
        assert_eq!((again.added, again.contents.last.get()), (0, 40));
        assert!(restored(target).await == log(&store).await);
    })
    .await;
}

#[tokio::test]
async fn up_to_a_position_or_a_time_but_never_a_part_of_an_append() {
    let folder = tempfile::tempdir().unwrap();
    let source = MemoryDriver::new();
    // Three appends of two events, ten seconds apart.
    for n in 0..3_u64 {
        let store = EventStore::builder().driver(Arc::new(MemoryDriver::new()));
        let time = UNIX_EPOCH + Duration::from_secs(n * 10);
        let store = store.clock(move || time).open().await.unwrap();
        let key = format!("light/{n}");
        store.append(Append::to(&*key).events((0..2).map(event))).await.unwrap();
        let mut events = log(&store).await;
        events.iter_mut().for_each(|event| event.position = None);
        source.put_events(Arc::new(Put::new(events).unwrap())).await.unwrap();
    }
    let source = EventStore::builder().driver(Arc::new(source)).open().await.unwrap();
    source.backup(folder.path()).await.unwrap();
    let restore = || Restore::from_dir(folder.path());
    let time = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    for (restore, last) in [
        (restore().to_position(0), 0),
        (restore().to_position(1), 0),
        (restore().to_position(2), 2),
        (restore().to_position(5), 4),
        (restore().to_position(6), 6),
        (restore().to_time(time(0)), 2),
        (restore().to_time(time(9)), 2),
        (restore().to_time(time(10)), 4),
        (restore().to_time(time(99)), 6),
        (restore().to_time(time(99)).to_position(3), 2),
    ] {
        let driver = MemoryDriver::new();
        let said = restore.into_driver(&driver).await.unwrap();
        assert_eq!(said.last, last, "{restore:?}");
        assert!(log_of(&driver) == log(&source).await[..last as usize], "{restore:?}");
    }
    let driver = MemoryDriver::new();
    let beyond = restore().to_position(7).into_driver(&driver).await.unwrap_err();
    assert_says(&beyond, &["ends with position 6", "before 7"]);
    assert_eq!(driver.last_position().unwrap(), 0);
}

#[tokio::test]
async fn a_restore_that_was_cut_short_goes_on_and_other_events_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = EventStore::open("memory:").await.unwrap();
    fill(&store, 30).await;
    store.backup(folder.path()).await.unwrap();
    let driver = MemoryDriver::new();
    let part = Restore::from_dir(folder.path()).to_position(20);
    let part = part.into_driver(&driver).await.unwrap().last.get();
    assert!((18..=20).contains(&part));
    let rest = Restore::from_dir(folder.path()).into_driver(&driver).await.unwrap();
    let all = log(&store).await;
    assert_eq!(rest.events, all.len() as u64 - part);
    assert!(log_of(&driver) == all);
    // It holds more than is wanted, or other events.
    let less = Restore::from_dir(folder.path()).to_position(1).into_driver(&driver).await;
    assert!(matches!(less, Err(BackupError::OtherEvents { position }) if position == 2));
    let other = EventStore::open("memory:").await.unwrap();
    fill(&other, 5).await;
    let mut events = log(&other).await;
    events.truncate(1);
    events[0].position = None;
    let driver = MemoryDriver::new();
    driver.put_events(Arc::new(Put::new(events).unwrap())).await.unwrap();
    let refused = Restore::from_dir(folder.path()).into_driver(&driver).await;
    assert!(matches!(refused, Err(BackupError::OtherEvents { position }) if position == 1));
    assert_eq!(driver.last_position().unwrap(), 1);
}

#[tokio::test]
async fn an_append_larger_than_other_puts_stays_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = EventStore::open("memory:").await.unwrap();
    fill(&store, 3).await;
    store.append(Append::to("a").events((0..2_000).map(event))).await.unwrap();
    fill(&store, 3).await;
    store.backup(folder.path()).file_bytes(1_000).await.unwrap();
    let driver = RedbDriver::open(folder.path().join("redb")).unwrap();
    Restore::from_dir(folder.path()).into_driver(&driver).await.unwrap();
    assert!(log_of(&driver) == log(&store).await);
    driver.close().await.unwrap();
}
