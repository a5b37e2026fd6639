//! A journal file of an earlier opening that is there again, after a directory was put together from
//! two copies, is not taken for the present one's, whatever position its frames name.

use std::sync::Arc;

use futures::executor::block_on;
use seriatim::driver::Driver;

use crate::support::puts::{all, key, put, unapplied};
use crate::support::sim_disk::SimDisk;

/// Opens the store, puts events from 1 to `last` in a frame each, and is killed.
fn killed_after(disk: &SimDisk, last: u64) -> SimDisk {
    let driver = unapplied().open_on(Arc::new(disk.clone())).unwrap();
    for n in 1..=last {
        block_on(driver.put_events(put(&key("a"), n, 1, 12_000))).unwrap();
    }
    let left = disk.after_kill();
    block_on(driver.close()).unwrap();
    left
}

/// The first file of the journal that has frames and is not the first file, and the position that
/// its first frame names.
fn second_file(disk: &SimDisk) -> (Vec<u8>, u64) {
    let mut names = disk.names();
    names.retain(|name| name.starts_with("journal/"));
    let content = disk.content(&names[1]);
    assert!(content.starts_with(&[0xfe, b'S', b'J', 0]), "{names:?}");
    let position = u64::from_le_bytes(content[32..40].try_into().unwrap());
    (content, position)
}

#[test]
fn a_frame_of_an_earlier_epoch_is_stale() {
    let disk = SimDisk::new();
    block_on(unapplied().open_on(Arc::new(disk.clone())).unwrap().close()).unwrap();
    let (stale, position) = second_file(&killed_after(&disk.after_kill(), 12));
    assert!(position > 2);
    // Another history of the same store, one epoch later, which ends right before those frames.
    let later = disk.after_kill();
    block_on(unapplied().open_on(Arc::new(later.clone())).unwrap().close()).unwrap();
    let later = killed_after(&later, position - 1);
    later.set_content("journal/000099", stale);
    let driver = unapplied().open_on(Arc::new(later)).unwrap();
    assert_eq!(all(&driver, &key("a")).unwrap().len() as u64, position - 1);
    driver.verify().unwrap();
    block_on(driver.close()).unwrap();
}
