//! The directory is given up only after the last reader has let go of redb's file: a reader that
//! held it longer could write over the file of the next opener.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use futures::executor::block_on;
use seriatim::driver::Driver;
use seriatim::driver::redb::{Disk, DiskFile};

use crate::support::puts::{key, put, small};
use crate::support::sim_disk::SimDisk;

const LOADER: &str = "loader";

/// What the loader's reads wait for, and what happened in which order.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    is_shut: bool,
    loader_waits: bool,
    order: Vec<&'static str>,
}

impl Gate {
    fn wait_until(&self, limit: Duration, condition: impl Fn(&GateState) -> bool) -> bool {
        let state = self.state.lock().unwrap();
        let wait = self.changed.wait_timeout_while(state, limit, |state| !condition(state));
        !wait.unwrap().1.timed_out()
    }

    fn change(&self, change: impl FnOnce(&mut GateState)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }
}

struct GatedDisk(SimDisk, Arc<Gate>);

#[derive(Debug)]
struct GatedFile(Arc<dyn DiskFile>, Arc<Gate>);

impl Disk for GatedDisk {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.0.list(folder)
    }

    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let gated = |file| -> Arc<dyn DiskFile> { Arc::new(GatedFile(file, self.1.clone())) };
        Ok(self.0.open(name)?.map(gated))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.0.create(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.0.sync_names()
    }

    fn release(&self) {
        self.1.change(|state| state.order.push("released"));
    }
}

impl DiskFile for GatedFile {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if std::thread::current().name() == Some(LOADER) {
            self.1.change(|state| state.loader_waits = true);
            assert!(self.1.wait_until(Duration::from_secs(30), |state| !state.is_shut));
        }
        self.0.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.0.set_size(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

#[test]
fn the_directory_is_given_up_after_a_snapshot_that_is_being_loaded() {
    let disk = SimDisk::new();
    let driver = small().open_on(Arc::new(disk.clone())).unwrap();
    for number in 1..=400 {
        let key = key(&format!("k/{number:04}"));
        block_on(driver.put_events(put(&key, 1, 1, 10))).unwrap();
        let snapshots = driver.snapshots().unwrap();
        block_on(snapshots.save_snapshot(&key, vec![b'x'; 500].into())).unwrap();
    }
    block_on(driver.close()).unwrap();

    let gate = Arc::new(Gate::default());
    gate.change(|state| state.is_shut = true);
    // Without a cache, so that the snapshot is read from the file.
    let builder = small().cache_bytes(0);
    let driver = builder.open_on(Arc::new(GatedDisk(disk.clone(), gate.clone()))).unwrap();
    block_on(driver.put_events(put(&key("more"), 1, 1, 10))).unwrap();
    let driver = Arc::new(driver);
    let loading = driver.clone();
    let loader = std::thread::Builder::new().name(LOADER.to_owned()).spawn(move || {
        let loaded = block_on(loading.snapshots().unwrap().load_snapshot(&key("k/0200")));
        loaded.map(|snapshot| snapshot.map(|snapshot| snapshot.len()))
    });
    assert!(gate.wait_until(Duration::from_secs(30), |state| state.loader_waits));
    let closing = std::thread::spawn(move || block_on(driver.close()));
    // A release that comes too early comes now; there is nothing to wait for where there is none.
    gate.wait_until(Duration::from_millis(300), |state| !state.order.is_empty());
    gate.change(|state| {
        state.order.push("read");
        state.is_shut = false;
    });
    assert_eq!(loader.unwrap().join().unwrap().unwrap(), Some(500));
    closing.join().unwrap().unwrap();
    assert_eq!(gate.state.lock().unwrap().order, ["read", "released"]);

    let driver = small().open_on(Arc::new(disk)).unwrap();
    assert_eq!(driver.verify().unwrap().events, 401);
    block_on(driver.close()).unwrap();
}
