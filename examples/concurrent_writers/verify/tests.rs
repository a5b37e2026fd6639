//! Whole runs, written and read back, on stores that are sound and on stores that are not.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use seriatim::driver::memory::MemoryDriver;
use seriatim::driver::{self, Driver, Options as Callbacks, Put};
use seriatim::{AggregateKey, Append, NewEvent, Sequence};

use super::*;
use crate::load::{self, Loaded};
use crate::modes::Mode;
use crate::options::{self, Command};

/// Long enough for any machine; runs are ended by what they wait for.
const LONG: &str = "60";
/// What a put without an answer costs here.
const PUT_DEADLINE: Duration = Duration::from_millis(700);

fn plan(mode: Mode, writers: usize, seconds: &str) -> Arc<Plan> {
    let line = format!("x --writers {writers} --seconds {seconds} --mode {mode}");
    match options::parse(line.split(' ').map(Into::into)) {
        Ok(Command::Run(options)) => Arc::new(Plan::new(mode, &options, 1).unwrap()),
        _ => panic!("{line} is no call"),
    }
}

async fn open(driver: Arc<dyn Driver>) -> EventStore {
    let builder = EventStore::builder().driver(driver);
    builder.put_deadline(PUT_DEADLINE).open().await.unwrap()
}

async fn write(plan: &Arc<Plan>, driver: Arc<dyn Driver>, stop: &Arc<AtomicBool>) -> Loaded {
    let store = open(driver).await;
    let loaded = load::run(plan, &store, stop, &Progress::hidden(plan.mode)).await.unwrap();
    store.close().await.unwrap();
    loaded
}

