//! While a flush hangs, every append is answered at its deadline, whichever thread serves it.

use std::sync::Arc;
use std::time::Duration;

use seriatim::{AppendError, EventStore};
use uuid::Uuid;

use crate::support::puts::small;
use crate::support::sim_disk::SimDisk;
use crate::support::{append, append_after, history, start, until, within};

#[tokio::test(flavor = "multi_thread")]
async fn each_append_is_answered_at_its_deadline() {
    let disk = SimDisk::new();
    let driver = small().open_on(Arc::new(disk.clone())).unwrap();
    let store = EventStore::builder()
        .driver(Arc::new(driver))
        .arbiters(1)
        .put_attempt_timeout(Duration::from_millis(100))
        .put_deadline(Duration::from_millis(300))
        .open()
        .await
        .unwrap();
    store.append(append_after("a", 0)).await.unwrap();

    disk.hold_syncs(Some("journal/"));
    let first = start(store.append(append_after("a", 1)));
    until("a flush", || disk.holds_a_sync()).await;
    let other = start(store.append(append_after("b", 0)));
    let first = within("the append whose flush hangs", first).await;
    let other = within("an append of another aggregate", other).await;
    disk.hold_syncs(None);

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
