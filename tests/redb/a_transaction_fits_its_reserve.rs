//! While a transaction is written, its reserve is all the room there is: others fill the disk as
//! soon as the first page of redb's file is written. Whatever goes into the transaction, it finds
//! room, and the store goes on without being opened again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use seriatim::driver::redb::RedbDriver;
use seriatim::driver::{Driver, SnapshotStore};

use crate::support::chance;
use crate::support::puts::{key, put};
use crate::support::sim_disk::SimDisk;

/// A driver that applies only when it is told to, everything in one transaction.
struct Store {
    disk: SimDisk,
    driver: RedbDriver,
    latest: Vec<u64>,
}

impl Store {
    fn new(full: io::ErrorKind) -> Self {
        let disk = SimDisk::new();
        disk.refuse_as(full);
        let builder = RedbDriver::builder()
            .tail_bytes(1 << 30)
            .cache_bytes(1 << 20)
            .apply_after(Duration::from_secs(3_600));
        let driver = builder.open_on(Arc::new(disk.clone())).unwrap();
        Store { disk, driver, latest: Vec::new() }
    }

    /// Puts one event with `filler` more bytes into the aggregate with this number.
    fn put(&mut self, aggregate: usize, filler: usize) {
        if self.latest.len() <= aggregate {
            self.latest.resize(aggregate + 1, 0);
        }
        let key = key(&format!("aggregate/{aggregate:07}"));
        self.latest[aggregate] += 1;
        let put = put(&key, self.latest[aggregate], 1, filler);
        block_on(self.driver.put_events(put)).unwrap();
    }

    fn put_mib(&mut self, mib: usize, mut next: impl FnMut() -> (usize, usize)) {
        let mut bytes = 0;
        while bytes < mib << 20 {
            let (aggregate, filler) = next();
            self.put(aggregate, filler);
            bytes += filler + 150;
        }
    }

    /// One transaction, without more room than was set aside for it.
    fn apply_on_a_full_disk(&self, what: &str) {
        self.disk.crowd("events.redb");
        let verified = self.driver.verify().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(verified.events, self.latest.iter().sum::<u64>());
        self.disk.set_capacity(None);
    }
}

/// Each size leaves much of redb's pages empty, which are powers of two.
#[test]
fn events_that_waste_most_of_a_page() {
    for filler in [4_400, 13_100, 26_300, 52_500] {
        let mut store = Store::new(io::ErrorKind::StorageFull);
        store.put_mib(16, || (0, filler));
        store.apply_on_a_full_disk(&format!("events of {filler} bytes"));
        block_on(store.driver.close()).unwrap();
    }
}

/// The most that a user may take is no room, too.
#[test]
fn events_of_any_size() {
    let mut random = chance();
    for history in 0..4 {
        let mut store = Store::new(io::ErrorKind::QuotaExceeded);
        for round in 0..2 {
            let aggregates = random.usize(1..100);
            let mib = random.usize(1..12);
            let least = random.usize(2_000..60_000);
            let most = least + 1 + random.usize(..4_000);
            let what = format!(
                "history {history}, round {round}: {mib} MiB, {least} to {most} bytes, \
                 {aggregates} aggregates"
            );
            println!("{what}");
            store.put_mib(mib, || (random.usize(..aggregates), random.usize(least..most)));
            store.apply_on_a_full_disk(&what);
        }
        block_on(store.driver.close()).unwrap();
    }
}

#[test]
fn snapshots_of_many_entities() {
    let mut store = Store::new(io::ErrorKind::StorageFull);
    let save = |store: &Store, aggregate: usize, bytes: usize| {
        let key = key(&format!("aggregate/{aggregate:07}"));
        block_on(store.driver.save_snapshot(&key, vec![b'x'; bytes].into())).unwrap();
    };
    for aggregate in 0..20_000 {
        save(&store, aggregate, 400);
    }
    store.put(0, 10);
    store.apply_on_a_full_disk("20,000 new snapshots");
    // Each stands in a page of its own.
    for aggregate in (0..20_000).step_by(8) {
        save(&store, aggregate, 40);
    }
    store.put(0, 10);
    store.apply_on_a_full_disk("2,500 snapshots replaced");
    for aggregate in (0..20_000).step_by(1_000) {
        save(&store, aggregate, 600_000);
    }
    store.put(0, 10);
    store.apply_on_a_full_disk("20 large snapshots");
    block_on(store.driver.close()).unwrap();
}

#[test]
fn large_checkpoints() {
    let mut store = Store::new(io::ErrorKind::StorageFull);
    for round in 0..3 {
        for number in 0..12 {
            let log = store.driver.log().unwrap();
            let checkpoint = vec![b'x'; 300_000].into();
            block_on(log.save_checkpoint(&format!("consumer-{number}"), checkpoint)).unwrap();
        }
        store.put(0, 10);
        store.apply_on_a_full_disk(&format!("12 checkpoints, round {round}"));
    }
    block_on(store.driver.close()).unwrap();
}
