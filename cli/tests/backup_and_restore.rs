//! A store is backed up, checked and restored; a wrong use, damage and a full disk are explained.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;

use support::Folder;

#[test]
fn a_store_comes_back_the_same_whole_or_in_part() {
    let folder = Folder::new();
    folder.small_store("data");
    let export = |store: &str| folder.run(&["export", &format!("redb:{store}")]).ok().out;
    let said = folder.run(&["backup", "redb:data", "backup"]).ok().json();
    assert_eq!((&said["added"], &said["last_position"]), (&5.into(), &5.into()));
    let said = folder.run(&["restore", "backup", "--check"]).ok().json();
    assert_eq!((&said["last_position"], &said["files"]), (&5.into(), &1.into()));
    let said = folder.run(&["restore", "backup", "redb:copy"]).ok().json();
    assert_eq!((&said["restored"], &said["last_position"]), (&5.into(), &5.into()));
    assert_eq!(export("copy"), export("data"));
    // Positions 4 and 5 are one append.
    folder.run(&["restore", "backup", "redb:part", "--to-position", "4"]).ok();
    let three: String = export("data").split_inclusive('\n').take(3).collect();
    assert_eq!(export("part"), three);
    let early = ["restore", "backup", "redb:early", "--to-time", "2020-01-01T00:00:00Z"];
    assert_eq!(folder.run(&early).ok().json()["restored"], 0);
    // What is missing is added, to the backup and to a store.
    folder.run(&["append", "redb:data", "account/9", "Opened"]).ok();
    assert_eq!(folder.run(&["backup", "redb:data", "backup"]).ok().json()["added"], 1);
    assert_eq!(folder.run(&["restore", "backup", "redb:part"]).ok().json()["restored"], 3);
    assert_eq!(export("part"), export("data"));
    let table = folder.run(&["restore", "backup", "--check", "--table"]).ok().out;
    assert!(table.starts_with("sound: 6 events"), "{table}");
}

#[test]
fn wrong_use_is_explained() {
    let folder = Folder::new();
    folder.small_store("data");
    folder.run(&["backup", "redb:data", "backup"]).ok();
    folder.run(&["restore", "none", "redb:x"]).fails(3, &["there is no backup in none"]);
    assert!(!folder.path("x").exists(), "a store was made");
    folder.run(&["restore", "backup"]).fails(2, &["STORE"]);
    let beyond = ["restore", "backup", "redb:x", "--to-position", "9"];
    folder.run(&beyond).fails(2, &["ends with position 5"]);
    folder.run(&["backup", "redb:none", "b"]).fails(3, &["there is no store in none"]);
    folder.run(&["backup", "redb:data", "data"]).fails(4, &["no part of a backup"]);
    folder.store("other", &[("a", &[("T", "{}")])]);
    let other = folder.run(&["backup", "redb:other", "backup"]);
    other.fails(4, &["backup is the backup of another store", "hint: "]);
    folder.run(&["restore", "backup", "redb:other"]).fails(4, &["from position 1 on", "hint: "]);
}

#[test]
fn damage_and_a_full_disk_are_named() {
    let folder = Folder::new();
    folder.small_store("data");
    folder.run(&["backup", "redb:data", "backup"]).ok();
    #[cfg(target_os = "linux")]
    {
        folder.run(&["append", "redb:data", "account/9", "Opened"]).ok();
        let new = folder.path("backup/events.new");
        std::os::unix::fs::symlink("/dev/full", &new).unwrap();
        let full = folder.run(&["backup", "redb:data", "backup"]);
        full.fails(7, &["backup/events.new", "No space left"]);
        fs::remove_file(new).unwrap();
    }
    let file = folder.path("backup/events-00000000000000000001-00000000000000000005");
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let named = ["events-00000000000000000001", "checksum", "hint: "];
    folder.run(&["restore", "backup", "--check"]).fails(5, &named);
    folder.run(&["restore", "backup", "redb:copy"]).fails(5, &named);
}
