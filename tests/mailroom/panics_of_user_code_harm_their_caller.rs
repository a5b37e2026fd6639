//! Code of the application that panics harms its caller alone, wherever the store calls it or drops
//! its values: a command, a rejection, an event, a state, a waker, a clock, a `Default`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Wake, Waker};
use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use seriatim::driver::DriverError;
use seriatim::driver::faults::{FaultyDriver, PutFault};
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::redb::RedbDriver;
use seriatim::{
    Aggregate, AppendError, Context, Entities, EventStore, ExecuteError, NewEvent, Sequence,
};
use tempfile::TempDir;

use crate::support::{append, append_after, start, within};

/// Panics when it is dropped, if it is armed.
#[derive(Debug, Default)]
struct Touchy {
    is_armed: bool,
    /// It is armed when it was written and read back.
    stored: bool,
}

impl Drop for Touchy {
    fn drop(&mut self) {
        assert!(!self.is_armed || std::thread::panicking(), "a value that panics on its drop");
    }
}

impl Serialize for Touchy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(self.stored)
    }
}

impl<'de> Deserialize<'de> for Touchy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let is_armed = bool::deserialize(deserializer)?;
        Ok(Touchy { is_armed, stored: is_armed })
    }
}

fn armed() -> Touchy {
    Touchy { is_armed: true, stored: false }
}

#[derive(Default, Serialize, Deserialize)]
struct Fragile {
    state: Touchy,
}

/// What panics on its drop: the command itself, the rejection, the event, the state.
enum Command {
    Itself {
        #[allow(dead_code, reason = "it is only dropped")]
        touchy: Touchy,
    },
    Rejection,
    Event,
    State,
    Nothing,
}

#[derive(Serialize, Deserialize)]
enum Event {
    Happened { event: Touchy, state: bool },
}

impl Aggregate for Fragile {
    const KIND: &'static str = "fragile";
    type Command = Command;
    type Event = Event;
    type Error = Touchy;
    type Services = ();

    fn handle(&self, command: &Command, _: &Context<'_>) -> Result<Vec<Event>, Touchy> {
        let happened = |stored, state| {
            let event = Touchy { is_armed: false, stored };
            Ok(vec![Event::Happened { event, state }])
        };
        match command {
            Command::Rejection => Err(armed()),
            Command::Event => happened(true, false),
            Command::State => happened(false, true),
            Command::Itself { .. } | Command::Nothing => happened(false, false),
        }
    }

    fn apply(&mut self, event: &Event) {
        let Event::Happened { state, .. } = event;
        self.state.is_armed |= state;
    }
}

/// Its `Default` panics.
#[derive(Serialize, Deserialize)]
struct NoDefault;

impl Default for NoDefault {
    fn default() -> Self {
        panic!("a state that cannot be made");
    }
}

impl Aggregate for NoDefault {
    const KIND: &'static str = "none";
    type Command = ();
    type Event = Event;
    type Error = String;
    type Services = ();

    fn handle(&self, (): &(), _: &Context<'_>) -> Result<Vec<Event>, String> {
        Ok(Vec::new())
    }

    fn apply(&mut self, _: &Event) {}
}

async fn on_redb() -> (TempDir, EventStore) {
    let directory = tempfile::tempdir().unwrap();
    let driver = Arc::new(RedbDriver::open(directory.path()).unwrap());
    let store = EventStore::builder().driver(driver).arbiters(1).open().await.unwrap();
    (directory, store)
}

/// Sends a command, drops its future, and sees whether others are still served.
async fn abandon(store: &EventStore, command: Command) {
    let fragile = store.entities::<Fragile>();
    // Others beside it, so that the writer's thread answers all of them.
    let others: Vec<_> =
        (0..8).map(|n| start(store.append(append(&format!("other/{n}"))))).collect();
    let abandoned = start(fragile.execute("1", command));
    // An answer that came at once is the caller's own, and panics here.
    let _own = catch_unwind(AssertUnwindSafe(|| drop(abandoned)));
    for other in others {
        within("another append", other).await.unwrap();
    }
    is_served(store, &fragile).await;
}

async fn is_served(store: &EventStore, fragile: &Entities<Fragile>) {
    for key in ["later/1", "later/2", "fragile/1"] {
        within("a later append", store.append(append_raw(key))).await.unwrap();
    }
    within("a later command", fragile.execute("2", Command::Nothing)).await.ok().unwrap();
}

