//! The writer thread: all puts that wait, one durable transaction, all answers.
//!
//! A put is checked against the transaction before any of its events goes in, so each is all or nothing
//! and refused by itself. Nobody is answered before the transaction is durable, not even with a
//! conflict: what it collided with may be in the same transaction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use redb::{Database, Durability, ReadableTable};
use tokio::sync::oneshot;

use super::{EVENTS, LATEST_POSITION, LATEST_TIME, STORE, redb_failed};
use crate::driver::memory::refuse_unless_next;
use crate::driver::{DriverError, Put, PutDone, PutReceipt};
use crate::event::{Position, Sequence, Timestamp};

/// Puts of one transaction; more only make the first of them wait longer.
const PUTS_PER_TRANSACTION: usize = 4_096;

struct Waiting {
    put: Arc<Put>,
    done: PutDone,
}

/// The sending side of the writer thread's queue.
pub(super) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Waiting>>>,
    finished: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Writer {
    pub(super) fn start(database: Arc<Database>) -> Result<Self, DriverError> {
        let (queue, waiting) = mpsc::channel();
        let (done, finished) = oneshot::channel();
        thread::Builder::new()
            .name("seriatim-redb".to_owned())
            .spawn(move || {
                run(&database, &waiting);
                // The file is closed before anybody is told that the thread has ended.
                drop(database);
                let _ = done.send(());
            })
            .map_err(|e| DriverError::failed("the writer thread did not start").caused_by(e))?;
        Ok(Writer { queue: Mutex::new(Some(queue)), finished: Mutex::new(Some(finished)) })
    }

    /// Queues a put; `done` is called on the writer thread when its transaction is durable.
    pub(super) fn put(&self, put: Arc<Put>, done: PutDone) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = match &*queue {
            Some(queue) => queue.send(Waiting { put, done }).err().map(|refused| refused.0.done),
            None => Some(done),
        };
        if let Some(done) = refused {
            done(Err(DriverError::Closed));
        }
    }

    /// Waits until everything that was taken is answered and the thread has ended.
    pub(super) async fn finish(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(finished) = finished {
            let _ = finished.await;
        }
    }
}

fn run(database: &Database, waiting: &mpsc::Receiver<Waiting>) {
    let failed = AtomicBool::new(false);
    while let Ok(first) = waiting.recv() {
        let mut group = vec![first];
        while group.len() < PUTS_PER_TRANSACTION
            && let Ok(next) = waiting.try_recv()
        {
            group.push(next);
        }
        if failed.load(Ordering::Relaxed) {
            let refusal = DriverError::failed(
                "an earlier write failed, and nobody can say what the disk holds: open the store anew",
            );
            answer(group, |_| Err(refusal.clone()));
            continue;
        }
        match commit(database, &group) {
            Ok(answers) => {
                let mut answers = answers.into_iter();
                answer(group, |_| answers.next().unwrap_or(Err(DriverError::Closed)));
            }
            Err(error) => {
                failed.store(true, Ordering::Relaxed);
                answer(group, |_| Err(error.clone()));
            }
        }
    }
}

fn answer(group: Vec<Waiting>, mut result: impl FnMut(&Put) -> Result<PutReceipt, DriverError>) {
    for Waiting { put, done } in group {
        done(result(&put));
    }
}

type Answers = Vec<Result<PutReceipt, DriverError>>;

/// One durable transaction with every put of the group that may go in.
fn commit(database: &Database, group: &[Waiting]) -> Result<Answers, DriverError> {
    let mut transaction = database.begin_write().map_err(redb_failed)?;
    transaction.set_durability(Durability::Immediate).map_err(redb_failed)?;
    let mut answers = Answers::with_capacity(group.len());
    {
        let mut store = transaction.open_table(STORE).map_err(redb_failed)?;
        let number = |name| -> Result<u64, DriverError> {
            Ok(store.get(name).map_err(redb_failed)?.map_or(0, |found| found.value()))
        };
        let mut position = number(LATEST_POSITION)?;
        let mut time = number(LATEST_TIME)?;
        let mut events = transaction.open_table(EVENTS).map_err(redb_failed)?;
        let mut stored = Vec::new();
        for Waiting { put, .. } in group {
            if let Err(refusal) = check(&events, put) {
                answers.push(Err(refusal));
                continue;
            }
            answers.push(Ok(PutReceipt::at(Position::new(position + 1))));
            for event in put.events() {
                position += 1;
                time = time.max(u64::try_from(event.recorded_at.as_micros()).unwrap_or(0));
                let mut event = event.clone();
                event.recorded_at = Timestamp::from_micros(i64::try_from(time).unwrap_or(i64::MAX));
                stored.clear();
                stored.extend_from_slice(&position.to_le_bytes());
                event.encode_record(&mut stored);
                events
                    .insert((event.key.as_str(), event.sequence.get()), stored.as_slice())
                    .map_err(redb_failed)?;
            }
        }
        store.insert(LATEST_POSITION, position).map_err(redb_failed)?;
        store.insert(LATEST_TIME, time).map_err(redb_failed)?;
    }
    // Only from here on may anything have been written.
    transaction.commit().map_err(|error| {
        DriverError::unknown(format!("the commit failed: {error}")).caused_by(error)
    })?;
    Ok(answers)
}

fn check(
    events: &impl ReadableTable<(&'static str, u64), &'static [u8]>,
    put: &Put,
) -> Result<(), DriverError> {
    for aggregate in put.aggregates() {
        let Some(first) = aggregate.first() else { continue };
        let key = first.key.as_str();
        let mut range = events.range((key, 0)..=(key, u64::MAX)).map_err(redb_failed)?;
        let latest = match range.next_back() {
            None => Sequence::NONE,
            Some(entry) => Sequence::new(entry.map_err(redb_failed)?.0.value().1),
        };
        refuse_unless_next(&first.key, first.sequence, latest)?;
    }
    Ok(())
}
