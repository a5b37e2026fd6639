//! Rule 3: of a put in conflict some appends may be stored, by another process that sent them under
//! the same commit ids. Those are answered where they stand; the others are decided again.

use std::sync::Arc;

use seriatim::driver::faults::FaultyDriver;
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, EventStore, Expected, NewEvent};
use uuid::Uuid;

use crate::support::{append, history, start, within};

fn numbered(number: usize, id: Uuid) -> Append {
    Append::to("a").event(NewEvent::raw("Counted", format!("{number}"))).commit_id(id)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_that_another_store_wrote_is_a_repetition() {
    within("a put with all three", async {
        for written in 0..3 {
            while !case(written).await {}
        }
    })
    .await;
}

/// False if the three appends did not travel together.
async fn case(written: usize) -> bool {
    let memory = MemoryDriver::new();
    let other = EventStore::builder().driver(Arc::new(memory.reopen())).open().await.unwrap();
    let faults = FaultyDriver::around(memory);
    let store = EventStore::builder().driver(faults.clone()).arbiters(1).open().await.unwrap();
    // While one put is held, the others come together in the next.
    let blocker = faults.next_put_is_held();
    let first = start(store.append(append("a").expect(Expected::NoEvents)));
    blocker.sent().await;
    let ids: Vec<Uuid> = (0..3).map(|_| Uuid::new_v4()).collect();
    let waiting: Vec<_> =
        (0..3).map(|number| start(Box::pin(store.append(numbered(number, ids[number]))))).collect();
    let together = faults.next_put_is_held();
    blocker.release();
    first.await.unwrap();
    together.sent().await;
    if faults.put_sizes().last() != Some(&3) {
        together.release();
        return false;
    }
    other.append(numbered(written, ids[written])).await.unwrap();
    together.release();
    for (number, answer) in futures::future::join_all(waiting).await.into_iter().enumerate() {
        let answer = answer.unwrap();
        assert_eq!(answer.commit_id, ids[number]);
        assert_eq!(answer.repeated, number == written, "{number} of {written}");
        let stored = &history(&store, "a").await[answer.first.get() as usize - 1];
        assert_eq!(stored.data.as_str(), number.to_string());
    }
    assert_eq!(history(&store, "a").await.len(), 4);
    true
}
