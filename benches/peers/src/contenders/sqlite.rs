//! SQLite by hand: one row per event in a table ordered by (aggregate key, sequence), group commit by a
//! writer thread, readers on a connection of their own.
//!
//! `synchronous=FULL` in WAL mode flushes the log at every commit, with fsync, because the bundled library
//! is built without fdatasync; a build with it was no faster here. The page cache is larger than SQLite's
//! own default of 2 MB, which no 300 MB store would be left with.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, params};

use crate::support::{Contender, GroupCommit, Key, Outcome, Payload, Replayed, Seen};

const OPEN: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA cache_size = -262144;
    CREATE TABLE IF NOT EXISTS events (
        key TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        payload TEXT NOT NULL,
        PRIMARY KEY (key, sequence)
    ) STRICT, WITHOUT ROWID;";
// A sequence that is taken leaves the row as it is, and changes nothing.
const INSERT: &str =
    "INSERT INTO events (key, sequence, payload) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
const SELECT: &str = "SELECT sequence, payload FROM events WHERE key = ?1 ORDER BY sequence";

struct Job {
    key: Key,
    seen: Seen,
    payloads: &'static [Payload],
}

/// Events in one table; what a writer has seen is a sequence.
#[derive(Clone)]
pub(crate) struct Sqlite {
    reader: Arc<Mutex<Connection>>,
    writer: GroupCommit<Job, Outcome>,
}

impl Sqlite {
    pub(crate) fn open(directory: &Path) -> Self {
        let file = directory.join("events.sqlite");
        let mut connection = connect(&file);
        let writer = GroupCommit::start(move |jobs: &[Job]| commit(&mut connection, jobs));
        Sqlite { reader: Arc::new(Mutex::new(connect(&file))), writer }
    }
}

fn connect(file: &Path) -> Connection {
    let connection = Connection::open(file).unwrap();
    connection.execute_batch(OPEN).unwrap();
    connection
}

fn commit(connection: &mut Connection, jobs: &[Job]) -> Vec<Outcome> {
    let transaction = connection.transaction().unwrap();
    let mut outcomes = Vec::with_capacity(jobs.len());
    {
        let mut insert = transaction.prepare_cached(INSERT).unwrap();
        for job in jobs {
            // Sequences have no gaps: if the first one is free, so are those behind it.
            let mut outcome = Outcome::Appended(job.seen + job.payloads.len() as u64);
            for (sequence, payload) in (job.seen + 1..).zip(job.payloads) {
                if insert.execute(params![&*job.key, sequence as i64, payload]).unwrap() == 0 {
                    outcome = Outcome::Conflict;
                    break;
                }
            }
            outcomes.push(outcome);
        }
    }
    transaction.commit().unwrap();
    outcomes
}

impl Contender for Sqlite {
    async fn append(&self, key: &Key, seen: Seen, payloads: &'static [Payload]) -> Outcome {
        self.writer.submit(Job { key: key.clone(), seen, payloads }).await
    }

    async fn replay(&self, key: &Key) -> Replayed {
        let reader = self.reader.lock().unwrap();
        let mut select = reader.prepare_cached(SELECT).unwrap();
        let event = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
        let events: Vec<_> = select.query_map([&**key], event).unwrap().collect();
        Replayed::count(events.iter().map(|event| event.as_ref().unwrap().1.len()))
    }

    async fn close(self) {
        self.writer.close();
    }
}
