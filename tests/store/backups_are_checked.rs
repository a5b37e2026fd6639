//! Damage of a backup is named with its file. A target that is not this store's, holds something
//! else, is full or in use is refused by name, and what it held stays.

use std::fs;
use std::path::{Path, PathBuf};

use seriatim::backup::{BackupError, Restore};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, EventStore};

use super::backups_come_back_the_same::restored;
use super::log_reads::NoLogHere;
use crate::support::logged::{happen, redb};
use crate::support::{assert_says, chance, event};

/// A backup of 100 events in several files.
async fn backup(target: &Path) -> EventStore {
    let store = EventStore::open("memory:").await.unwrap();
    for n in 0..50 {
        store.append(Append::to("light/1").events([event(n), event(n)])).await.unwrap();
    }
    let done = store.backup(target).file_bytes(2_000).await.unwrap();
    assert!(done.contents.files > 2);
    store
}

fn files(target: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(target).unwrap().map(|entry| entry.unwrap().path());
    let is_listed = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name == "manifest" || name.starts_with("events-")
    };
    let mut names: Vec<PathBuf> = names.filter(is_listed).collect();
    names.sort();
    names
}

fn assert_damaged(target: &Path, file: &Path) {
    let checked = Restore::from_dir(target).check();
    match &checked {
        Err(BackupError::Damaged { file: named, .. }) => assert_eq!(named, file, "{checked:?}"),
        other => panic!("{}: {other:?}", file.display()),
    }
}

#[tokio::test]
async fn a_changed_byte_a_cut_end_and_a_missing_file_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path();
    let store = backup(target).await;
    let mut chance = chance();
    for file in files(target) {
        let sound = fs::read(&file).unwrap();
        for _ in 0..100 {
            let mut bytes = sound.clone();
            let at = chance.usize(..bytes.len());
            bytes[at] ^= 1 << chance.u8(..8);
            fs::write(&file, &bytes).unwrap();
            assert_damaged(target, &file);
            let driver = MemoryDriver::new();
            let restored = Restore::from_dir(target).into_driver(&driver).await;
            assert!(matches!(restored, Err(BackupError::Damaged { .. })), "byte {at}");
        }
        for cut in [1, 2 + chance.usize(..sound.len() / 2)] {
            fs::write(&file, &sound[..sound.len() - cut]).unwrap();
            assert_damaged(target, &file);
        }
        fs::write(&file, [&sound[..], b"\n"].concat()).unwrap();
        assert_damaged(target, &file);
        fs::remove_file(&file).unwrap();
        if file.ends_with("manifest") {
            let none = Restore::from_dir(target).check().unwrap_err();
            assert_says(&none, &["there is no backup in", target.to_str().unwrap()]);
        } else {
            assert_damaged(target, &file);
            // A further backup would rest on what is not there.
            let further = store.backup(target).await;
            assert!(matches!(further, Err(BackupError::Damaged { .. })), "{further:?}");
        }
        fs::write(&file, &sound).unwrap();
    }
    Restore::from_dir(target).check().unwrap();
}

#[tokio::test]
async fn a_file_in_the_place_of_another_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path();
    backup(target).await;
    let files = files(target);
    let (second, third) = (fs::read(&files[1]).unwrap(), fs::read(&files[2]).unwrap());
    fs::write(&files[1], third).unwrap();
    fs::write(&files[2], second).unwrap();
    assert_damaged(target, &files[1]);
}

#[tokio::test]
async fn the_target_of_another_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (target, copy) = (folder.path().join("target"), folder.path().join("copy"));
    let store = EventStore::open(&redb(&folder.path().join("data"))).await.unwrap();
    happen(&store, "light/1", "Switched").await;
    store.backup(&target).await.unwrap();
    // The same beginning, and then another history.
    let driver = std::sync::Arc::new(MemoryDriver::new());
    Restore::from_dir(&target).into_driver(&*driver).await.unwrap();
    let twin = EventStore::builder().driver(driver).open().await.unwrap();
    happen(&store, "light/1", "Switched").await;
    happen(&twin, "light/1", "Switched").await;
    assert_eq!(twin.backup(&copy).await.unwrap().contents.last, 2);
    assert_eq!(store.backup(&target).await.unwrap().added, 1);
    let refused = twin.backup(&target).await.unwrap_err();
    assert_says(&refused, &[target.to_str().unwrap(), "another store", "position 2"]);
    let empty = EventStore::open("memory:").await.unwrap();
    let refused = empty.backup(&target).await.unwrap_err();
    assert!(matches!(refused, BackupError::OtherStore { .. }), "{refused}");
    assert_eq!(restored(&target).await.len(), 2);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_directory_with_something_else_and_a_store_without_a_log_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = EventStore::open("memory:").await.unwrap();
    fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    let refused = store.backup(folder.path()).await.unwrap_err();
    assert_says(&refused, &["letter.txt", "no part of a backup"]);
    let refused = store.backup(folder.path().join("letter.txt")).await.unwrap_err();
    assert_says(&refused, &["letter.txt"]);
    let driver = std::sync::Arc::new(NoLogHere);
    let store = EventStore::builder().driver(driver).open().await.unwrap();
    let refused = store.backup(folder.path().join("new")).await.unwrap_err();
    assert!(matches!(refused, BackupError::NoLog(_)), "{refused}");
    assert!(!folder.path().join("new").exists());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_named_and_the_backup_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path();
    let store = backup(target).await;
    let before = restored(target).await;
    happen(&store, "light/2", "Switched").await;
    for file in ["events.new", "manifest.new"] {
        // Every write to it finds the disk full.
        std::os::unix::fs::symlink("/dev/full", target.join(file)).unwrap();
        let full = store.backup(target).await.unwrap_err();
        assert_says(&full, &[target.join(file).to_str().unwrap(), "No space left"]);
        assert!(restored(target).await == before);
        fs::remove_file(target.join(file)).unwrap();
    }
    assert_eq!(store.backup(target).await.unwrap().added, 1);
    assert_eq!(restored(target).await.len(), before.len() + 1);
}

#[tokio::test]
async fn a_second_backup_at_a_time_is_refused_and_readers_keep_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path();
    let store = backup(target).await;
    let lock = fs::File::open(target.join("lock")).unwrap();
    lock.lock().unwrap();
    let refused = store.backup(target).await.unwrap_err();
    assert!(matches!(refused, BackupError::InUse { .. }), "{refused}");
    lock.unlock().unwrap();
    // A reader that has the manifest before the merge.
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path();
    let store = EventStore::open("memory:").await.unwrap();
    happen(&store, "light/1", "Switched").await;
    store.backup(target).await.unwrap();
    let readers = fs::File::open(target.join("readers")).unwrap();
    readers.lock_shared().unwrap();
    let before = files(target);
    happen(&store, "light/1", "Switched").await;
    assert_eq!(store.backup(target).await.unwrap().contents.files, 1, "not merged");
    assert!(before.iter().all(|file| file.exists()), "removed under a reader");
    readers.unlock().unwrap();
    store.backup(target).await.unwrap();
    assert_eq!(files(target).len(), 2, "the manifest and one file are left");
    assert_eq!(restored(target).await.len(), 2);
}

#[tokio::test]
async fn a_file_of_another_backup_is_named() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    backup(one.path()).await;
    backup(other.path()).await;
    // Sound in itself, with the same positions and the same length.
    let file = files(one.path()).remove(1);
    fs::copy(files(other.path()).remove(1), &file).unwrap();
    assert_damaged(one.path(), &file);
}
