//! The store of a model: the mailroom over a driver in memory, with threads of the model checker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::Mutex;
use shuttle::sync::mpsc::{Receiver, Sender, channel};
use shuttle::thread::{self, JoinHandle};
use shuttle::{MaxSteps, Runner};
use uuid::Uuid;

use crate::append::{Append, Appended, Expected};
use crate::driver::memory::MemoryDriver;
use crate::driver::{Driver, DriverError, EventPage, EventPages, Fetch, Put, PutDone, PutReceipt};
use crate::error::AppendError;
use crate::event::{AggregateKey, NewEvent, Sequence};
use crate::mailroom::actor;
use crate::mailroom::arbiters::Arbiters;
use crate::mailroom::supervisor::Passivation;
use crate::mailroom::{BoxedCommand, Config, Mailroom, Wait};
use crate::upcast::Upcasters;

const SECONDS: &str = "SERIATIM_MODEL_SECONDS";
const SEED: &str = "SERIATIM_MODEL_SEED";
const DEFAULT_SECONDS: u64 = 4;
/// Runs of one seed.
const BATCH: usize = 100;
/// How many times a thread is held back while others go on, in runs of the second scheduler.
const HELD_BACK: usize = 4;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}

/// Runs the model again and again, each time with other turns: in one batch at random, in the next
/// with threads that are held back at few places for long.
pub(super) fn search(model: impl Fn() + Send + Sync + 'static) {
    let first = number(SEED).unwrap_or_else(|| fastrand::u64(..));
    let until = Instant::now() + Duration::from_secs(number(SECONDS).unwrap_or(DEFAULT_SECONDS));
    eprintln!("{SEED}={first}");
    // Timers are set on this runtime, which nobody drives: its clock stands still.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let mut config = shuttle::Config::new();
    config.stack_size = 512 << 10;
    config.max_steps = MaxSteps::FailAfter(200_000);
    config.silence_warnings = true;
    let model = Arc::new(model);
    let mut runs = 0;
    for seed in (0..).map(|batch| first.wrapping_add(batch)) {
        if Instant::now() > until {
            break;
        }
        let model = model.clone();
        let run = move || {
            // Where the mailroom draws lots, each run draws the same.
            fastrand::seed(seed);
            model();
        };
        runs += match seed % 2 {
            0 => Runner::new(RandomScheduler::new_from_seed(seed, BATCH), config.clone()).run(run),
            _ => {
                let held_back = PctScheduler::new_from_seed(seed, HELD_BACK, BATCH);
                Runner::new(held_back, config.clone()).run(run)
            }
        };
    }
    eprintln!("{runs} interleavings");
    assert!(runs > 0, "the model ran");
}

/// A put on its way through the driver's thread.
type Sent = (Arc<Put>, PutDone);

/// Answers puts from a thread of its own, in order.
struct ModelDriver {
    inner: MemoryDriver,
    sent: Mutex<Option<Sender<Sent>>>,
    in_flight: Mutex<BTreeSet<AggregateKey>>,
}

impl ModelDriver {
    fn serve(&self, sent: &Receiver<Sent>) {
        while let Ok((put, done)) = sent.recv() {
            let receipt = block_on(self.inner.put_events(put.clone()));
            thread::yield_now();
            for event in put.events() {
                self.in_flight().remove(&event.key);
            }
            done(receipt);
        }
    }

    fn in_flight(&self) -> shuttle::sync::MutexGuard<'_, BTreeSet<AggregateKey>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Driver for ModelDriver {
    async fn check_sequence(&self, key: &AggregateKey, at: Sequence) -> Result<bool, DriverError> {
        thread::yield_now();
        self.inner.check_sequence(key, at).await
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        self.inner.fetch_events(key, fetch)
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        self.inner.put_events(put).await
    }

    fn put_events_then(&self, put: Arc<Put>, done: PutDone) -> Result<(), PutDone> {
        let key = put.events()[0].key.clone();
        assert!(self.in_flight().insert(key.clone()), "{key} has two puts in flight");
        let sent = self.sent.lock().unwrap();
        match &*sent {
            Some(sender) => drop(sender.send((put, done))),
            None => panic!("a put after the end"),
        }
        Ok(())
    }

    async fn latest_sequence(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        thread::yield_now();
        self.inner.latest_sequence(key).await
    }

    fn fetch_page_now(
        &self,
        key: &AggregateKey,
        fetch: Fetch,
    ) -> Option<Result<EventPage, DriverError>> {
        self.inner.fetch_page_now(key, fetch)
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    async fn close(&self) -> Result<(), DriverError> {
        Ok(())
    }
}

/// The options of a model.
pub(super) fn config() -> Config {
    let hour = Duration::from_secs(3600);
    Config {
        arbiters: 0,
        permits_per_aggregate: 2,
        max_resident: 8,
        max_resident_bytes: 1 << 20,
        idle_timeout: hour,
        bytes_in_flight: 1 << 20,
        put_deadline: hour,
        put_attempt_timeout: hour,
        waits_for_driver: false,
        read_deadline: hour,
        close_deadline: hour,
        commit_id_window: 16,
        clock: Arc::new(|| SystemTime::UNIX_EPOCH),
        upcasters: Arc::new(Upcasters::default()),
    }
}

/// The mailroom of a model, with its driver's thread.
#[derive(Clone)]
pub(super) struct ModelStore {
    mailroom: Arc<Mailroom>,
    driver: Arc<ModelDriver>,
}

impl ModelStore {
    fn open(config: Config) -> (ModelStore, JoinHandle<()>) {
        let (sender, receiver) = channel();
        let driver = Arc::new(ModelDriver {
            inner: MemoryDriver::new(),
            sent: Mutex::new(Some(sender)),
            in_flight: Mutex::default(),
        });
        let serving = driver.clone();
        let thread = thread::spawn(move || serving.serve(&receiver));
        let arbiters = Arbiters::start(config.arbiters, false).unwrap();
        let mailroom = Arc::new(Mailroom::new(driver.clone(), config, arbiters, start_actor));
        (ModelStore { mailroom, driver }, thread)
    }

