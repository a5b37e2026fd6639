use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use seriatim::driver::{self, DriverError, Fetch, Options, Put, PutReceipt};
use seriatim::{AggregateKey, KeyedEvent, Sequence};

/// Every event under its key and sequence.
type Map = Arc<Mutex<BTreeMap<(AggregateKey, u64), KeyedEvent>>>;

fn map_driver(map: Map) -> Arc<dyn driver::Driver> {
    let (checked, fetched, put_into) = (map.clone(), map.clone(), map);
    driver::from_callbacks(Options {
        check_sequence: move |key: AggregateKey, sequence: Sequence| {
            let there = checked.lock().unwrap().contains_key(&(key, sequence.get()));
            async move { Ok(there) }
        },
        fetch_events: move |key: AggregateKey, fetch: Fetch| {
            let map = fetched.lock().unwrap();
            let mut page: Vec<KeyedEvent> = Vec::new();
            if let Some((low, high)) = fetch.bounds() {
                let range = map.range((key.clone(), low.get())..=(key, high.get()));
                let events = range.map(|(_, event)| event.clone());
                let limit = fetch.limit.unwrap_or(usize::MAX);
                page = match fetch.backwards {
                    false => events.take(limit).collect(),
                    true => events.rev().take(limit).collect(),
                };
            }
            async move { Ok(page) }
        },
        put_events: move |put: Arc<Put>| {
            let mut map = put_into.lock().unwrap();
            let place = |event: &KeyedEvent| (event.key.clone(), event.sequence.get());
            let taken = put.events().iter().find(|event| map.contains_key(&place(event)));
            let answer = match taken {
                Some(event) => {
                    Err(DriverError::Conflict { key: event.key.clone(), sequence: event.sequence })
                }
                None => {
                    map.extend(put.events().iter().map(|event| (place(event), event.clone())));
                    Ok(PutReceipt::default())
                }
            };
            async move { answer }
        },
        close: || async { Ok(()) },
    })
}
