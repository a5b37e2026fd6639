//! The states of resident entities have a bound in bytes. Over it, the least recently used are
//! passivated, and loaded again when they are needed. A state that is larger by itself does not
//! stay, and does not drive out the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use seriatim::driver::faults::FaultyDriver;
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Aggregate, Builder, Context, Entities, EventStore, OpenError};

use crate::support::entities::{Account, Command};
use crate::support::{chance, until, within};

const KIB: usize = 1 << 10;

/// A state as large as its events.
#[derive(Default, Serialize, Deserialize)]
struct Scroll {
    text: String,
}

#[derive(Debug, Serialize, Deserialize)]
enum Written {
    Added { text: String },
}

impl Aggregate for Scroll {
    const KIND: &'static str = "scroll";
    /// Adds so many characters.
    type Command = usize;
    type Event = Written;
    type Error = String;
    type Services = ();

    fn handle(&self, characters: &usize, _: &Context<'_>) -> Result<Vec<Written>, String> {
        Ok(vec![Written::Added { text: "x".repeat(*characters) }])
    }

    fn apply(&mut self, event: &Written) {
        let Written::Added { text } = event;
        self.text.push_str(text);
    }
}

/// A state that says itself what it weighs, and counts how often it is asked.
#[derive(Default, Serialize, Deserialize)]
struct Ledger {
    weighs: usize,
}

#[derive(Debug, Serialize, Deserialize)]
enum Weighed {
    As { bytes: usize },
}

static ASKED: AtomicUsize = AtomicUsize::new(0);

impl Aggregate for Ledger {
    const KIND: &'static str = "ledger";
    type Command = usize;
    type Event = Weighed;
    type Error = String;
    type Services = ();

    fn handle(&self, bytes: &usize, _: &Context<'_>) -> Result<Vec<Weighed>, String> {
        Ok(vec![Weighed::As { bytes: *bytes }])
    }

    fn apply(&mut self, event: &Weighed) {
        let Weighed::As { bytes } = event;
        self.weighs = *bytes;
    }

    fn resident_bytes(&self) -> usize {
        ASKED.fetch_add(1, Ordering::Relaxed);
        self.weighs
    }
}

fn bounded(bytes: usize) -> Builder {
    EventStore::builder().url("memory:").arbiters(1).max_resident_bytes(bytes)
}

async fn counts(store: &EventStore, bytes: std::ops::RangeInclusive<usize>) {
    let found = AtomicU64::new(0);
    until(&format!("{bytes:?} bytes of states"), || {
        let now = store.stats().resident_bytes;
        found.store(now, Ordering::Relaxed);
        bytes.contains(&(now as usize))
    })
    .await;
}

#[tokio::test]
async fn over_the_bound_the_least_recently_used_are_passivated() {
    let store = bounded(1_000 * KIB).open().await.unwrap();
    let scrolls = store.entities::<Scroll>();
    for id in 0..100 {
        within("a command", scrolls.execute(id.to_string(), 50 * KIB)).await.unwrap();
        // What is passivated has to end first, and a command in between must not count.
        counts(&store, 50 * KIB..=1_000 * KIB).await;
    }
    let residents = store.stats().residents;
    assert!((10..=20).contains(&residents), "{residents} residents of 50 KiB");
    for id in 0..100 {
        assert_eq!(scrolls.state(id.to_string()).await.unwrap().state.text.len(), 50 * KIB);
    }
}

#[tokio::test]
async fn a_state_that_grows_is_counted_as_it_grows() {
    let store = bounded(1 << 30).open().await.unwrap();
    let scrolls = store.entities::<Scroll>();
    for grown in 1..=200 {
        within("a command", scrolls.execute("1", 10 * KIB)).await.unwrap();
        let counted = store.stats().resident_bytes as usize;
        let size = grown * 10 * KIB;
        assert!((size..size + size / 3 + 12 * KIB).contains(&counted), "{counted} for {size}");
    }
}

