//! An aggregate is not passivated while a put is in flight that a caller has sent: its mail has a
//! lease, whether an actor was started or not.

use std::time::Duration;

use crate::support::{append, append_after, held_driver, poll_once, start, until, within};
use seriatim::EventStore;

const LONG: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn until_it_is_answered() {
    let driver = held_driver();
    let builder = EventStore::builder().driver(driver.clone()).max_resident(1);
    let builder = builder.idle_timeout(Duration::from_millis(8));
    let store = builder.put_attempt_timeout(LONG).put_deadline(LONG).open().await.unwrap();
    let first = start(store.append(append_after("a", 0)));
    until("it is sent", || driver.put_sizes().len() == 1).await;
    // It waits for the only seat.
    let mut other = start(store.append(append_after("b", 0)));
    // Six idle timeouts.
    for _ in 0..50 {
        assert!(poll_once(&mut other).is_none() && driver.put_sizes().len() == 1, "not kept");
        assert_eq!(store.resident(), 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    driver.release_puts();
    assert_eq!(within("the first", first).await.unwrap().last, 1);
    assert_eq!(within("the other", other).await.unwrap().last, 1);
    until("both are passivated", || store.resident() == 0).await;
    // What the next turn knows is what the driver tells.
    assert_eq!(within("a later one", store.append(append("a"))).await.unwrap().last, 2);
    within("closing", store.close()).await.unwrap();
}