async fn read(plan: &Plan, driver: Arc<dyn Driver>, ledger: &Ledger) -> Findings {
    read_whole(plan, &open(driver).await, ledger, &Progress::hidden(plan.mode)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_ends_sound_on_a_sound_store() {
    for mode in Mode::ALL {
        let plan = plan(mode, 8, "0.2");
        let memory = MemoryDriver::new();
        let loaded = write(&plan, Arc::new(memory.reopen()), &Arc::default()).await;
        assert_eq!(loaded.complaints.told, Vec::<String>::new());
        assert_eq!(loaded.measured.counts.errors, 0);
        let timed = match mode.counts_refusals() {
            true => loaded.measured.counts.conflicts,
            false => loaded.measured.counts.committed,
        };
        assert!(timed > 0);
        assert_eq!(loaded.measured.latencies.len(), timed);

        let found = read(&plan, Arc::new(memory.reopen()), &loaded.ledger).await;
        assert!(found.is_sound(), "{mode}: {:#?}", found.told);
        let seeded = mode.seeds() * plan.keys.len() as u64;
        assert_eq!(found.answered, loaded.measured.counts.committed + seeded);
        assert_eq!(found.events, found.answered);
    }
}

/// What becomes of a put.
#[derive(Clone, Copy)]
enum Fate {
    Answered,
    /// Written, and never answered.
    Written,
    /// Neither written nor answered.
    Dropped,
}

/// The events of `memory` with flaws: those that `hides` names are not shown, and a put has the fate that
/// `fate` gives it.
fn flawed(
    memory: &MemoryDriver,
    hides: impl Fn(&AggregateKey, Sequence) -> bool + Send + Sync + 'static,
    fate: impl Fn(&Put) -> Fate + Send + Sync + 'static,
) -> Arc<dyn Driver> {
    let memory = Arc::new(memory.reopen());
    let (checked, put_into, hides) = (memory.clone(), memory.clone(), Arc::new(hides));
    let hides_in_checks = hides.clone();
    driver::from_callbacks(Callbacks {
        check_sequence: move |key, sequence| {
            let (memory, hidden) = (checked.clone(), hides_in_checks(&key, sequence));
            async move { Ok(!hidden && memory.check_sequence(&key, sequence).await?) }
        },
        fetch_events: move |key, fetch| {
            let (memory, hides) = (memory.clone(), hides.clone());
            async move {
                let mut shown = Vec::new();
                let mut pages = memory.fetch_events(&key, fetch);
                while let Some(page) = pages.next().await {
                    shown.extend(
                        page?.into_iter().filter(|event| !hides(&event.key, event.sequence)),
                    );
                }
                Ok(shown)
            }
        },
        put_events: move |put: Arc<Put>| {
            let (memory, fate) = (put_into.clone(), fate(&put));
            async move {
                match fate {
                    Fate::Answered => return memory.put_events(put).await,
                    Fate::Written => drop(memory.put_events(put).await),
                    Fate::Dropped => {}
                }
                Err(DriverError::unknown("no answer"))
            }
        },
        close: || async { Ok(()) },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_reopened_store_no_longer_shows_is_lost() {
    let plan = plan(Mode::Race, 8, "0.2");
    let memory = MemoryDriver::new();
    let loaded = write(&plan, Arc::new(memory.reopen()), &Arc::default()).await;
    let of = plan.keys[1].clone();
    let second = move |key: &AggregateKey, sequence| *key == of && sequence == Sequence::new(2);

    let found = read(&plan, flawed(&memory, second, |_| Fate::Answered), &loaded.ledger).await;
    assert_eq!((found.missing, found.gaps), (1, 1), "{:#?}", found.told);
    assert!(!found.is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_back_is_not_found() {
    let plan = plan(Mode::Append, 2, "0.1");
    let memory = MemoryDriver::new();
    let loaded = write(&plan, Arc::new(memory.reopen()), &Arc::default()).await;
    let store = open(Arc::new(memory.reopen())).await;
    store.close().await.unwrap();

    let found = read_whole(&plan, &store, &loaded.ledger, &Progress::hidden(plan.mode)).await;
    assert_eq!(found.unreadable.as_deref(), Some("the store is closed"));
    assert_eq!(found.lost(), found.answered);
    assert!(!found.is_sound() && found.answered > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregate_that_nobody_writes_to_is_found() {
    let plan = plan(Mode::Append, 2, "0.1");
    let memory = MemoryDriver::new();
    let loaded = write(&plan, Arc::new(memory.reopen()), &Arc::default()).await;
    let store = open(Arc::new(memory.reopen())).await;
    for beside in ["2", "02", "x"] {
        let append = Append::to(format!("{}{beside}", plan.prefix)).event(NewEvent::raw("E", "1"));
        store.append(append).await.unwrap();
    }
    store.append(Append::to("somebody-elses").event(NewEvent::raw("E", "1"))).await.unwrap();

    let found = read(&plan, Arc::new(memory.reopen()), &loaded.ledger).await;
    assert_eq!((found.unasked, found.lost(), found.gaps), (3, 0, 0), "{:#?}", found.told);
    assert!(!found.is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_without_an_answer_are_told_apart_from_lost_ones() {
    let plan = plan(Mode::Append, 8, LONG);
    let (memory, stop) = (MemoryDriver::new(), Arc::new(AtomicBool::new(false)));
    let (fates, ends) = (Mutex::new(HashMap::new()), stop.clone());
    // A put that is sent again has the fate it had before.
    let fate = move |put: &Put| {
        let mut fates = fates.lock().unwrap();
        let number = fates.len();
        let enough = number >= 40;
        if enough {
            ends.store(true, Ordering::Relaxed);
        }
        *fates.entry(put.id()).or_insert(match number % 10 {
            3 if !enough => Fate::Written,
            7 if !enough => Fate::Dropped,
            _ => Fate::Answered,
        })
    };
    let loaded = write(&plan, flawed(&memory, |_, _| false, fate), &stop).await;
    assert_eq!(loaded.complaints.told, Vec::<String>::new());

    let found = read(&plan, Arc::new(memory.reopen()), &loaded.ledger).await;
    assert!(found.is_sound(), "{:#?}", found.told);
    assert_eq!((found.indeterminate_found, found.indeterminate_absent), (4, 4));
    assert!(loaded.measured.counts.errors >= 8);
    assert_eq!(found.events, found.answered + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_that_falls_behind_an_answer_is_a_wrong_answer() {
    let plan = plan(Mode::Race, 8, "0.2");
    let late = |_: &AggregateKey, sequence| sequence > Sequence::new(4);
    let driver = flawed(&MemoryDriver::new(), late, |_| Fate::Answered);
    let loaded = write(&plan, driver, &Arc::default()).await;
    assert!(loaded.complaints.wrong_answers > 0);
    let told = loaded.complaints.told.concat();
    assert!(told.contains("then 4 read as latest"), "{told}");
}
