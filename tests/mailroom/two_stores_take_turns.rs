//! Two stores over one engine, both with callers that never pause: neither wins every race.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::support::within;
use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{Driver, DriverError, EventPages, Fetch, Put, PutReceipt};
use seriatim::{AggregateKey, Append, EventStore, NewEvent, Sequence};

const CALLERS: usize = 4;
/// From here to the engine, or back.
const WAY: Duration = Duration::from_millis(2);
/// The appends after which the one that lags must have had its turns.
const APPENDS: u64 = 1_500;

/// An engine that is some way off.
struct Far(MemoryDriver);

async fn there_and_back<T>(work: impl Future<Output = T>) -> T {
    tokio::time::sleep(WAY).await;
    let answer = work.await;
    tokio::time::sleep(WAY).await;
    answer
}

#[async_trait]
impl Driver for Far {
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        there_and_back(self.0.check_sequence(key, sequence)).await
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        let pages = self.0.fetch_events(key, fetch);
        stream::once(there_and_back(pages.collect::<Vec<_>>())).map(stream::iter).flatten().boxed()
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        there_and_back(self.0.put_events(put)).await
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.0.close().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_wins_every_race() {
    let memory = MemoryDriver::new();
    let counts: [Arc<AtomicU64>; 2] = Default::default();
    let mut callers = Vec::new();
    for count in &counts {
        let driver = Arc::new(Far(memory.reopen()));
        let store = EventStore::builder().driver(driver).open().await.unwrap();
        for _ in 0..CALLERS {
            let (store, counts, count) = (store.clone(), counts.clone(), count.clone());
            callers.push(tokio::spawn(async move {
                while counts.iter().all(|count| count.load(Ordering::Relaxed) < APPENDS) {
                    let append = Append::to("contended").event(NewEvent::raw("Counted", "1"));
                    store.append(append).await.unwrap();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
    }
    within("the appends", async {
        for caller in callers {
            caller.await.unwrap();
        }
    })
    .await;
    let [one, other] = counts.map(|count| count.load(Ordering::Relaxed));
    println!("{one} and {other} appends");
    assert!(one.min(other) >= APPENDS / 10, "{one} and {other} appends");
}
