//! Runs one round and writes down what was called and answered, and when.

#![allow(unreachable_pub, reason = "a module of a test")]

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use seriatim::driver::DriverError;
use seriatim::driver::memory::MemoryDriver;
use seriatim::testing::faulty_driver::{FaultyDriver, LatePut, PutFault, ReadFault};
use seriatim::{
    Append, AppendError, Appended, Context, EventStore, ExecuteError, ExecuteOptions, Expected,
    KeyedEvent, NewEvent,
};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::model::{Answer, Operation, Written};
use crate::support::{history, within};

const KEYS: [&str; 3] = ["tally/a", "tally/b", "tally/c"];
const TASKS: usize = 8;
const OPERATIONS_PER_TASK: usize = 24;

/// An operation, and when it was called and answered, by a clock that all tasks share.
#[derive(Clone, Debug)]
pub struct Timed {
    pub began: u64,
    pub ended: u64,
    pub operation: Operation,
}

/// What became of a call.
enum Fate {
    Answered(Operation),
    /// Nobody knows: it may have been written or may be written later. The operation says how it
    /// landed, if it did.
    Unknown(Operation),
    /// Surely not written, or only read.
    Nothing {
        token: Option<u64>,
    },
}

struct Call {
    key: &'static str,
    began: u64,
    ended: u64,
    fate: Fate,
}

#[derive(Default, Serialize, Deserialize)]
struct Tally {
    count: u64,
}

struct Add {
    token: u64,
    limit: u64,
}

#[derive(Serialize, Deserialize)]
enum Event {
    Added { token: u64 },
}

#[derive(Debug)]
struct Full {
    count: u64,
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "full at {}", self.count)
    }
}

impl seriatim::Aggregate for Tally {
    const KIND: &'static str = "tally";
    type Command = Add;
    type Event = Event;
    type Error = Full;
    type Services = ();

    fn handle(&self, add: &Add, _: &Context<'_>) -> Result<Vec<Event>, Full> {
        match self.count < add.limit {
            true => Ok(vec![Event::Added { token: add.token }]),
            false => Err(Full { count: self.count }),
        }
    }

    fn apply(&mut self, _: &Event) {
        self.count += 1;
    }
}

/// One append that can be repeated.
#[derive(Clone)]
struct Repeatable {
    key: &'static str,
    token: u64,
    id: Uuid,
    expected: Option<u64>,
    events: u64,
}

struct Round {
    memory: MemoryDriver,
    stores: [tokio::sync::RwLock<(EventStore, Arc<FaultyDriver>)>; 2],
    clock: AtomicU64,
    tokens: AtomicU64,
    calls: Mutex<Vec<Call>>,
    repeatable: Mutex<Vec<Repeatable>>,
    late: Mutex<Vec<JoinHandle<()>>>,
}

async fn open(memory: &MemoryDriver) -> (EventStore, Arc<FaultyDriver>) {
    let faults = FaultyDriver::around(memory.reopen());
    faults.is_shared(true);
    let store = EventStore::builder()
        .driver(faults.clone())
        .arbiters(2)
        .max_resident(2)
        .idle_timeout(Duration::from_millis(3))
        .permits_per_aggregate(6)
        .put_attempt_timeout(Duration::from_millis(15))
        .put_deadline(Duration::from_millis(60))
        .read_deadline(Duration::from_millis(60))
        .close_deadline(Duration::from_secs(2))
        .open()
        .await
        .unwrap();
    (store, faults)
}

/// One round's histories, by aggregate.
pub fn round(mut chance: fastrand::Rng) -> BTreeMap<&'static str, Vec<Timed>> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    runtime.block_on(async move {
        let memory = MemoryDriver::new();
        let stores = [open(&memory).await.into(), open(&memory).await.into()];
        let round = Arc::new(Round {
            memory,
            stores,
            clock: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            calls: Mutex::default(),
            repeatable: Mutex::default(),
            late: Mutex::default(),
        });
        let tasks: Vec<_> =
            (0..TASKS).map(|_| tokio::spawn(run_task(round.clone(), chance.fork()))).collect();
        for task in tasks {
            within("a task of the round", task).await.unwrap();
        }
        let late = std::mem::take(&mut *round.late.lock().unwrap());
        for landing in late {
            within("a late put", landing).await.unwrap();
        }
        for store in &round.stores {
            let _ = store.read().await.0.close().await;
        }
        resolve(&round).await
    })
}

async fn run_task(round: Arc<Round>, mut chance: fastrand::Rng) {
    for _ in 0..OPERATIONS_PER_TASK {
        let which = &round.stores[chance.usize(..2)];
        if chance.u8(..100) == 0 {
            let mut opened = which.write().await;
            let _ = opened.0.close().await;
            *opened = open(&round.memory).await;
        }
        let (store, faults) = {
            let opened = which.read().await;
            (opened.0.clone(), opened.1.clone())
        };
        plan_faults(&round, &faults, &mut chance);
        let key = KEYS[chance.usize(..KEYS.len())];
        let began = round.clock.fetch_add(1, Ordering::SeqCst);
        let fate = operate(&round, &store, key, &mut chance).await;
        let ended = round.clock.fetch_add(1, Ordering::SeqCst);
        let (key, fate) = match fate {
            (Some(repeated), fate) => (repeated, fate),
            (None, fate) => (key, fate),
        };
        round.calls.lock().unwrap().push(Call { key, began, ended, fate });
    }
}

