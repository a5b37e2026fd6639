//! Opening and closing delete only what is surely not needed: a journal whose redb file is missing
//! is damage, and files that the driver did not make stay where they are.

use std::sync::Arc;

use futures::executor::block_on;
use seriatim::driver::{Driver, DriverError};

use crate::support::puts::{all, assert_dense, key, put, small, unapplied};
use crate::support::sim_disk::SimDisk;

#[test]
fn a_journal_without_its_database_is_damage_and_stays() {
    let disk = SimDisk::new();
    let driver = unapplied().open_on(Arc::new(disk.clone())).unwrap();
    let one = key("one");
    block_on(driver.put_events(put(&one, 1, 3, 10))).unwrap();
    let disk = disk.after_kill();
    let (database, names) = (disk.content("events.redb"), disk.names());
    disk.remove_file("events.redb");

    for _ in 0..2 {
        let error = small().open_on(Arc::new(disk.clone())).err().unwrap();
        assert!(matches!(error, DriverError::Damaged { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("events.redb") && text.contains("journal/"), "{text}");
    }
    disk.set_content("events.redb", database);
    assert_eq!(disk.names(), names);

    let driver = small().open_on(Arc::new(disk)).unwrap();
    let events = all(&driver, &one).unwrap();
    assert_dense(&events);
    assert_eq!(events.len(), 3);
    block_on(driver.close()).unwrap();
}

#[test]
fn files_of_others_in_the_journals_folder_stay() {
    let disk = SimDisk::new();
    let driver = small().open_on(Arc::new(disk.clone())).unwrap();
    disk.set_content("journal/notes.txt", b"mine".to_vec());
    block_on(driver.put_events(put(&key("one"), 1, 3, 10))).unwrap();
    block_on(driver.close()).unwrap();
    let driver = small().open_on(Arc::new(disk.clone())).unwrap();
    block_on(driver.close()).unwrap();
    assert_eq!(disk.content("journal/notes.txt"), b"mine");
    assert!(!disk.names().iter().any(|name| name.starts_with("journal/0")), "{:?}", disk.names());
}
