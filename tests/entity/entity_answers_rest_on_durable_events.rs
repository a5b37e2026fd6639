//! What a command is told never rests on events of a put that then fails, whatever the answer is:
//! its code panics, or what it decides is too large. And a state that raw events were folded into
//! equals the state that is loaded from what is stored, times included.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use seriatim::driver::faults::{FaultyDriver, PutFault};
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{Driver, DriverError, Limits};
use seriatim::{Aggregate, Append, Context, EventStore, NewEvent, Timestamp, Upcast};

use crate::support::entities::in_the_mailbox;
use crate::support::{start, within};

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    sum: u64,
}

#[derive(Clone, Copy, Debug)]
enum Count {
    Add(u64),
    PanicAbove(u64),
    LargeAbove(u64),
    AddIfBelow(u64),
}

#[derive(Debug, Serialize, Deserialize)]
enum Counted {
    Added { n: u64 },
    Noted { text: String },
}

impl Aggregate for Counter {
    const KIND: &'static str = "counter";
    type Command = Count;
    type Event = Counted;
    type Error = String;
    type Services = ();

    fn handle(&self, command: &Count, _: &Context<'_>) -> Result<Vec<Counted>, String> {
        match *command {
            Count::Add(n) => Ok(vec![Counted::Added { n }]),
            Count::PanicAbove(most) => {
                assert!(self.sum <= most, "on demand");
                Ok(vec![Counted::Added { n: 1 }])
            }
            Count::LargeAbove(most) if self.sum > most => {
                Ok(vec![Counted::Noted { text: "x".repeat(10_000) }])
            }
            Count::AddIfBelow(most) if self.sum >= most => Err("not below".to_owned()),
            Count::LargeAbove(_) | Count::AddIfBelow(_) => Ok(vec![Counted::Added { n: 1 }]),
        }
    }

    fn apply(&mut self, event: &Counted) {
        if let Counted::Added { n } = event {
            self.sum += n;
        }
    }
}

/// A command behind another one whose put fails: the answer must be that of a state without it.
async fn behind_a_put_that_fails(command: Count) {
    let mut limits = Limits::default();
    limits.bytes_per_event = 1_000;
    let faults = FaultyDriver::with_limits(Arc::new(MemoryDriver::new()), limits);
    let driver: Arc<dyn Driver> = faults.clone();
    let store = EventStore::builder().driver(driver).arbiters(1).open().await.unwrap();
    let counters = store.entities::<Counter>();
    counters.execute("1", Count::Add(1)).await.unwrap();
    let held = faults.next_put_is_held();
    faults.next_put(PutFault::Fails(DriverError::failed("on demand")));
    let first = start(counters.execute("1", Count::Add(1)));
    within("the first put", held.sent()).await;
    let failing = start(counters.execute("1", Count::Add(1_000)));
    let behind = start(counters.execute("1", command));
    in_the_mailbox(&store).await;
    held.release();
    within("the first", first).await.unwrap();
    within("the one in the failed put", failing).await.unwrap_err();
    let behind = within("the one behind it", behind).await;
    assert!(behind.is_ok(), "{command:?}: {}", behind.unwrap_err());
    assert_eq!(counters.state("1").await.unwrap().state.sum, 3);
}

#[tokio::test]
async fn a_panic_is_not_told_of_a_state_that_never_was() {
    behind_a_put_that_fails(Count::PanicAbove(100)).await;
}

#[tokio::test]
async fn too_large_is_not_told_of_a_state_that_never_was() {
    behind_a_put_that_fails(Count::LargeAbove(100)).await;
}

#[tokio::test]
async fn upcasters_see_the_stored_time_of_raw_appends_too() {
    let year_2020 = Timestamp::from(UNIX_EPOCH + Duration::from_secs(50 * 365 * 86_400));
    let store = EventStore::builder()
        .url("memory:")
        .upcaster("counter", "Added", 1, move |event| {
            let Old { n } = event.json().map_err(|error| error.to_string())?;
            // The unit changed.
            let n = if event.recorded_at < year_2020 { n * 100 } else { n };
            Ok(Upcast::to(2, &serde_json::json!({ "n": n })))
        })
        .open()
        .await
        .unwrap();
    let counters = store.entities::<Counter>();
    counters.execute("1", Count::Add(1)).await.unwrap();
    let old = NewEvent::raw("Added", r#"{"n":5}"#).version(1);
    store.append(Append::to("counter/1").event(old)).await.unwrap();
    assert_eq!(counters.state("1").await.unwrap().state.sum, 6);
    match counters.execute("1", Count::AddIfBelow(100)).await {
        Ok(executed) => assert_eq!(executed.sequence, 3),
        Err(error) => panic!("decided on another state than the stored one: {error}"),
    }
}

#[derive(Deserialize)]
struct Old {
    n: u64,
}
