//! The socket is the store's user's alone, is there while the store is open with a door and no
//! longer, and replaces one that was left behind.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use seriatim::driver::DriverError;
use seriatim::driver::door::DoorDriver;
use seriatim::{EventStore, OpenError};

use crate::owner;
use crate::support::until;

fn is_there(directory: &Path) -> bool {
    std::fs::symlink_metadata(directory.join("door")).is_ok()
}

#[tokio::test]
async fn it_has_the_mode_0600_and_goes_with_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = owner(folder.path()).await;
    let found = std::fs::symlink_metadata(folder.path().join("door")).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert!(!folder.path().join("door.new").exists());
    store.close().await.unwrap();
    assert!(!is_there(folder.path()));
    let gone = DoorDriver::open(folder.path()).err().unwrap();
    assert!(matches!(gone, DriverError::Unavailable { .. }), "{gone}");

    // Without a handle the store closes in the background.
    let store = owner(folder.path()).await;
    let other = store.clone();
    drop(store);
    assert!(is_there(folder.path()));
    drop(other);
    until("the socket is removed", || !is_there(folder.path())).await;
}

#[tokio::test]
async fn it_is_off_by_default_and_needs_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("redb:{}", folder.path().display());
    let store = EventStore::open(&url).await.unwrap();
    assert!(!is_there(folder.path()));
    store.close().await.unwrap();
    let refused = EventStore::builder().url("memory:").serve_local().open().await.unwrap_err();
    assert!(matches!(refused, OpenError::Door(DriverError::Unsupported { .. })), "{refused}");
}

#[tokio::test]
async fn one_that_was_left_behind_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(folder.path().join("door")).unwrap());
    std::fs::create_dir_all(folder.path().join("door.new/rest")).unwrap();
    let stale = DoorDriver::open(folder.path()).err().unwrap();
    assert!(matches!(stale, DriverError::Unavailable { .. }), "{stale}");
    let store = owner(folder.path()).await;
    DoorDriver::open(folder.path()).unwrap();
    // A second store does not open, and takes nothing away.
    let url = format!("redb:{}", folder.path().display());
    EventStore::builder().url(url).serve_local().open().await.unwrap_err();
    DoorDriver::open(folder.path()).unwrap();
    store.close().await.unwrap();
    assert!(!is_there(folder.path()));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_long_path_has_a_door() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("d".repeat(120)).join("data");
    let store = owner(&long).await;
    let door = DoorDriver::open(&long).unwrap();
    assert_eq!(door.owner_process(), std::process::id());
    store.close().await.unwrap();
    assert!(!is_there(&long));
}

#[tokio::test]
async fn a_directory_that_was_moved_away_keeps_another_ones_socket() {
    let folder = tempfile::tempdir().unwrap();
    let (data, moved) = (folder.path().join("data"), folder.path().join("moved"));
    let first = owner(&data).await;
    std::fs::rename(&data, &moved).unwrap();
    let second = owner(&data).await;
    let _ = first.close().await;
    DoorDriver::open(&data).unwrap();
    second.close().await.unwrap();
}
