//! Keys, histories, the log, what is new, checkpoints, figures, a backup and a verification are the
//! owner's, while it appends. Nothing is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use seriatim::backup::Restore;
use seriatim::driver::door::DoorDriver;
use seriatim::driver::{Driver, DriverError, LogFetch, LogStore};
use seriatim::{Append, AppendError, EventStore, KeyedEvent, NewEvent};

use crate::support::until;
use crate::{PATIENCE, append, owner};

async fn reader(directory: &std::path::Path) -> (Arc<DoorDriver>, EventStore) {
    let door = Arc::new(DoorDriver::open(directory).unwrap());
    let store = EventStore::builder().driver(door.clone()).open().await.unwrap();
    (door, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_the_same_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let owner = owner(folder.path()).await;
    for n in 0..2_500 {
        let data = format!("{{\"n\": {n}, \"exact\":1.10, \"big\":9007199254740993}}");
        let event = NewEvent::raw("Happened", data).metadata_field("who", "ada");
        let append = Append::to(format!("key/{}", n % 1_200)).event(event);
        owner.append(append).await.unwrap();
    }
    let large = format!("\"{}\"", "x".repeat(3 << 20));
    append(&owner, "large", &large).await;
    let (door, reader) = reader(folder.path()).await;
    assert_eq!(door.owner_process(), std::process::id());

    let all: Vec<KeyedEvent> = owner.log().unwrap().read().collect().await.unwrap();
    assert_eq!(reader.log().unwrap().read().collect().await.unwrap(), all);
    let backwards = reader.log().unwrap().read().backwards().collect().await.unwrap();
    assert_eq!(backwards, all.iter().rev().cloned().collect::<Vec<_>>());
    let keys = owner.keys("").collect().await.unwrap();
    assert_eq!(keys.len(), 1_201);
    assert_eq!(reader.keys("").collect().await.unwrap(), keys);
    assert_eq!(reader.keys("key/11").collect().await.unwrap().len(), 111);
    assert_eq!(reader.keys("x".repeat(2_000)).collect().await.unwrap(), []);
    for key in ["key/1", "key/1199", "large", "nobody"] {
        let events = owner.read(key).collect().await.unwrap();
        assert_eq!(reader.read(key).collect().await.unwrap(), events, "{key}");
        let latest = owner.read(key).backwards().limit(1).collect().await.unwrap();
        assert_eq!(reader.read(key).backwards().limit(1).collect().await.unwrap(), latest);
        assert_eq!(reader.latest_sequence(key).await.unwrap(), events.len() as u64);
    }
    let (told, own) = (reader.stats().driver, owner.stats().driver);
    assert_eq!((told.events, told.disk_bytes.is_some()), (Some(2_501), own.disk_bytes.is_some()));
    reader.close().await.unwrap();
    append(&owner, "key/1", "1").await;
    owner.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_new_arrives_and_a_long_history_comes_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let owner = owner(folder.path()).await;
    let (_door, reader) = reader(folder.path()).await;
    let mut following = reader.subscribe().from_start();
    for n in 1..=3_000_u64 {
        append(&owner, "busy", &n.to_string()).await;
        if n % 500 == 1 {
            let next = tokio::time::timeout(PATIENCE, following.next()).await;
            assert!(next.unwrap().unwrap().unwrap().position.is_some());
        }
    }
    assert_eq!(reader.read("busy").collect().await.unwrap().len(), 3_000);
    assert_eq!(reader.read("busy").backwards().limit(2_001).collect().await.unwrap().len(), 2_001);
    let mut seen = 6;
    while seen < 3_000 {
        let next = tokio::time::timeout(PATIENCE, following.next()).await;
        seen += 1;
        assert_eq!(next.unwrap().unwrap().unwrap().position.unwrap(), seen);
    }
    // At the end it waits; the next event wakes it.
    append(&owner, "busy", "0").await;
    let next = tokio::time::timeout(PATIENCE, following.next()).await;
    assert_eq!(next.unwrap().unwrap().unwrap().position.unwrap(), 3_001);
    // The end of the owner ends it, too.
    owner.close().await.unwrap();
    let end = tokio::time::timeout(PATIENCE, following.next()).await.unwrap();
    assert!(end.is_none_or(|end| end.is_err()));
    reader.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_a_backup_and_a_verification_go_through_it_while_the_owner_appends() {
    let folder = tempfile::tempdir().unwrap();
    let owner = owner(&folder.path().join("data")).await;
    append(&owner, "a", "1").await;
    let run = owner.consumer("letters").run(|_| async { Ok::<_, std::io::Error>(()) });
    let (handle, running) = (run.handle(), tokio::spawn(run));
    handle.wait_for(1, PATIENCE).await.unwrap();
    handle.stop();
    running.await.unwrap().unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, writing) = (stop.clone(), owner.clone());
    let writer = tokio::spawn(async move {
        let mut written = 1;
        while !stopped.load(Ordering::Relaxed) {
            append(&writing, &format!("w/{}", written % 50), "2").await;
            written += 1;
        }
        written
    });
    until("a hundred events", || owner.stats().events > 100).await;
    let (door, reader) = reader(&folder.path().join("data")).await;
    let consumers = reader.consumers().await.unwrap();
    assert_eq!(consumers.len(), 1);
    assert_eq!((consumers[0].name.as_str(), consumers[0].position.get()), ("letters", 1));
    let before = owner.log().unwrap().last_position().unwrap();
    let backed_up = reader.backup(folder.path().join("backup")).await.unwrap();
    assert!(backed_up.contents.last >= before);
    let mut told = 0;
    let verified = door.verify(|done, _| told = done).unwrap();
    assert!(verified.events >= backed_up.contents.last.get() && told == verified.events);
    assert!(door.space().unwrap().file_bytes > 0);
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.unwrap();
    assert_eq!(owner.log().unwrap().last_position().unwrap(), written);
    let checked = Restore::from_dir(folder.path().join("backup")).check().unwrap();
    assert_eq!(checked.last, backed_up.contents.last);
    reader.close().await.unwrap();
    owner.close().await.unwrap();
}

#[tokio::test]
async fn nothing_is_written_through_a_door() {
    let folder = tempfile::tempdir().unwrap();
    let owner = owner(folder.path()).await;
    append(&owner, "a", "1").await;
    let (door, reader) = reader(folder.path()).await;
    let refused = reader.append(Append::to("a").event(NewEvent::raw("T", "{}"))).await;
    match refused.unwrap_err() {
        AppendError::Driver { source: DriverError::Unsupported { message }, .. } => {
            assert!(message.contains(&std::process::id().to_string()), "{message}");
        }
        other => panic!("{other}"),
    }
    door.save_checkpoint("x", bytes::Bytes::new()).await.unwrap_err();
    assert_eq!(owner.latest_sequence("a").await.unwrap(), 1);
    reader.close().await.unwrap();
    let closed = door.log_page_now(LogFetch::ALL).unwrap_err();
    assert!(matches!(closed, DriverError::Closed), "{closed}");
    assert!(door.check_sequence(&"a".try_into().unwrap(), 1.into()).await.is_err());
    owner.close().await.unwrap();
}