fn append_raw(key: &str) -> seriatim::Append {
    let data = r#"{"event":false,"state":false}"#;
    seriatim::Append::to(key).event(NewEvent::raw("Happened", data))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_nobody_waits_for_any_more() {
    let (_directory, store) = on_redb().await;
    abandon(&store, Command::Itself { touchy: armed() }).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_that_nobody_waits_for_any_more() {
    let (_directory, store) = on_redb().await;
    abandon(&store, Command::Rejection).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_nobody_waits_for_any_more() {
    let (_directory, store) = on_redb().await;
    abandon(&store, Command::Event).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_dropped_after_a_failed_put() {
    let faults = FaultyDriver::around(MemoryDriver::new());
    let store = EventStore::builder().driver(faults.clone()).arbiters(1).open().await.unwrap();
    let fragile = store.entities::<Fragile>();
    within("arming the state", fragile.execute("1", Command::State)).await.ok().unwrap();
    faults.next_put(PutFault::Fails(DriverError::failed("on demand")));
    let fails = start(fragile.execute("1", Command::Nothing));
    let waiting: Vec<_> = (0..3).map(|_| start(store.append(append_raw("fragile/1")))).collect();
    assert!(within("the failed command", fails).await.is_err());
    // Those behind it are in the same put, or in one that is decided after the state is dropped.
    for waiting in waiting {
        let answer = within("an append behind it", waiting).await;
        assert!(matches!(answer, Ok(_) | Err(AppendError::Driver { .. })), "{answer:?}");
    }
    is_served(&store, &fragile).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_cannot_be_made() {
    let faults = FaultyDriver::around(MemoryDriver::new());
    let store = EventStore::builder().driver(faults.clone()).arbiters(1).open().await.unwrap();
    within("an append", store.append(append("none/1"))).await.unwrap();
    let held = faults.next_put_is_held();
    let first = start(store.append(append("none/1")));
    held.sent().await;
    let none = store.entities::<NoDefault>();
    let fails = start(none.execute("1", ()));
    let behind = start(store.append(append_after("none/1", 2)));
    held.release();
    within("the first", first).await.unwrap();
    let failed = within("the command", fails).await;
    assert!(matches!(failed, Err(ExecuteError::Panicked { .. })), "another answer");
    assert_eq!(within("the append behind it", behind).await.unwrap().last, 3);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock() {
    let is_armed = Arc::new(AtomicBool::new(false));
    let armed = is_armed.clone();
    let faults = FaultyDriver::around(MemoryDriver::new());
    let store = EventStore::builder()
        .driver(faults.clone())
        .arbiters(1)
        .clock(move || {
            assert!(!armed.swap(false, Ordering::SeqCst), "a clock that panics on demand");
            SystemTime::now()
        })
        .open()
        .await
        .unwrap();
    let long = append("a").events((0..9_999).map(crate::support::event));
    within("the first", store.append(append("a"))).await.unwrap();
    let held = faults.next_put_is_held();
    let first = start(store.append(append("a")));
    held.sent().await;
    // Each of the two fills a put.
    let struck = start(store.append(long.clone()));
    let behind = start(store.append(long));
    is_armed.store(true, Ordering::SeqCst);
    held.release();
    within("the first", first).await.unwrap();
    let failed = within("the put without a time", struck).await;
    assert!(matches!(failed, Err(AppendError::ActorFailed { .. })), "{failed:?}");
    let appended = within("the one behind it", behind).await.unwrap();
    assert_eq!(appended.first, Sequence::new(3));
    store.close().await.unwrap();
}

/// Panics when its task is woken.
struct PanickingWaker;

impl Wake for PanickingWaker {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waker() {
    let (_directory, store) = on_redb().await;
    let waker = Waker::from(Arc::new(PanickingWaker));
    let mut context = TaskContext::from_waker(&waker);
    let mut wakes = Box::pin(store.append(append("a")));
    let mut also = Box::pin(store.append(append("b")));
    assert!(wakes.as_mut().poll(&mut context).is_pending());
    assert!(also.as_mut().poll(&mut context).is_pending());
    let others: Vec<_> =
        (0..8).map(|n| start(store.append(append(&format!("other/{n}"))))).collect();
    for other in others {
        within("another append", other).await.unwrap();
    }
    is_served(&store, &store.entities()).await;
    within("the append itself", wakes).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waker_that_waits_for_the_log() {
    let (_directory, store) = on_redb().await;
    let waker = Waker::from(Arc::new(PanickingWaker));
    let mut context = TaskContext::from_waker(&waker);
    let mut subscription = store.subscribe();
    let mut next = Box::pin(subscription.next());
    assert!(next.as_mut().poll(&mut context).is_pending());
    let others: Vec<_> =
        (0..8).map(|n| start(store.append(append(&format!("other/{n}"))))).collect();
    for other in others {
        within("another append", other).await.unwrap();
    }
    is_served(&store, &store.entities()).await;
    drop(next);
    store.close().await.unwrap();
}
