//! 64 busy callers beside one put: the actor yields, so that the put's end, which runs on the same
//! arbiter, is not kept waiting behind messages that keep coming.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::{self, append_after, event, within};
use seriatim::driver::faults::{FaultyDriver, PutFault};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, EventStore};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_put_ends_while_messages_keep_coming() {
    let faults = FaultyDriver::around(MemoryDriver::new());
    let store = EventStore::builder()
        .driver(faults.clone())
        .arbiters(1)
        .permits_per_aggregate(100_000)
        .open()
        .await
        .unwrap();
    store.append(append_after("a", 0)).await.unwrap();

    // Every put takes a while in a task on the arbiter, and is followed by the next.
    faults.every_nth_put(1, PutFault::Slow(Duration::from_millis(1)));
    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..64)
        .map(|_| {
            let (store, stop, sent) = (store.clone(), stop.clone(), sent.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // Each is polled once, so that its message is sent, and given up for the next.
                    let append = Append::to("a").event(event(0)).commit_id(Uuid::new_v4());
                    let mut sending = Box::pin(store.append(append));
                    let _ = support::poll_once(&mut sending);
                    sent.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let puts = faults.counts().put_events;
    support::until("callers are busy", || sent.load(Ordering::Relaxed) > 10_000).await;
    support::until("several puts came to an end", || faults.counts().put_events > puts + 5).await;
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    faults.every_nth_put(0, PutFault::Hangs);
    let append = Append::to("a").event(event(0));
    within("an append after the storm", store.append(append)).await.unwrap();
    store.close().await.unwrap();
}
