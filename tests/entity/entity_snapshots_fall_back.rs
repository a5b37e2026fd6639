//! A snapshot saves reading and decides nothing: one that cannot be read, was taken by another
//! version of the state, or is ahead of the events is passed over with a warning, and the events
//! are replayed.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, Once};

use crate::support::entities::{
    self, Account, Command, raw_deposits, snapshot_at, store_over, store_with_snapshots,
};
use crate::support::within;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use seriatim::driver::faults::FaultyDriver;
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{Driver, SnapshotStore};
use seriatim::{Aggregate, AggregateKey, Context, Entities, Snapshots};

/// All warnings of this process, each with its fields.
static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct KeepWarnings;

fn keep_warnings() {
    static KEPT: Once = Once::new();
    KEPT.call_once(|| tracing::subscriber::set_global_default(KeepWarnings).unwrap());
}

/// Takes the warnings that name this key.
fn warnings_of(key: &str) -> Vec<String> {
    let mut all = WARNINGS.lock().unwrap();
    let (of_key, others) = all.drain(..).partition(|warning: &String| warning.contains(key));
    *all = others;
    of_key
}

struct Fields(String);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl tracing::Subscriber for KeepWarnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        WARNINGS.lock().unwrap().push(fields.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Accounts with a different notion of their state.
#[derive(Default, Serialize, Deserialize)]
struct LaterAccount(Account);

impl Aggregate for LaterAccount {
    const KIND: &'static str = Account::KIND;
    const SNAPSHOT_VERSION: u32 = 2;
    type Command = Command;
    type Event = entities::Event;
    type Error = entities::Overdrawn;
    type Services = ();

    fn handle(
        &self,
        command: &Command,
        context: &Context<'_>,
    ) -> Result<Vec<entities::Event>, entities::Overdrawn> {
        self.0.handle(command, context)
    }

    fn apply(&mut self, event: &entities::Event) {
        self.0.apply(event);
    }
}

const EVENTS: u64 = 30;

/// An account of thirty deposits of 1 with a snapshot at its end.
async fn account_with_snapshot(memory: &MemoryDriver, key: &str) -> Bytes {
    keep_warnings();
    let every = Snapshots::every(EVENTS);
    let store = store_with_snapshots::<Account>(Arc::new(memory.reopen()), every).await;
    let accounts = store.entities::<Account>();
    let id = key.strip_prefix("account/").unwrap();
    store.append(raw_deposits(key, vec![1; EVENTS as usize])).await.unwrap();
    accounts.execute(id, Command::Look).await.unwrap();
    // It is taken before the next decision.
    accounts.execute(id, Command::Look).await.unwrap();
    let snapshot = snapshot_at(memory, key, EVENTS).await;
    within("closing", store.close()).await.unwrap();
    snapshot
}

async fn save(memory: &MemoryDriver, key: &str, snapshot: Bytes) {
    memory.save_snapshot(&AggregateKey::new(key).unwrap(), snapshot).await.unwrap();
}

/// How many events a cold command and then a load read, and what they found. No snapshot is due
/// meanwhile.
async fn cold<A>(memory: &MemoryDriver, key: &str) -> ([u64; 2], A)
where
    A: Aggregate<Command = Command>,
{
    let driver = FaultyDriver::around(memory.reopen());
    let seldom = Snapshots::every(1_000_000);
    let store = store_with_snapshots::<A>(driver.clone(), seldom).await;
    let accounts: Entities<A> = store.entities::<A>();
    let id = key.strip_prefix("account/").unwrap();
    assert!(accounts.execute(id, Command::Look).await.is_ok());
    let executed = driver.take_counts().events_fetched;
    let found = accounts.state(id).await.unwrap();
    ([executed, driver.take_counts().events_fetched], found.state)
}

#[tokio::test]
async fn a_sound_snapshot_is_used() {
    let memory = MemoryDriver::new();
    let snapshot = account_with_snapshot(&memory, "account/sound").await;
    let (read, account) = cold::<Account>(&memory, "account/sound").await;
    assert_eq!(read, [1, 1], "the event it was taken at, to see that it is there");
    assert_eq!(account, Account { balance: EVENTS, events: EVENTS });
    assert!(warnings_of("account/sound").is_empty());

    // It is really what the state comes from.
    let json = snapshot.iter().position(|byte| *byte == b'{').unwrap();
    let text = String::from_utf8_lossy(&snapshot[json..]).replace("30", "77");
    let forged = [&snapshot[..json], text.as_bytes()].concat();
    save(&memory, "account/sound", forged.into()).await;
    let (_, account) = cold::<Account>(&memory, "account/sound").await;
    assert_eq!(account.balance, 77);
}

#[tokio::test]
async fn an_unreadable_snapshot_is_passed_over_with_a_warning() {
    let memory = MemoryDriver::new();
    let snapshot = account_with_snapshot(&memory, "account/unreadable").await;
    let mut later_format = snapshot.to_vec();
    later_format[1] += 1;
    let cut = snapshot.slice(..snapshot.len() - 3);
    let odd: [Bytes; 5] = ["".into(), "!".into(), snapshot.slice(..9), cut, later_format.into()];
    for snapshot in odd {
        save(&memory, "account/unreadable", snapshot).await;
        let (read, account) = cold::<Account>(&memory, "account/unreadable").await;
        assert_eq!(read, [EVENTS, EVENTS]);
        assert_eq!(account.balance, EVENTS);
        let warnings = warnings_of("account/unreadable");
        assert_eq!(warnings.len(), 2, "one for the command, one for the load: {warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains("ignored")), "{warnings:?}");
    }
}

#[tokio::test]
async fn a_snapshot_of_another_version_of_the_state_is_passed_over_with_a_warning() {
    let memory = MemoryDriver::new();
    account_with_snapshot(&memory, "account/version").await;
    let (read, account) = cold::<LaterAccount>(&memory, "account/version").await;
    assert_eq!(read, [EVENTS, EVENTS]);
    assert_eq!(account.0.balance, EVENTS);
    let warnings = warnings_of("account/version");
    assert!(warnings[0].contains("version 1 of the state, now 2"), "{warnings:?}");
}

#[tokio::test]
async fn a_snapshot_ahead_of_the_events_is_never_trusted() {
    let memory = MemoryDriver::new();
    let ahead = account_with_snapshot(&memory, "account/longer").await;
    let store = store_over(Arc::new(memory.reopen())).await;
    store.append(raw_deposits("account/shorter", [1; 5])).await.unwrap();
    save(&memory, "account/shorter", ahead).await;

    let (_, account) = cold::<Account>(&memory, "account/shorter").await;
    assert_eq!(account, Account { balance: 5, events: 5 });
    let warnings = warnings_of("account/shorter");
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.iter().all(|warning| warning.contains("ahead of its events")));
}

#[tokio::test]
async fn without_a_policy_no_snapshot_is_taken_or_read() {
    let driver = FaultyDriver::around(MemoryDriver::new());
    let store = store_over(driver.clone()).await;
    let accounts = store.entities::<Account>();
    for _ in 0..100 {
        accounts.execute("1", Command::Deposit(1)).await.unwrap();
    }
    accounts.state("1").await.unwrap();
    let key = accounts.key("1").unwrap();
    assert_eq!(driver.counts().load_snapshot, 0);
    assert!(driver.snapshots().unwrap().load_snapshot(&key).await.unwrap().is_none());
}
