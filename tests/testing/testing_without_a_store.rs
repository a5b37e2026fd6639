//! Handlers, projections, upcasters and what goes by the clock are tested without a driver: by
//! events made up, and by a clock that stands still.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use seriatim::driver::async_trait;
use seriatim::subscription::Projection;
use seriatim::testing::{self, ManualClock, ProjectionScenario};
use seriatim::{Append, EventStore, KeyedEvent, LoadError, NewEvent, Position, Timestamp, Upcast};

use crate::support::entities::Event;

const DEPOSITED: Event = Event::Deposited { amount: 50 };

fn text(panic: Box<dyn std::any::Any + Send>) -> String {
    panic.downcast_ref::<String>().expect("a message").clone()
}

fn failure<T>(test: impl FnOnce() -> T) -> String {
    text(catch_unwind(AssertUnwindSafe(test)).err().expect("it did not fail"))
}

#[tokio::test]
async fn a_made_up_event_is_what_a_store_reads() {
    let made_up = testing::event("account/1", &DEPOSITED);
    let store = EventStore::open("memory:").await.unwrap();
    store
        .append(
            Append::to("account/1")
                .event(NewEvent::encode(&DEPOSITED).unwrap())
                .commit_id(made_up.commit_id),
        )
        .await
        .unwrap();
    let mut read = store.read("account/1").collect().await.unwrap().remove(0);
    read.recorded_at = Timestamp::default();
    // The number of the call, which only a store gives, is no public part of an event.
    let fields = |event: &KeyedEvent| {
        let mut fields = serde_json::to_value(event).unwrap();
        fields.as_object_mut().unwrap().remove("attempt");
        fields
    };
    assert_eq!(fields(&made_up), fields(&read));
    assert_eq!(made_up.event_id(), read.event_id());
}

#[test]
fn an_event_that_cannot_be_stored_is_not_made_up() {
    let no_key = failure(|| testing::event("", &DEPOSITED));
    assert!(no_key.contains("must not be empty"), "{no_key}");
    let no_json = failure(|| testing::raw_event("a/1", NewEvent::raw("Deposited", "{")));
    assert!(no_json.starts_with("no such event can be stored: "), "{no_json}");
}

fn in_cents(event: &KeyedEvent) -> Result<Upcast, String> {
    let euros: u64 = event.json().map_err(|error| error.to_string())?;
    Ok(Upcast::to(2, &(euros * 100)))
}

#[test]
fn upcasters_are_tried_on_made_up_events() {
    let builder = EventStore::builder().upcaster("account", "Deposited", 1, in_cents).upcaster(
        "account",
        "Noted",
        1,
        |_| Ok(Upcast::dropped()),
    );
    let old = |key, name, data: &'static str| testing::raw_event(key, NewEvent::raw(name, data));
    let read = testing::upcast(&builder, old("account/1", "Deposited", "5")).unwrap().unwrap();
    assert_eq!((read.version, read.data.as_str()), (2, "500"));
    assert!(testing::upcast(&builder, old("account/1", "Noted", "{}")).unwrap().is_none());
    let other_kind = old("parcel/1", "Deposited", "5");
    assert_eq!(testing::upcast(&builder, other_kind.clone()).unwrap(), Some(other_kind));
    let broken = testing::upcast(&builder, old("account/1", "Deposited", "{}"));
    assert!(matches!(broken, Err(LoadError::Upcast { .. })), "{broken:?}");
    let twice = builder.upcaster("account", "Deposited", 1, in_cents);
    let problem = failure(|| testing::upcast(&twice, old("account/1", "Deposited", "5")));
    assert!(problem.contains("two upcasters"), "{problem}");
}

/// What a projection does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Forgets,
    Fails,
    KeepsWhenReset,
}

struct Places {
    fault: Fault,
    position: Position,
    places: Vec<String>,
}

fn places(fault: Fault) -> ProjectionScenario<Places> {
    ProjectionScenario::given(Places { fault, position: Position::default(), places: Vec::new() })
}

#[async_trait]
impl Projection for Places {
    type Error = &'static str;

    async fn position(&mut self) -> Result<Position, Self::Error> {
        Ok(self.position)
    }

    async fn apply(
        &mut self,
        events: &[KeyedEvent],
        position: Position,
    ) -> Result<(), Self::Error> {
        if self.fault == Fault::Fails {
            return Err("no room");
        }
        for event in events {
            let at = event.position.unwrap_or_default();
            self.places.push(format!("{} {} at {at}", event.key, event.sequence));
        }
        if self.fault != Fault::Forgets {
            self.position = position;
        }
        Ok(())
    }

    async fn reset(&mut self) -> Result<(), Self::Error> {
        self.places.clear();
        if self.fault != Fault::KeepsWhenReset {
            self.position = Position::default();
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_projection_gets_events_as_a_log_has_them() {
    let event = |key| testing::event(key, &DEPOSITED);
    let scenario = places(Fault::None).when([event("a"), event("b"), event("a")]).await;
    let scenario = scenario.when([]).await.when([event("b")]).await;
    assert_eq!(scenario.projection().places, ["a 1 at 1", "b 1 at 2", "a 2 at 3", "b 2 at 4"]);
    let scenario = scenario.when_rebuilt().await.when([event("b")]).await;
    assert_eq!(scenario.projection().places, ["b 1 at 1"]);
}

#[tokio::test]
async fn a_projection_that_would_count_twice_fails() {
    for (fault, says) in [
        (Fault::Forgets, "the projection names position 0 after it was given 1"),
        (Fault::Fails, "the projection could not apply the events: no room"),
        (Fault::KeepsWhenReset, "the projection names position 1 after it was given 0"),
    ] {
        let scenario = async {
            let scenario = places(fault).when([testing::event("a", &DEPOSITED)]).await;
            scenario.when_rebuilt().await;
        };
        let failed = AssertUnwindSafe(scenario).catch_unwind().await;
        let failed = text(failed.expect_err("it did not fail"));
        assert!(failed.starts_with(says), "{failed}");
    }
}

#[tokio::test]
async fn a_clock_is_moved_forward_and_back() {
    let clock = ManualClock::at(SystemTime::UNIX_EPOCH);
    let builder = EventStore::builder().url("memory:").clock(clock.reader());
    let store = builder.open().await.unwrap();
    let append = || Append::to("a").event(NewEvent::raw("Happened", "{}"));
    let two_years = Duration::from_secs(2 * 365 * 24 * 60 * 60);
    clock.clone().advance(two_years);
    store.append(append()).await.unwrap();
    clock.set(Timestamp::from_micros(7));
    clock.advance(Duration::MAX);
    assert_eq!(Timestamp::from(clock.now()), Timestamp::from_micros(7));
    store.append(append()).await.unwrap();
    let events = store.read("a").collect().await.unwrap();
    // Recorded-at never decreases.
    let later = Timestamp::from(SystemTime::UNIX_EPOCH + two_years);
    assert_eq!([events[0].recorded_at, events[1].recorded_at], [later, later]);
}