#[tokio::test]
async fn what_is_passivated_or_dropped_is_not_counted_any_more() {
    let store = bounded(1 << 30).idle_timeout(Duration::from_millis(40)).open().await.unwrap();
    let scrolls = store.entities::<Scroll>();
    let accounts = store.entities::<Account>();
    for id in 0..10 {
        within("a command", scrolls.execute(id.to_string(), 100 * KIB)).await.unwrap();
        let panicked = within("a panic", accounts.execute(id.to_string(), Command::PanicInHandle));
        panicked.await.unwrap_err();
    }
    until("no residents", || store.stats().residents == 0).await;
    counts(&store, 0..=0).await;
}

#[tokio::test]
async fn a_state_says_itself_what_it_weighs_and_is_not_asked_each_time() {
    let store = bounded(1 << 30).open().await.unwrap();
    let ledgers = store.entities::<Ledger>();
    for _ in 0..2_000 {
        within("a command", ledgers.execute("1", 700 * KIB)).await.unwrap();
    }
    counts(&store, 700 * KIB..=900 * KIB).await;
    let asked = ASKED.load(Ordering::Relaxed);
    assert!((1..50).contains(&asked), "asked {asked} times");
}

#[tokio::test]
async fn a_state_beyond_the_bound_is_loaded_for_each_command_and_drives_nobody_out() {
    let driver = FaultyDriver::around(MemoryDriver::new());
    let builder = EventStore::builder().driver(driver.clone()).arbiters(1);
    let store = builder.max_resident_bytes(100 * KIB).open().await.unwrap();
    let accounts = store.entities::<Account>();
    let scrolls = store.entities::<Scroll>();
    within("a command", accounts.execute("1", Command::Deposit(5))).await.unwrap();
    within("a command", scrolls.execute("1", 200 * KIB)).await.unwrap();
    for grown in 1..=5 {
        let before = driver.counts().fetch_events;
        within("a command", accounts.execute("1", Command::Deposit(5))).await.unwrap();
        assert_eq!(driver.counts().fetch_events, before, "the small state is resident");
        within("a command", scrolls.execute("1", 1)).await.unwrap();
        assert!(driver.counts().fetch_events > before, "the large state is loaded");
        let text = scrolls.state("1").await.unwrap().state.text;
        assert_eq!(text.len(), 200 * KIB + grown);
    }
    assert_eq!(store.stats().passivations, 0);
}

#[tokio::test]
async fn commands_are_right_while_states_come_and_go() {
    const IDS: usize = 12;
    let mut chance = chance();
    let store = bounded(64 * KIB).arbiters(2).open().await.unwrap();
    let scrolls: Entities<Scroll> = store.entities();
    let mut lengths = [0; IDS];
    for _ in 0..100 {
        let round: Vec<(usize, usize)> =
            (0..8).map(|_| (chance.usize(..IDS), chance.usize(1..2 * KIB))).collect();
        let execute = |&(id, more): &(usize, usize)| scrolls.execute(id.to_string(), more);
        let commands = futures_util::future::join_all(round.iter().map(execute));
        for answer in within("the commands", commands).await {
            answer.unwrap();
        }
        round.iter().for_each(|(id, more)| lengths[*id] += more);
    }
    for (id, length) in lengths.iter().enumerate() {
        assert_eq!(scrolls.state(id.to_string()).await.unwrap().state.text.len(), *length);
    }
    // The last ones are passivated when their leases end.
    counts(&store, 0..=64 * KIB).await;
}

#[tokio::test]
async fn a_bound_of_nothing_is_refused() {
    let refused = bounded(0).open().await.unwrap_err();
    assert!(matches!(refused, OpenError::InvalidOption { option: "max_resident_bytes", .. }));
    let unbounded = EventStore::builder().driver(Arc::new(MemoryDriver::new()));
    unbounded.max_resident_bytes(usize::MAX).open().await.unwrap();
}