fn plan_faults(round: &Arc<Round>, faults: &Arc<FaultyDriver>, chance: &mut fastrand::Rng) {
    let unavailable = || DriverError::unavailable("on demand");
    match chance.u8(..40) {
        0 => faults.next_put(PutFault::WrittenThenTimeout),
        1 => faults.next_put(PutFault::TimeoutOnly),
        2 => faults.next_put(PutFault::Fails(unavailable())),
        3 => faults.next_put(PutFault::Slow(Duration::from_millis(chance.u64(1..25)))),
        4 => faults.next_put(PutFault::Hangs),
        5 => faults.next_put(PutFault::Panics),
        6 => faults.next_check(ReadFault::Fails(unavailable())),
        7 => faults.next_latest(ReadFault::Fails(unavailable())),
        8 => faults.next_fetch(0, ReadFault::Fails(unavailable())),
        9 => {
            let late = faults.next_put_lands_late();
            let pause = Duration::from_millis(chance.u64(..40));
            round.late.lock().unwrap().push(tokio::spawn(land(late, pause)));
        }
        _ => {}
    }
}

async fn land(late: LatePut, pause: Duration) {
    // A put may never come; then there is nothing to land.
    if tokio::time::timeout(Duration::from_secs(1), late.sent()).await.is_ok() {
        tokio::time::sleep(pause).await;
        let _ = late.land().await;
    }
}

/// The answer, and the aggregate where it is another one than the one proposed.
async fn operate(
    round: &Round,
    store: &EventStore,
    key: &'static str,
    chance: &mut fastrand::Rng,
) -> (Option<&'static str>, Fate) {
    match chance.u8(..100) {
        ..15 => (None, read(store, key).await),
        15..25 => (None, latest(store, key).await),
        25..50 => (None, execute(round, store, key, chance).await),
        50..70 => {
            let known = {
                let repeatable = round.repeatable.lock().unwrap();
                chance.choice(repeatable.iter()).cloned()
            };
            match known {
                Some(known) => (Some(known.key), append(store, &known, true, chance).await),
                None => (None, read(store, key).await),
            }
        }
        _ => {
            let expected = match chance.u8(..3) {
                0 => None,
                _ => store.latest_sequence(key).await.ok().map(|sequence| {
                    (sequence.get() + u64::from(chance.u8(..4) == 0))
                        .saturating_sub(u64::from(chance.u8(..4) == 0))
                }),
            };
            let token = round.tokens.fetch_add(1, Ordering::SeqCst);
            let events = chance.u64(1..4);
            let new = Repeatable { key, token, id: Uuid::new_v4(), expected, events };
            let has_id = chance.bool();
            if has_id {
                round.repeatable.lock().unwrap().push(new.clone());
            }
            (None, append(store, &new, has_id, chance).await)
        }
    }
}

async fn read(store: &EventStore, key: &str) -> Fate {
    match store.read(key).collect().await {
        Ok(events) => Fate::Answered(Operation::Read(events.iter().map(token_of).collect())),
        Err(_) => Fate::Nothing { token: None },
    }
}

async fn latest(store: &EventStore, key: &str) -> Fate {
    match store.latest_sequence(key).await {
        Ok(sequence) => Fate::Answered(Operation::Latest(sequence.get())),
        Err(_) => Fate::Nothing { token: None },
    }
}

/// The answer, or `None` where the future is dropped before it.
async fn maybe_dropped<F: Future>(future: F, chance: &mut fastrand::Rng) -> Option<F::Output> {
    if chance.u8(..8) != 0 {
        return Some(future.await);
    }
    let patience = Duration::from_micros(chance.u64(..3_000));
    tokio::time::timeout(patience, future).await.ok()
}

fn written(appended: &Appended) -> Answer {
    Answer::Written(Written { first: appended.first.get(), repeated: appended.repeated })
}

fn failed(error: &AppendError) -> Option<Answer> {
    match error {
        AppendError::Conflict { actual, .. } => Some(Answer::Conflict { actual: actual.get() }),
        AppendError::Indeterminate { .. } => Some(Answer::Landed),
        AppendError::Busy { .. }
        | AppendError::Timeout { .. }
        | AppendError::ActorFailed { .. }
        | AppendError::Driver { .. }
        | AppendError::Closed => None,
        other => panic!("no caller asked for this: {other}"),
    }
}

