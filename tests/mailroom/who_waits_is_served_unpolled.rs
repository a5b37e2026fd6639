//! A future that waits for a seat, a permit or bytes and is not polled delays no other caller: its
//! append takes its turn without it. No caller waits for room that is there, or is overtaken.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use seriatim::driver::faults::FaultyDriver;
use seriatim::{Append, Builder, EventStore, NewEvent};

use crate::support::{append, assert_busy, held_driver, poll_once, start, until, within};

fn held(driver: &Arc<FaultyDriver>) -> Builder {
    let long = Duration::from_secs(600);
    let builder = EventStore::builder().driver(driver.clone()).arbiters(1);
    builder.put_attempt_timeout(long).put_deadline(long)
}

fn sized(key: &str, bytes: usize) -> Append {
    Append::to(key).event(NewEvent::raw("E", format!("\"{}\"", "x".repeat(bytes))))
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_head_of_the_line_for_bytes() {
    let driver = held_driver();
    let store = held(&driver).bytes_in_flight(10_000).open().await.unwrap();
    let first = start(store.append(sized("a", 9_000)));
    until("it is sent", || driver.put_sizes().len() == 1).await;
    let unpolled = start(store.append(sized("b", 2_000)));
    driver.release_puts();
    within("the first", first).await.unwrap();
    within("another aggregate's append", store.append(append("c"))).await.unwrap();
    within("one that does not wait", store.try_append(append("d"))).await.unwrap();
    assert_eq!(within("the unpolled one", unpolled).await.unwrap().last, 1);
    within("closing", store.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_line_for_a_permit() {
    let driver = held_driver();
    let store = held(&driver).permits_per_aggregate(1).open().await.unwrap();
    let first = start(store.append(append("a")));
    let unpolled = start(store.append(append("a")));
    driver.release_puts();
    within("the first", first).await.unwrap();
    assert_eq!(within("one behind it", store.append(append("a"))).await.unwrap().last, 3);
    assert_eq!(within("the unpolled one", unpolled).await.unwrap().last, 2);
    within("closing", store.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn in_line_for_a_seat() {
    let driver = held_driver();
    let store = held(&driver).max_resident(1).open().await.unwrap();
    let first = start(store.append(append("a")));
    until("it is sent", || driver.put_sizes().len() == 1).await;
    let unpolled = start(store.append(append("b")));
    driver.release_puts();
    within("the first", first).await.unwrap();
    within("another aggregate", store.append(append("c"))).await.unwrap();
    assert_eq!(within("the unpolled one", unpolled).await.unwrap().last, 1);
    within("closing", store.close()).await.unwrap();
}

/// As an application comes to it: appends as a stream, and one of the loop's own after each.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_stream_whose_consumer_appends() {
    let small = || EventStore::builder().url("memory:").max_resident(4);
    for builder in [
        small().bytes_in_flight(64 << 10),
        small().permits_per_aggregate(1),
        small().permits_per_aggregate(2).bytes_in_flight(20_000),
    ] {
        let store = builder.open().await.unwrap();
        let appends = (0..500).map(|n| store.append(sized(&format!("k/{}", n % 50), 8_000)));
        let mut answers = futures::stream::iter(appends).buffer_unordered(32);
        let all = async {
            while let Some(answer) = answers.next().await {
                answer.unwrap();
                store.append(append("audit")).await.unwrap();
            }
        };
        within("all appends", all).await;
        assert_eq!(store.latest_sequence("audit").await.unwrap(), 500);
        within("closing", store.close()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_closes() {
    let driver = held_driver();
    let builder = held(&driver).permits_per_aggregate(1).bytes_in_flight(100);
    let store = builder.close_deadline(Duration::from_secs(60)).open().await.unwrap();
    let first = start(store.append(sized("a", 80)));
    until("it is sent", || driver.put_sizes().len() == 1).await;
    let for_a_permit = start(store.append(append("a")));
    let for_bytes = start(store.append(sized("b", 80)));
    driver.release_puts();
    // It waits for what was admitted, and nobody polls that.
    within("closing", store.close()).await.unwrap();
    for unpolled in [first, for_a_permit, for_bytes] {
        within("an unpolled one", unpolled).await.unwrap();
    }
}

/// The aggregate became resident by the first; those that waited for a seat with it are behind it
/// at once, and later ones behind them.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_waited_for_a_seat_is_overtaken() {
    let driver = held_driver();
    let store = held(&driver).max_resident(1).open().await.unwrap();
    let other = start(store.append(append("j")));
    until("the other is sent", || driver.put_sizes().len() == 1).await;
    let waiting: Vec<_> = (0..4).map(|_| start(store.append(append("k")))).collect();
    driver.let_through(1);
    within("the other", other).await.unwrap();
    until("the aggregate is resident", || driver.put_sizes().len() == 2).await;
    let later = start(store.append(append("k")));
    assert_busy(poll_once(&mut Box::pin(store.try_append(append("j")))), "j");
    driver.release_puts();
    for (index, waiting) in waiting.into_iter().enumerate() {
        let appended = within("one that waited", waiting).await.unwrap();
        assert_eq!(appended.last, index as u64 + 1);
    }
    assert_eq!(within("the later one", later).await.unwrap().last, 5);
    within("closing", store.close()).await.unwrap();
}

/// A writer's appends to one aggregate are in the order in which it sent them, whatever they wait
/// for.
#[tokio::test(flavor = "multi_thread")]
async fn a_writers_own_order_holds() {
    let small = || EventStore::builder().url("memory:").arbiters(2);
    for builder in [
        small().max_resident(2),
        small().permits_per_aggregate(1),
        small().bytes_in_flight(400),
        small().max_resident(2).permits_per_aggregate(3).bytes_in_flight(900),
    ] {
        let store = builder.open().await.unwrap();
        let writers = (0..8).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let key = format!("w/{writer}");
                for round in 0..40_u64 {
                    let sent: Vec<_> =
                        (0..5).map(|_| start(store.append(sized(&key, 80)))).collect();
                    for (index, sent) in sent.into_iter().enumerate() {
                        let last = within("an append", sent).await.unwrap().last;
                        assert_eq!(last, round * 5 + index as u64 + 1);
                    }
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        within("closing", store.close()).await.unwrap();
    }
}
