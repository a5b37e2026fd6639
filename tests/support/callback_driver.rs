//! A driver over memory that answers by callback, when the test says so, from the test's thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use std::sync::Arc;

use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{
    Driver, DriverError, EventPages, Fetch, Put, PutDone, PutReceipt, async_trait,
};
use seriatim::{AggregateKey, Sequence};

#[derive(Default)]
pub struct CallbackDriver {
    memory: MemoryDriver,
    sent: Mutex<VecDeque<(Arc<Put>, PutDone)>>,
    overlaps: AtomicUsize,
}

impl CallbackDriver {
    fn sent(&self) -> MutexGuard<'_, VecDeque<(Arc<Put>, PutDone)>> {
        self.sent.lock().unwrap()
    }

    /// How many puts wait for their answer.
    pub fn waiting(&self) -> usize {
        self.sent().len()
    }

    /// How many puts were sent while another one of their aggregate waited.
    pub fn overlaps(&self) -> usize {
        self.overlaps.load(Ordering::SeqCst)
    }

    /// Writes and answers the put that has waited longest, if one waits.
    pub fn answer_next(&self) -> bool {
        let next = self.sent().pop_front();
        match next {
            None => false,
            Some((put, done)) => {
                assert!(self.memory.put_events_then(put, done).is_ok());
                true
            }
        }
    }
}

#[async_trait]
impl Driver for CallbackDriver {
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        self.memory.check_sequence(key, sequence).await
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        self.memory.fetch_events(key, fetch)
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        self.memory.put_events(put).await
    }

    fn put_events_then(&self, put: Arc<Put>, done: PutDone) -> Result<(), PutDone> {
        let mut sent = self.sent();
        let key = &put.events()[0].key;
        if sent.iter().any(|(other, _)| other.events()[0].key == *key) {
            self.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        sent.push_back((put, done));
        Ok(())
    }

    fn latest_sequence_now(&self, key: &AggregateKey) -> Option<Result<Sequence, DriverError>> {
        self.memory.latest_sequence_now(key)
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.memory.close().await
    }
}