    pub(super) fn mailroom(&self) -> &Arc<Mailroom> {
        &self.mailroom
    }

    /// Appends one event whose data have about this many bytes.
    pub(super) async fn append(
        &self,
        key: &str,
        expected: Expected,
        bytes: usize,
    ) -> Result<Appended, AppendError> {
        let event = NewEvent::raw("Happened", format!("\"{}\"", "x".repeat(bytes)));
        let append = Append::to(key).expect(expected).event(event);
        let resident = self.mailroom.lease_unless_stale(&append)?;
        self.mailroom.append(append, resident, Wait::ForRoom).await
    }

    /// A thread that appends to one aggregate, again and again, whatever its latest sequence is.
    /// Its own order holds.
    pub(super) fn writer(&self, key: &'static str, appends: usize) -> JoinHandle<Vec<Sequence>> {
        let store = self.clone();
        thread::spawn(move || {
            let mut written: Vec<Sequence> = Vec::new();
            for _ in 0..appends {
                let appended = block_on(store.append(key, Expected::Any, 1)).unwrap();
                assert!(written.last().is_none_or(|last| *last < appended.first));
                written.push(appended.first);
            }
            written
        })
    }

    /// Executes a command.
    pub(super) fn execute(&self, key: &str, command: Box<dyn BoxedCommand>) {
        let key = AggregateKey::new(key).unwrap();
        self.mailroom.execute(&key, None, 100, command).give_up();
    }

    /// A thread that writes behind the store's back, as another process does, once.
    pub(super) fn rival(&self, key: &'static str) -> JoinHandle<()> {
        let store = self.clone();
        thread::spawn(move || {
            let key = AggregateKey::new(key).unwrap();
            loop {
                let latest = store.latest(key.as_str());
                thread::yield_now();
                let event = Append::to(key.clone()).event(NewEvent::raw("Rival", "{}"));
                let event = event.check().unwrap().events.remove(0);
                let now = SystemTime::UNIX_EPOCH.into();
                let event = event.place(&key, latest.next(), Uuid::from_u128(7), now);
                let put = Arc::new(Put::of(smallvec::smallvec![event]).unwrap());
                match block_on(store.driver.inner.put_events(put)) {
                    Ok(_) => return,
                    Err(error) => assert!(error.is_conflict(), "{error:?}"),
                }
            }
        })
    }

    /// A thread that makes room for aggregates that find no seat, until the store has ended.
    pub(super) fn supervisor(&self) -> JoinHandle<()> {
        let store = self.clone();
        thread::spawn(move || {
            let mut passivation = Passivation::new(store.mailroom.clone());
            while !store.mailroom.has_ended() {
                block_on(store.mailroom.seats.run_short());
                block_on(passivation.make_room());
            }
        })
    }

    pub(super) fn latest(&self, key: &str) -> Sequence {
        block_on(self.driver.inner.latest_sequence(&AggregateKey::new(key).unwrap())).unwrap()
    }
}

/// One run of a model: everything that was taken is given back at its end, and every thread ends.
pub(super) fn run(config: Config, model: impl FnOnce(&ModelStore)) {
    let seats = config.max_resident;
    let (store, driver_thread) = ModelStore::open(config);
    model(&store);
    let mailroom = store.mailroom.clone();
    assert_eq!(mailroom.stats().in_flight, 0, "everything is answered");
    assert_eq!(mailroom.stats().bytes_in_flight, 0);
    mailroom.registry().clear();
    drop(store.driver.sent.lock().unwrap().take());
    driver_thread.join().unwrap();
    assert!(mailroom.resident() <= seats);
}

/// Joins writers, and checks that what they wrote to one aggregate follows without a gap.
pub(super) fn check_dense(writers: Vec<JoinHandle<Vec<Sequence>>>) -> u64 {
    let mut all: BTreeMap<u64, usize> = BTreeMap::new();
    for writer in writers {
        for sequence in writer.join().unwrap() {
            *all.entry(sequence.get()).or_default() += 1;
        }
    }
    let count = all.len() as u64;
    assert!(all.values().all(|times| *times == 1), "{all:?}");
    assert!(all.keys().copied().eq(1..=count), "{all:?}");
    count
}

fn start_actor(slot: &Arc<crate::mailroom::slot::Slot>) {
    let slot = slot.clone();
    thread::spawn(move || block_on(actor::in_model(slot)));
}
