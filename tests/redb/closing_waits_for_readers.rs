//! The directory is given up only after the last reader has let go of redb's file, and no file is
//! touched after it: a reader that held one longer could write over the file of the next opener.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::executor::block_on;
use seriatim::Position;
use seriatim::driver::redb::{Disk, DiskFile, RedbDriver};
use seriatim::driver::{Driver, DriverError, Fetch, LogFetch};

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

impl GateState {
    fn touch(&mut self) {
        if self.order.contains(&"released") {
            self.order.push("touched");
        }
    }
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
        self.1.change(GateState::touch);
        self.0.size()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if std::thread::current().name() == Some(LOADER) {
            self.1.change(|state| state.loader_waits = true);
            assert!(self.1.wait_until(Duration::from_secs(30), |state| !state.is_shut));
        }
        self.1.change(GateState::touch);
        self.0.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.1.change(GateState::touch);
        self.0.write_at(offset, data)
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.1.change(GateState::touch);
        self.0.set_size(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.1.change(GateState::touch);
        self.0.sync()
    }
}

/// So many aggregates, each with an event and a snapshot.
const KEYS: usize = 400;

fn filled() -> SimDisk {
    let disk = SimDisk::new();
    let driver = small().open_on(Arc::new(disk.clone())).unwrap();
    for number in 1..=KEYS {
        let key = key(&format!("k/{number:04}"));
        block_on(driver.put_events(put(&key, 1, 1, 10))).unwrap();
        let snapshots = driver.snapshots().unwrap();
        block_on(snapshots.save_snapshot(&key, vec![b'x'; 500].into())).unwrap();
    }
    block_on(driver.close()).unwrap();
    disk
}

/// Closes while `read` waits for the disk. It answers so much.
fn close_during(expected: usize, read: impl Fn(&RedbDriver) -> Result<usize, DriverError> + Sync) {
    let disk = filled();
    let gate = Arc::new(Gate::default());
    gate.change(|state| state.is_shut = true);
    // Without caches, so that the file is read.
    let builder = small().cache_bytes(0).segment_cache_bytes(0);
    let driver = builder.open_on(Arc::new(GatedDisk(disk.clone(), gate.clone()))).unwrap();
    block_on(driver.put_events(put(&key("more"), 1, 1, 10))).unwrap();
    std::thread::scope(|scope| {
        let loader = std::thread::Builder::new().name(LOADER.to_owned());
        let loader = loader.spawn_scoped(scope, || read(&driver)).unwrap();
        assert!(gate.wait_until(Duration::from_secs(30), |state| state.loader_waits));
        let closing = scope.spawn(|| block_on(driver.close()));
        // A release that comes too early comes now; there is nothing to wait for where there is
        // none.
        gate.wait_until(Duration::from_millis(300), |state| !state.order.is_empty());
        gate.change(|state| {
            state.order.push("read");
            state.is_shut = false;
        });
        assert_eq!(loader.join().unwrap().unwrap(), expected);
        closing.join().unwrap().unwrap();
    });
    drop(driver);
    assert_eq!(gate.state.lock().unwrap().order, ["read", "released"]);

    let driver = small().open_on(Arc::new(disk)).unwrap();
    assert_eq!(driver.verify().unwrap().events, KEYS as u64 + 1);
    block_on(driver.close()).unwrap();
}

#[test]
fn a_snapshot_that_is_being_loaded() {
    close_during(500, |driver| {
        let loaded = block_on(driver.snapshots().unwrap().load_snapshot(&key("k/0200")))?;
        Ok(loaded.map_or(0, |snapshot| snapshot.len()))
    });
}

#[test]
fn a_history_that_is_being_read() {
    close_during(1, |driver| {
        let page = driver.fetch_page_now(&key("k/0200"), Fetch::ALL).unwrap()?;
        Ok(page.events.len())
    });
}

#[test]
fn a_sequence_that_is_being_looked_up() {
    close_during(1, |driver| {
        block_on(driver.latest_sequence(&key("k/0200"))).map(|latest| latest.get() as usize)
    });
}

#[test]
fn keys_that_are_being_listed() {
    close_during(KEYS, |driver| {
        block_on(driver.keys("k/", None).next()).unwrap().map(|keys| keys.len())
    });
}

#[test]
fn the_log_while_it_is_being_read() {
    close_during(7, |driver| driver.log_page(Position::new(100), 7).map(|events| events.len()));
}

#[test]
fn the_log_while_it_is_being_read_backwards() {
    close_during(7, |driver| {
        let fetch = LogFetch::ALL.backwards().limit(7);
        driver.log().unwrap().log_page_now(fetch).map(|page| page.events.len())
    });
}

#[test]
fn a_store_that_is_being_verified() {
    close_during(KEYS + 1, |driver| driver.verify().map(|verified| verified.events as usize));
}

#[test]
fn pages_that_are_kept_open_over_closing_end_with_an_error() {
    let gate = Arc::new(Gate::default());
    let driver = small().open_on(Arc::new(GatedDisk(filled(), gate.clone()))).unwrap();
    let (mut keys, mut events) =
        (driver.keys("", None), driver.fetch_events(&key("k/0001"), Fetch::ALL));
    block_on(driver.close()).unwrap();
    assert!(matches!(block_on(keys.next()), Some(Err(DriverError::Closed))));
    assert!(matches!(block_on(events.next()), Some(Err(DriverError::Closed))));
    drop((driver, keys, events));
    assert_eq!(gate.state.lock().unwrap().order, ["released"]);
}