async fn append(
    store: &EventStore,
    new: &Repeatable,
    has_id: bool,
    chance: &mut fastrand::Rng,
) -> Fate {
    let &Repeatable { key, token, id, expected, events } = new;
    let data = format!(r#"{{"token":{token}}}"#);
    let mut append =
        Append::to(key).events((0..events).map(|_| NewEvent::raw("Added", data.clone())));
    if let Some(expected) = expected {
        append = append.expect(Expected::from(expected));
    }
    if has_id {
        append = append.commit_id(id);
    }
    let answer = match maybe_dropped(store.append(append), chance).await {
        Some(Ok(appended)) => written(&appended),
        Some(Err(error)) => match failed(&error) {
            Some(answer) => answer,
            None => return Fate::Nothing { token: Some(token) },
        },
        None => Answer::Landed,
    };
    let is_known = answer != Answer::Landed;
    let operation = Operation::Append { token, has_id, expected, events, answer };
    if is_known { Fate::Answered(operation) } else { Fate::Unknown(operation) }
}

async fn execute(round: &Round, store: &EventStore, key: &str, chance: &mut fastrand::Rng) -> Fate {
    let token = round.tokens.fetch_add(1, Ordering::SeqCst);
    let limit = if chance.u8(..4) == 0 { chance.u64(1..20) } else { 1_000 };
    let id = key.split_once('/').map_or(key, |(_, id)| id);
    let options = match chance.bool() {
        true => ExecuteOptions::new().commit_id(Uuid::new_v4()),
        false => ExecuteOptions::new(),
    };
    let entities = store.entities::<Tally>();
    let executing = entities.execute_with(id, Add { token, limit }, options);
    let answer = match maybe_dropped(executing, chance).await {
        Some(Ok(executed)) => written(&executed.appended.unwrap()),
        Some(Err(ExecuteError::Rejected(full))) => Answer::Rejected { count: full.count },
        Some(Err(ExecuteError::Append(error))) => match failed(&error) {
            Some(answer) => answer,
            None => return Fate::Nothing { token: Some(token) },
        },
        Some(Err(_)) => return Fate::Nothing { token: Some(token) },
        None => Answer::Landed,
    };
    let is_known = answer != Answer::Landed;
    let operation = Operation::Execute { token, limit, answer };
    if is_known { Fate::Answered(operation) } else { Fate::Unknown(operation) }
}

fn token_of(event: &KeyedEvent) -> u64 {
    #[derive(Deserialize)]
    struct Added {
        token: u64,
    }
    event.json::<Added>().unwrap().token
}

/// Decides by the final log what became of the calls that were not answered, and sorts the calls by
/// aggregate.
async fn resolve(round: &Round) -> BTreeMap<&'static str, Vec<Timed>> {
    let (store, _) = open(&round.memory).await;
    let mut logs = HashMap::new();
    for key in KEYS {
        let tokens: Vec<u64> = history(&store, key).await.iter().map(token_of).collect();
        logs.insert(key, tokens);
    }
    store.close().await.unwrap();
    let end = round.clock.fetch_add(1, Ordering::SeqCst);
    let calls = std::mem::take(&mut *round.calls.lock().unwrap());

    // The tokens that some answer explains, and the earliest call of those that none does.
    let mut explained = Vec::new();
    let mut unknown: BTreeMap<u64, Timed> = BTreeMap::new();
    let mut not_written = Vec::new();
    let mut histories: BTreeMap<&'static str, Vec<Timed>> = BTreeMap::new();
    let mut keys = HashMap::new();
    for Call { key, began, ended, fate } in calls {
        match fate {
            Fate::Answered(operation) => {
                if let Some((token, true)) = token_and_is_first(&operation) {
                    explained.push(token);
                }
                histories.entry(key).or_default().push(Timed { began, ended, operation });
            }
            Fate::Unknown(operation) => {
                let Some((token, _)) = token_and_is_first(&operation) else { continue };
                keys.insert(token, key);
                // Late at the earliest when it was called, and never later than the end.
                let timed = Timed { began, ended: end, operation };
                let earliest = unknown.entry(token).or_insert_with(|| timed.clone());
                earliest.began = earliest.began.min(began);
            }
            Fate::Nothing { token } => not_written.extend(token.map(|token| (key, token))),
        }
    }
    for (token, mut timed) in unknown.clone() {
        let key = keys[&token];
        if logs[key].contains(&token) && !explained.contains(&token) {
            // Each needs an end of its own.
            timed.ended = round.clock.fetch_add(1, Ordering::SeqCst);
            histories.entry(key).or_default().push(timed);
        }
    }
    for (key, token) in not_written {
        let is_explained = explained.contains(&token) || unknown.contains_key(&token);
        assert!(
            is_explained || !logs[key].contains(&token),
            "{key}: token {token} is written, though its caller was told that it is not"
        );
    }
    for (key, tokens) in logs {
        let began = round.clock.fetch_add(1, Ordering::SeqCst);
        let ended = round.clock.fetch_add(1, Ordering::SeqCst);
        let operation = Operation::Read(tokens);
        histories.entry(key).or_default().push(Timed { began, ended, operation });
    }
    histories
}

/// The token of an append or a command, and whether this call wrote it.
fn token_and_is_first(operation: &Operation) -> Option<(u64, bool)> {
    match operation {
        Operation::Append { token, answer, .. } | Operation::Execute { token, answer, .. } => {
            let is_first = matches!(answer, Answer::Written(written) if !written.repeated);
            Some((*token, is_first))
        }
        Operation::Read(_) | Operation::Latest(_) => None,
    }
}
