//! A put that a caller has sent is admitted work: closing waits for it as for any other, and
//! answers it at the deadline.

use std::time::Duration;

use crate::support::{append, append_after, held_driver, poll_once, start, until, within};
use seriatim::{AppendError, CloseError, EventStore};

const LONG: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn until_it_is_answered() {
    let driver = held_driver();
    let builder = EventStore::builder().driver(driver.clone()).close_deadline(LONG);
    let store = builder.put_attempt_timeout(LONG).put_deadline(LONG).open().await.unwrap();
    // No actor was started.
    let first = start(store.append(append_after("a", 0)));
    until("it is sent", || driver.put_sizes().len() == 1).await;
    let mut closing = start(store.close());
    for _ in 0..50 {
        assert!(poll_once(&mut closing).is_none() && !driver.is_closed(), "did not wait");
        let refused = store.append(append("b")).await;
        assert!(matches!(refused, Err(AppendError::Closed)), "{refused:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    driver.release_puts();
    assert_eq!(within("the first", first).await.unwrap().last, 1);
    within("closing", closing).await.unwrap();
    assert!(driver.is_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn until_the_deadline() {
    let driver = held_driver();
    let builder =
        EventStore::builder().driver(driver.clone()).close_deadline(Duration::from_millis(50));
    let store = builder.put_attempt_timeout(LONG).put_deadline(LONG).open().await.unwrap();
    let first = start(store.append(append_after("a", 0)));
    until("it is sent", || driver.put_sizes().len() == 1).await;
    let closed = within("closing", store.close()).await;
    assert!(matches!(closed, Err(CloseError::Unfinished { unfinished: 1, .. })), "{closed:?}");
    let lost = within("the first", first).await;
    assert!(matches!(lost, Err(AppendError::Indeterminate { .. })), "{lost:?}");
}

/// Callers take turns while the store closes: each is answered, and what was answered is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn or_refuses_it() {
    for _ in 0..50 {
        let store = EventStore::builder().url("memory:").open().await.unwrap();
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let store = store.clone();
                tokio::spawn(async move {
                    let mut answered = 0;
                    loop {
                        match store.append(append(&format!("a/{caller}"))).await {
                            Ok(appended) => answered = appended.last.get(),
                            Err(AppendError::Closed) => return answered,
                            Err(other) => panic!("{other}"),
                        }
                    }
                })
            })
            .collect();
        until("they append", || store.stats().appends > 100).await;
        within("closing", store.close()).await.unwrap();
        let mut answered = 0;
        for caller in callers {
            answered += within("a caller", caller).await.unwrap();
        }
        assert_eq!(store.stats().appends, answered);
    }
}
