//! fjall 3 by hand: one row per event, group commit by a writer thread.
//!
//! A group is one atomic batch whose commit flushes fjall's journal with fdatasync. A row's key is the
//! aggregate key, a zero byte (which no key has) and the sequence, big-endian.

use std::collections::HashMap;
use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::support::{Contender, GroupCommit, Key, Outcome, Payload, Replayed, Seen};

/// fjall advises a fifth of the memory, or more where the data fits.
const CACHE_BYTES: u64 = 256 << 20;

struct Job {
    key: Key,
    seen: Seen,
    payloads: &'static [Payload],
}

/// Events in one keyspace; what a writer has seen is a sequence.
#[derive(Clone)]
pub(crate) struct Fjall {
    events: Keyspace,
    writer: GroupCommit<Job, Outcome>,
}

impl Fjall {
    pub(crate) fn open(directory: &Path) -> Self {
        let database = Database::builder(directory).cache_size(CACHE_BYTES).open().unwrap();
        let events = database.keyspace("events", KeyspaceCreateOptions::default).unwrap();
        let writer = GroupCommit::start({
            let events = events.clone();
            move |jobs: &[Job]| commit(&database, &events, jobs)
        });
        Fjall { events, writer }
    }
}

fn commit(database: &Database, events: &Keyspace, jobs: &[Job]) -> Vec<Outcome> {
    let mut batch = database.batch().durability(Some(PersistMode::SyncData));
    // A batch cannot be read from, so what it holds is remembered here.
    let mut staged: HashMap<&Key, Seen> = HashMap::with_capacity(jobs.len());
    let mut outcomes = Vec::with_capacity(jobs.len());
    for job in jobs {
        let taken = match staged.get(&job.key) {
            Some(latest) => *latest > job.seen,
            None => events.contains_key(row(&job.key, job.seen + 1)).unwrap(),
        };
        if taken {
            outcomes.push(Outcome::Conflict);
            continue;
        }
        for (sequence, payload) in (job.seen + 1..).zip(job.payloads) {
            batch.insert(events, row(&job.key, sequence), payload.as_bytes());
        }
        let seen = job.seen + job.payloads.len() as u64;
        staged.insert(&job.key, seen);
        outcomes.push(Outcome::Appended(seen));
    }
    batch.commit().unwrap();
    outcomes
}

fn row(key: &Key, sequence: u64) -> Vec<u8> {
    let mut row = prefix(key);
    row.extend_from_slice(&sequence.to_be_bytes());
    row
}

fn prefix(key: &Key) -> Vec<u8> {
    let mut prefix = Vec::with_capacity(key.len() + 1 + 8);
    prefix.extend_from_slice(key.as_bytes());
    prefix.push(0);
    prefix
}

impl Contender for Fjall {
    async fn append(&self, key: &Key, seen: Seen, payloads: &'static [Payload]) -> Outcome {
        self.writer.submit(Job { key: key.clone(), seen, payloads }).await
    }

    async fn replay(&self, key: &Key) -> Replayed {
        let stored = self.events.prefix(prefix(key));
        let events: Vec<_> = stored.map(|guard| guard.into_inner().unwrap()).collect();
        Replayed::count(events.iter().map(|(_, payload)| payload.len()))
    }

    async fn close(self) {
        self.writer.close();
    }
}
