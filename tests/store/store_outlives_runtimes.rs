//! A store can be opened from any runtime or none, outlives the runtime it was opened on, and
//! serves any other: its driver is polled on the store's own threads only. Its futures are `Send`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::support::{self, append, append_after, held_driver, history, start};
use futures::executor::block_on;
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{
    Driver, DriverError, EventPages, Fetch, KeyPages, Put, PutReceipt, async_trait,
};
use seriatim::{AggregateKey, EventStore, OpenError, Read, Sequence};
use tokio::runtime::{Builder as RuntimeBuilder, Runtime};

/// Memory that works in a tokio runtime only, as clients of a network do: it has a socket, sleeps,
/// and spawns.
struct NeedsTokio {
    memory: MemoryDriver,
    polled_on: Arc<Mutex<HashSet<ThreadId>>>,
}

impl NeedsTokio {
    fn new() -> Arc<Self> {
        Arc::new(NeedsTokio { memory: MemoryDriver::new(), polled_on: Arc::default() })
    }

    /// What panics outside tokio.
    async fn io(&self) {
        self.polled_on.lock().unwrap().insert(thread::current().id());
        let socket = tokio::net::UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        socket.send_to(b"ready", socket.local_addr().unwrap()).await.unwrap();
        socket.readable().await.unwrap();
        tokio::spawn(tokio::time::sleep(Duration::from_micros(200))).await.unwrap();
    }

    fn needs_tokio(&self) {
        self.polled_on.lock().unwrap().insert(thread::current().id());
        drop(tokio::spawn(async {}));
    }
}

#[async_trait]
impl Driver for NeedsTokio {
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        self.io().await;
        self.memory.check_sequence(key, sequence).await
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        self.needs_tokio();
        self.memory.fetch_events(key, fetch)
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        self.io().await;
        self.memory.put_events(put).await
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.io().await;
        self.memory.close().await
    }

    fn keys(&self, prefix: &str, after: Option<&AggregateKey>) -> KeyPages {
        self.needs_tokio();
        self.memory.keys(prefix, after)
    }
}

/// Every operation of a store, which holds `before` events of the aggregate "a".
async fn use_all_of(store: &EventStore, before: u64) {
    assert_eq!(store.append(append_after("a", before)).await.unwrap().last, before + 1);
    assert_eq!(store.try_append(append("a")).await.unwrap().last, before + 2);
    assert!(store.append(append_after("a", before)).await.unwrap_err().is_conflict());
    assert!(store.append(append_after("a", before + 9)).await.unwrap_err().is_conflict());
    assert_eq!(store.latest_sequence("a").await.unwrap(), before + 2);
    assert!(!store.exists("b").await.unwrap());
    assert_eq!(store.read("a").collect().await.unwrap().len() as u64, before + 2);
    assert_eq!(store.keys("").collect().await.unwrap().len(), 1);
}

fn runtimes() -> [Runtime; 2] {
    [
        RuntimeBuilder::new_current_thread().enable_all().build().unwrap(),
        RuntimeBuilder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
    ]
}

/// Through a runtime that ends, through another, through none, and from threads at once.
fn use_from_everywhere(open: impl Fn() -> EventStore) {
    let store = open();
    let mut before = 0;
    for runtime in runtimes() {
        runtime.block_on(use_all_of(&store, before));
        // Ends without waiting for what still runs on it.
        runtime.shutdown_background();
        before += 2;
    }
    block_on(use_all_of(&store, before));
    thread::spawn({
        let store = store.clone();
        move || block_on(use_all_of(&store, before + 2))
    })
    .join()
    .unwrap();
    actix::System::new().block_on(use_all_of(&store, before + 4));
    thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..50 {
                    block_on(store.append(append("many"))).unwrap();
                }
            });
        }
    });
    RuntimeBuilder::new_current_thread().enable_all().build().unwrap().block_on(async {
        assert_eq!(history(&store, "a").await.len() as u64, before + 6);
        assert_eq!(history(&store, "many").await.len(), 200);
    });
    block_on(store.close()).unwrap();
}

#[test]
fn opened_on_a_runtime_that_ends() {
    for runtime in runtimes() {
        use_from_everywhere(|| runtime.block_on(EventStore::open("memory:")).unwrap());
        runtime.shutdown_background();
    }
    for runtime in runtimes() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("redb:{}", directory.path().display());
        use_from_everywhere(|| runtime.block_on(EventStore::open(&url)).unwrap());
        drop(runtime);
    }
}

#[test]
fn opened_without_any_runtime() {
    use_from_everywhere(|| block_on(EventStore::open("memory:")).unwrap());
}

#[test]
fn opened_from_each_main() {
    #[tokio::main(flavor = "current_thread")]
    async fn tokio_current_thread() -> Result<EventStore, OpenError> {
        EventStore::open("memory:").await
    }
    #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
    async fn tokio_multi_thread() -> Result<EventStore, OpenError> {
        EventStore::open("memory:").await
    }
    #[actix::main]
    async fn actix_main() -> Result<EventStore, OpenError> {
        EventStore::open("memory:").await
    }
    fn plain_main() -> Result<EventStore, OpenError> {
        block_on(EventStore::open("memory:"))
    }
    for main in [tokio_current_thread, tokio_multi_thread, actix_main, plain_main] {
        use_from_everywhere(|| main().unwrap());
    }
}

#[test]
fn a_driver_that_needs_tokio_is_polled_on_the_stores_threads_only() {
    let driver = NeedsTokio::new();
    let here = thread::current().id();
    use_from_everywhere(|| {
        block_on(EventStore::builder().driver(driver.clone()).arbiters(1).open()).unwrap()
    });
    let polled_on = driver.polled_on.lock().unwrap();
    assert!(!polled_on.contains(&here), "polled in a caller's thread");
    assert!(polled_on.len() <= 2, "polled on {} threads, the store has two", polled_on.len());
}

#[test]
fn an_append_outlives_the_runtime_its_caller_ran_on() {
    for runtime in runtimes() {
        let driver = held_driver();
        let store = block_on(EventStore::builder().driver(driver.clone()).open()).unwrap();
        runtime.block_on(async { drop(start(store.append(append("a")))) });
        let caller = store.clone();
        runtime.spawn(async move { caller.append(append("a")).await });
        support::until_blocking("a put", || driver.put_sizes().len() == 1);
        runtime.shutdown_background();
        driver.release_puts();
        let after = block_on(store.append(append("a"))).unwrap();
        assert!(after.last == 2 || after.last == 3, "{after:?}");
        block_on(store.close()).unwrap();
    }
}

/// Compiles only if it is true.
#[test]
fn futures_and_handles_can_go_to_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    fn is_send_and_sync<T: Send + Sync + Clone + 'static>(_: &T) {}

    is_send(&EventStore::open("memory:"));
    is_send(&EventStore::builder());
    is_send(&EventStore::builder().open());
    let store = block_on(EventStore::open("memory:")).unwrap();
    is_send_and_sync(&store);
    is_send(&store.append(append("a")));
    is_send(&store.try_append(append("a")));
    is_send(&store.latest_sequence("a"));
    is_send(&store.exists("a"));
    is_send(&store.close());
    let mut read: Read = store.read("a");
    is_send(&read);
    is_send(&read.next());
    is_send(&store.read("a").collect());
    let mut keys = store.keys("");
    is_send(&keys);
    is_send(&keys.next());
    is_send(&store.keys("").collect());
}
