//! Every remote engine takes the largest put that its driver's limits allow, and gives it back
//! whole.

use crate::support::engines::{Engine, block_on};
use libtest_mimic::Failed;
use seriatim::{Append, EventStore, Expected, NewEvent};

const TYPE: &str = "Largest";

/// An append of this many events that is `bytes` long altogether.
fn append_of(key: &str, expected: Expected, events: usize, bytes: usize) -> Append {
    let around = key.len() + TYPE.len() + 2;
    let events = (0..events).map(|index| {
        let share = bytes / events + usize::from(index < bytes % events);
        NewEvent::raw(TYPE, format!("\"{}\"", "x".repeat(share - around)))
    });
    Append::to(key).expect(expected).events(events)
}

pub fn takes_its_largest_put(engine: Engine) -> Result<(), Failed> {
    block_on(async {
        let url = engine.fresh_url();
        let driver = seriatim::driver::open(&url).await.unwrap();
        let limits = driver.limits();
        driver.close().await.unwrap();
        let store = EventStore::open(&url).await.unwrap();
        // As few events as can fill a put, and as many as a put can hold.
        let fewest = limits.bytes_per_put.div_ceil(limits.bytes_per_event);
        for events in [fewest, limits.events_per_put.min(1_000)] {
            let key = format!("largest-{events}");
            let bytes = limits.bytes_per_put.min(events * limits.bytes_per_event);
            let over = append_of(&key, Expected::NoEvents, events, bytes + 1);
            let refused = store.append(over).await.unwrap_err();
            assert!(refused.to_string().contains("limit"), "{refused}");
            store.append(append_of(&key, Expected::NoEvents, events, bytes)).await.unwrap();
            let found = store.read(&key).collect().await.unwrap();
            assert_eq!(found.len(), events);
            let sum: usize = found.iter().map(|event| event.size_bytes()).sum();
            assert_eq!(sum, bytes, "bytes of {events} events");
        }
        store.close().await.unwrap();
    });
    Ok(())
}
