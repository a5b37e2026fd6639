//! A journal file is written again only when redb holds all of its frames durably: redb's flush hangs
//! at a moment of chance, the journal goes on through several files, and then the power fails.

use std::sync::Arc;

use futures::executor::block_on;
use seriatim::driver::Driver;

use crate::support::chance;
use crate::support::puts::{all, assert_dense, key, put, small};
use crate::support::sim_disk::{Random, SimDisk};

const ROUNDS: u64 = 12;
/// With frames of 12 KiB a file has five.
const EVENTS: u64 = 40;

#[test]
fn a_frame_that_redb_does_not_hold_is_not_overwritten() {
    let mut chance = chance();
    for _ in 0..ROUNDS {
        let disk = SimDisk::new();
        let driver = small().tail_bytes(8 << 20).apply_after(std::time::Duration::ZERO);
        let driver = driver.open_on(Arc::new(disk.clone())).unwrap();
        let held_at = chance.u64(1..20);
        for n in 1..=EVENTS {
            if n == held_at {
                disk.hold_syncs(Some("events.redb"));
            }
            block_on(driver.put_events(put(&key("a"), n, 1, 12_000))).unwrap();
        }
        let left = disk.after_power_loss(&mut Random::new(chance.u64(..)));
        disk.hold_syncs(None);
        block_on(driver.close()).unwrap();
        let driver = small().open_on(Arc::new(left)).unwrap();
        let events = all(&driver, &key("a")).unwrap();
        assert_dense(&events);
        assert_eq!(events.len() as u64, EVENTS, "held at {held_at}");
        block_on(driver.close()).unwrap();
    }
}
