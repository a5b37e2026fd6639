//! One mode's run: the writers are started on tasks of their own, write until the time is up or they
//! are stopped, and leave behind what they were told and what they measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use seriatim::{Aggregate, AggregateKey, Append, AppendError, EventStore, Expected, NewEvent};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::ledger::{Book, Ledger};
use crate::meter::{Measured, Meter, no_latencies};
use crate::modes::Mode;
use crate::options::Options;
use crate::payload::Payloads;
use crate::progress::Progress;
use crate::tally::Tally;
use crate::writer::{Complaints, Writer};

/// The type of all events written here.
pub(crate) const EVENT_TYPE: &str = "Written";
/// How often the progress is shown again.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// What is to be run.
pub(crate) struct Plan {
    pub(crate) mode: Mode,
    pub(crate) writers: usize,
    pub(crate) duration: Duration,
    /// What the keys of this run begin with, and no others.
    pub(crate) prefix: String,
    /// The aggregates' keys; elsewhere an aggregate is its index here.
    pub(crate) keys: Vec<AggregateKey>,
    pub(crate) payloads: Payloads,
}

impl Plan {
    /// `run_id` keeps runs on the same store apart.
    pub(crate) fn new(
        mode: Mode,
        options: &Options,
        run_id: u32,
    ) -> Result<Self, seriatim::KeyError> {
        // What stands before the `/` is an entity's kind, which every run shares.
        let prefix = match mode {
            Mode::Execute => format!("{}/{run_id:08x}-", Tally::KIND),
            _ => format!("load-{mode}-{run_id:08x}/"),
        };
        let keys = (0..options.aggregates(mode)).map(|index| format!("{prefix}{index}").parse());
        Ok(Plan {
            mode,
            writers: options.writers,
            duration: options.duration,
            keys: keys.collect::<Result<_, _>>()?,
            prefix,
            payloads: Payloads::new(options.payload),
        })
    }
}

/// What a run left behind.
pub(crate) struct Loaded {
    pub(crate) measured: Measured,
    pub(crate) ledger: Ledger,
    pub(crate) complaints: Complaints,
}

/// Why a run gave no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("the aggregates to conflict on could not be written: {0}")]
    Seed(#[from] AppendError),
    #[error("a writer died: {0}")]
    Writer(#[from] tokio::task::JoinError),
    #[error("the latencies: {0}")]
    Latencies(#[from] hdrhistogram::CreationError),
}

/// Runs the writers until the plan's time is up or `stop` is set.
pub(crate) async fn run(
    plan: &Arc<Plan>,
    store: &EventStore,
    stop: &Arc<AtomicBool>,
    progress: &Progress,
) -> Result<Loaded, LoadError> {
    let seeded = seed(plan, store).await?;
    let (hand_over, mut slices) = mpsc::unbounded_channel();
    let start = Instant::now();
    let mut writers = JoinSet::new();
    for index in 0..plan.writers {
        let meter = Meter::new(start, no_latencies()?, hand_over.clone());
        let mut writer = Writer::new(index, plan, store, stop, start + plan.duration, meter);
        let mode = plan.mode;
        writers.spawn(async move {
            mode.write(&mut writer).await;
            let (book, complaints) = writer.finish();
            (book, complaints, Instant::now())
        });
    }
    drop(hand_over);

    let mut measured = Measured::new(plan.duration)?;
    let mut show = tokio::time::interval(SHOW_EVERY);
    loop {
        tokio::select! {
            slice = slices.recv() => match slice {
                Some(slice) => measured.add(&slice),
                None => break,
            },
            _ = show.tick() => {
                progress.running(start.elapsed(), plan.duration, &measured);
                progress.stopping(stop.load(Ordering::Relaxed));
            }
        }
    }
    progress.stopping(stop.load(Ordering::Relaxed));
    let (mut ledger, mut complaints, mut last) = (Ledger::new(), Complaints::default(), start);
    while let Some(writer) = writers.join_next().await {
        let (book, told, ended) = writer?;
        ledger.push(book);
        complaints.merge(told);
        last = last.max(ended);
    }
    ledger.sort_by_key(|book| book.writer);
    ledger.push(seeded);
    measured.finish(last.duration_since(start));
    Ok(Loaded { measured, ledger, complaints })
}

/// Writes what the mode needs to stand there before it starts, as one more writer.
async fn seed(plan: &Plan, store: &EventStore) -> Result<Book, AppendError> {
    let mut book = Book::new(plan.writers as u32);
    for latest in 0..plan.mode.seeds() {
        for (aggregate, key) in plan.keys.iter().enumerate() {
            let origin = book.begin(aggregate);
            let event = NewEvent::raw(EVENT_TYPE, plan.payloads.make(origin));
            let append = Append::to(key).expect(Expected::from(latest)).event(event);
            book.committed(origin, &store.append(append).await?);
        }
    }
    Ok(book)
}
