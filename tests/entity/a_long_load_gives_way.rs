//! A long load of one entity does not hold up the other aggregates of its thread.

use std::time::{Duration, Instant};

use crate::support::{append, poll_once, start};
use serde::{Deserialize, Serialize};
use seriatim::{Aggregate, Append, Context, EventStore, NewEvent};

const EVENTS: u64 = 20_000;

/// Takes its time for each event.
#[derive(Default, Serialize, Deserialize)]
struct Slow(u64);

#[derive(Serialize, Deserialize)]
enum Event {
    Counted,
}

impl Aggregate for Slow {
    const KIND: &'static str = "slow";
    type Command = ();
    type Event = Event;
    type Error = String;
    type Services = ();

    fn handle(&self, _: &(), _: &Context<'_>) -> Result<Vec<Event>, String> {
        Ok(Vec::new())
    }

    fn apply(&mut self, _: &Event) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_micros(20) {
            std::hint::spin_loop();
        }
        self.0 += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_on_the_same_thread_go_on() {
    let store = EventStore::builder().url("memory:").arbiters(1).open().await.unwrap();
    for _ in 0..EVENTS / 500 {
        let events = (0..500).map(|_| NewEvent::raw("Counted", "null"));
        store.append(Append::to("slow/1").events(events)).await.unwrap();
    }
    let entities = store.entities::<Slow>();
    let mut loading = start(entities.execute("1", ()));
    let mut answered = 0;
    while poll_once(&mut loading).is_none() {
        store.append(append("other")).await.unwrap();
        answered += 1;
    }
    assert!(answered >= 50, "{answered} appends were answered during the load");
}
