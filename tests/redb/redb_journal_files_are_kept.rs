//! A journal file is used again only when all its events are durable in redb: with redb's flush
//! hanging while the journal goes through file after file, a loss of power costs nothing that was
//! answered.

use std::sync::Arc;

use futures::executor::block_on;
use seriatim::driver::Driver;

use crate::support::puts::{all, assert_dense, key, put, small};
use crate::support::sim_disk::{Random, SimDisk};

#[test]
fn a_file_is_not_used_again_before_redb_is_durable() {
    for seed in 1..=20 {
        let disk = SimDisk::new();
        let options = || small().tail_bytes(2 << 20);
        let driver = options().open_on(Arc::new(disk.clone())).unwrap();
        let one = key("one");
        let mut answered = 0;
        let mut append = |count: u64| {
            for _ in 0..count {
                block_on(driver.put_events(put(&one, answered + 1, 1, 4_000))).unwrap();
                answered += 1;
            }
            answered
        };
        append(40);
        disk.hold_syncs(Some("events.redb"));
        // Some 400 KiB: six files' worth, with the first apply hanging in its flush.
        let answered = append(100);
        let left = disk.after_power_loss(&mut Random::new(seed));
        disk.hold_syncs(None);
        block_on(driver.close()).unwrap();

        let driver = options().open_on(Arc::new(left)).unwrap();
        let events = all(&driver, &one).unwrap();
        assert_dense(&events);
        assert_eq!(events.len() as u64, answered, "seed {seed}");
        block_on(driver.close()).unwrap();
    }
}
