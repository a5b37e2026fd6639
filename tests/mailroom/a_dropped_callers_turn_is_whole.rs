//! A caller that takes its aggregate's turn and drops its future has sent the put: it is written as
//! a whole, nothing waits for the caller, and the next append follows it.

use uuid::Uuid;

use crate::support::{append, event, held_driver, history, start, until, within};
use seriatim::{Append, EventStore};

const ID: Uuid = Uuid::from_u128(7);

fn three() -> Append {
    Append::to("a").events((0..3).map(event)).commit_id(ID)
}

#[tokio::test(flavor = "multi_thread")]
async fn while_its_put_is_in_flight() {
    let driver = held_driver();
    let store = EventStore::builder().driver(driver.clone()).open().await.unwrap();
    // It names no sequence of its own, and a new aggregate needs no question.
    drop(start(store.append(three().expect(0))));
    until("its put is sent", || driver.put_sizes() == [3]).await;
    let behind = start(store.append(append("a")));
    let also_dropped = start(store.append(append("a")));
    drop(also_dropped);
    driver.release_puts();
    assert_eq!(within("the one behind it", behind).await.unwrap().first, 4);
    let found = within("repeating it", store.append(three().expect(0))).await.unwrap();
    assert!(found.repeated && found.first == 1 && found.last == 3, "{found:?}");
    assert_eq!(within("a later one", store.append(append("a"))).await.unwrap().last, 6);
    let events = history(&store, "a").await;
    assert!(events[..3].iter().all(|event| event.commit_id == ID));
    within("closing", store.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn before_it_was_polled() {
    let driver = held_driver();
    let store = EventStore::builder().driver(driver.clone()).open().await.unwrap();
    drop(store.append(three()));
    driver.release_puts();
    assert_eq!(within("another", store.append(append("a"))).await.unwrap().first, 1);
    within("closing", store.close()).await.unwrap();
    assert_eq!(driver.put_sizes(), [1]);
}
