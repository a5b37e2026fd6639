//! A driver over memory whose puts wait until the test lets them through, and which counts what it
//! is asked.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{
    Driver, DriverError, EventPages, Fetch, Limits, Put, PutReceipt, async_trait,
};
use seriatim::{AggregateKey, Sequence};
use tokio::sync::Semaphore;

/// As many puts as a test can make.
const ALL: usize = 1 << 40;

pub struct HeldDriver {
    memory: MemoryDriver,
    limits: Limits,
    let_through: Semaphore,
    events_per_put: Mutex<Vec<usize>>,
    calls: AtomicUsize,
    close_hangs: AtomicBool,
    closed: AtomicBool,
}

impl HeldDriver {
    /// Holds every put, until told to let some through.
    pub fn new() -> Arc<Self> {
        Self::over(MemoryDriver::new())
    }

    pub fn over(memory: MemoryDriver) -> Arc<Self> {
        Self::with_limits(memory, Limits::default())
    }

    pub fn with_limits(memory: MemoryDriver, limits: Limits) -> Arc<Self> {
        Arc::new(HeldDriver {
            memory,
            limits,
            let_through: Semaphore::new(0),
            events_per_put: Mutex::default(),
            calls: AtomicUsize::new(0),
            close_hangs: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        })
    }

    /// Lets so many puts through, now or when they come.
    pub fn let_through(&self, puts: usize) {
        self.let_through.add_permits(puts);
    }

    /// Holds nothing any more.
    pub fn release(&self) {
        self.let_through(ALL);
    }

    /// Holds every put from here on.
    pub fn hold(&self) {
        self.let_through.forget_permits(usize::MAX);
    }

    /// From here on closing does not end.
    pub fn close_hangs(&self) {
        self.close_hangs.store(true, Ordering::SeqCst);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// The puts that came, by how many events each has.
    pub fn puts(&self) -> Vec<usize> {
        self.events_per_put.lock().unwrap().clone()
    }

    /// How often the driver was asked anything, puts included.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// The events, for a store that comes after.
    pub fn reopen(&self) -> MemoryDriver {
        self.memory.reopen()
    }

    fn count(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Driver for HeldDriver {
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        self.count();
        self.memory.check_sequence(key, sequence).await
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        self.count();
        self.memory.fetch_events(key, fetch)
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        self.count();
        self.events_per_put.lock().unwrap().push(put.events().len());
        self.let_through.acquire().await.unwrap().forget();
        self.memory.put_events(put).await
    }

    async fn close(&self) -> Result<(), DriverError> {
        if self.close_hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.closed.store(true, Ordering::SeqCst);
        self.memory.close().await
    }

    async fn latest_sequence(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        self.count();
        self.memory.latest_sequence(key).await
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}
