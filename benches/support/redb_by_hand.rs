//! What one writes by hand on redb instead of using an event store, in two ways.
//!
//! Both keep one row per event, (aggregate key, sequence) → payload, and look in the write transaction
//! whether the sequence is taken, because only there the look has the last word.
//!
//! - [`RedbOneByOne`]: one durable transaction per append, on the caller's own thread. redb has one
//!   writer at a time; the others wait in a fair queue, not on blocked threads.
//! - [`RedbGroupCommit`]: a writer thread puts all waiting appends into one durable transaction.

use std::path::Path;
use std::sync::Arc;

use redb::backends::InMemoryBackend;
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction,
};
use tokio::sync::Mutex;

use super::{Contender, GroupCommit, Key, Outcome, Payload, Replayed, Seen};

const EVENTS: TableDefinition<'static, (&str, u64), &[u8]> = TableDefinition::new("events");

/// One durable transaction per append.
#[derive(Clone)]
pub(crate) struct RedbOneByOne {
    database: Arc<Database>,
    turn: Arc<Mutex<()>>,
}

impl RedbOneByOne {
    /// Opens or makes the store in this directory.
    pub(crate) fn open(directory: &Path) -> Self {
        let database = Arc::new(Database::create(directory.join("events.redb")).unwrap());
        RedbOneByOne { database, turn: Arc::default() }
    }
}

impl Contender for RedbOneByOne {
    async fn append(&self, key: &Key, seen: Seen, payloads: &'static [Payload]) -> Outcome {
        let _turn = self.turn.lock().await;
        let transaction = self.database.begin_write().unwrap();
        let outcome = insert(&mut events(&transaction), key, seen, payloads);
        finish(transaction, outcome != Outcome::Conflict);
        outcome
    }

    async fn replay(&self, key: &Key) -> Replayed {
        replay(&self.database, key)
    }

    async fn close(self) {}
}

struct Job {
    key: Key,
    seen: Seen,
    payloads: &'static [Payload],
}

/// A writer thread with one durable transaction for all waiting appends, and one insert per event.
#[derive(Clone)]
pub(crate) struct RedbGroupCommit {
    database: Arc<Database>,
    writer: GroupCommit<Job, Outcome>,
}

impl RedbGroupCommit {
    /// Opens or makes the store in this directory.
    pub(crate) fn open(directory: &Path) -> Self {
        let database = Database::create(directory.join("events.redb")).unwrap();
        Self::start(database, Durability::Immediate)
    }

    /// Makes a store in memory. Durable commits would only make it slower there.
    pub(crate) fn in_memory() -> Self {
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        Self::start(database, Durability::None)
    }

    fn start(database: Database, durability: Durability) -> Self {
        let database = Arc::new(database);
        let writer = GroupCommit::start({
            let database = database.clone();
            move |jobs: &[Job]| commit(&database, durability, jobs)
        });
        RedbGroupCommit { database, writer }
    }
}

fn commit(database: &Database, durability: Durability, jobs: &[Job]) -> Vec<Outcome> {
    let mut transaction = database.begin_write().unwrap();
    transaction.set_durability(durability).unwrap();
    let mut table = events(&transaction);
    let outcomes: Vec<Outcome> =
        jobs.iter().map(|job| insert(&mut table, &job.key, job.seen, job.payloads)).collect();
    drop(table);
    finish(transaction, outcomes.iter().any(|outcome| *outcome != Outcome::Conflict));
    outcomes
}

impl Contender for RedbGroupCommit {
    async fn append(&self, key: &Key, seen: Seen, payloads: &'static [Payload]) -> Outcome {
        self.writer.submit(Job { key: key.clone(), seen, payloads }).await
    }

    async fn replay(&self, key: &Key) -> Replayed {
        replay(&self.database, key)
    }

    async fn close(self) {
        self.writer.close();
    }
}

type Events<'t> = Table<'t, (&'static str, u64), &'static [u8]>;

fn events(transaction: &WriteTransaction) -> Events<'_> {
    transaction.open_table(EVENTS).unwrap()
}

fn insert(events: &mut Events<'_>, key: &Key, seen: Seen, payloads: &[Payload]) -> Outcome {
    if events.get((&**key, seen + 1)).unwrap().is_some() {
        return Outcome::Conflict;
    }
    for (sequence, payload) in (seen + 1..).zip(payloads) {
        events.insert((&**key, sequence), payload.as_bytes()).unwrap();
    }
    Outcome::Appended(seen + payloads.len() as u64)
}

/// A transaction in which nothing was written needs no flush.
fn finish(transaction: WriteTransaction, written: bool) {
    if written {
        transaction.commit().unwrap();
    } else {
        transaction.abort().unwrap();
    }
}

/// A stored event as a caller gets it.
struct Event {
    _sequence: u64,
    payload: Vec<u8>,
}

fn replay(database: &Database, key: &Key) -> Replayed {
    let transaction = database.begin_read().unwrap();
    let table = transaction.open_table(EVENTS).unwrap();
    let stored = table.range((&**key, 0)..=(&**key, u64::MAX)).unwrap();
    let events: Vec<Event> = stored
        .map(|entry| {
            let (place, payload) = entry.unwrap();
            Event { _sequence: place.value().1, payload: payload.value().to_vec() }
        })
        .collect();
    Replayed::count(events.iter().map(|event| event.payload.len()))
}
