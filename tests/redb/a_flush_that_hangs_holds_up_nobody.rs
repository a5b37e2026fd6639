//! While a flush hangs, every append is answered at its deadline, whichever thread serves it.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use seriatim::driver::redb::{Disk, DiskFile};
use seriatim::{AppendError, EventStore};

use uuid::Uuid;

use crate::support::puts::small;
use crate::support::sim_disk::SimDisk;
use crate::support::{append, append_after, history, start, within};

/// Flushes wait while it is shut.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    is_shut: bool,
    a_flush_waits: bool,
}

impl Gate {
    fn shut(&self, is_shut: bool) {
        self.state.lock().unwrap().is_shut = is_shut;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        while state.is_shut {
            state.a_flush_waits = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap();
        }
    }

    fn wait_for_a_flush(&self) {
        let state = self.state.lock().unwrap();
        let limit = Duration::from_secs(30);
        let wait = self.changed.wait_timeout_while(state, limit, |state| !state.a_flush_waits);
        assert!(!wait.unwrap().1.timed_out(), "no flush");
    }
}

struct GatedDisk(SimDisk, Arc<Gate>);

#[derive(Debug)]
struct GatedFile(Arc<dyn DiskFile>, Arc<Gate>);

impl GatedDisk {
    fn gated(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(GatedFile(file, self.1.clone()))
    }
}

impl Disk for GatedDisk {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.0.list(folder)
    }

    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn DiskFile>>> {
        Ok(self.0.open(name)?.map(|file| self.gated(file)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.gated(self.0.create(name)?))
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
        self.0.release();
    }
}

impl DiskFile for GatedFile {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.0.set_size(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.1.pass();
        self.0.sync()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_append_is_answered_at_its_deadline() {
    let gate = Arc::new(Gate::default());
    let disk = GatedDisk(SimDisk::new(), gate.clone());
    let driver = small().open_on(Arc::new(disk)).unwrap();
    let store = EventStore::builder()
        .driver(Arc::new(driver))
        .arbiters(1)
        .put_attempt_timeout(Duration::from_millis(100))
        .put_deadline(Duration::from_millis(300))
        .open()
        .await
        .unwrap();
    store.append(append_after("a", 0)).await.unwrap();

    gate.shut(true);
    let first = start(store.append(append_after("a", 1)));
    gate.wait_for_a_flush();
    let other = start(store.append(append_after("b", 0)));
    let first = within("the append whose flush hangs", first).await;
    let other = within("an append of another aggregate", other).await;
    gate.shut(false);

    assert!(matches!(first, Err(AppendError::Indeterminate { .. })), "{first:?}");
    assert!(matches!(other, Err(AppendError::Indeterminate { .. })), "{other:?}");
    // What was sent is written once, and the store goes on.
    let next = append("a").commit_id(Uuid::from_u128(1));
    let answered = async {
        // The deadline of a put is short here, also for a busy machine.
        while let Err(error) = store.append(next.clone()).await {
            assert!(matches!(error, AppendError::Indeterminate { .. }), "{error:?}");
        }
    };
    within("the next append", answered).await;
    assert_eq!(history(&store, "a").await.len(), 3);
    assert_eq!(history(&store, "b").await.len(), 1);
    within("closing", store.close()).await.unwrap();
}
