//! eventfold: a log of JSON lines that flushes every event.
//!
//! One log is one history, so every aggregate has a log of its own, in a directory of its own; the
//! crate's companion for event sourcing, eventfold-es, keeps them so too. Whoever writes a log holds its
//! lock, so the log's end in bytes, remembered from the last append, is the expectation, and the plain
//! `append` follows; `append_if` would read the last line back each time. A log blocks its caller until
//! the flush is done, so appends run on the runtime's blocking pool.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use eventfold::{Event, EventReader, EventWriter};

use crate::support::{Contender, Key, Outcome, Payload, Replayed, Seen};

/// Logs kept open; more would meet the limit of open files.
const OPEN_LOGS: usize = 700;

struct Log {
    writer: EventWriter,
    end: u64,
}

/// The logs; what a writer has seen is a log's end in bytes.
#[derive(Clone)]
pub(crate) struct EventFold {
    directory: PathBuf,
    logs: Arc<Mutex<HashMap<Key, Arc<Mutex<Log>>>>>,
}

impl EventFold {
    pub(crate) fn open(directory: &Path) -> Self {
        EventFold { directory: directory.to_owned(), logs: Arc::default() }
    }

    fn log(&self, key: &Key) -> Arc<Mutex<Log>> {
        let mut logs = self.logs.lock().unwrap();
        if let Some(log) = logs.get(key) {
            return log.clone();
        }
        // A log that is being written stays open until then: each aggregate has one writer at a time.
        if logs.len() == OPEN_LOGS {
            logs.clear();
        }
        let writer = EventWriter::open(self.directory.join(&**key)).unwrap();
        let end = writer.active_log_size().unwrap();
        let log = Arc::new(Mutex::new(Log { writer, end }));
        logs.insert(key.clone(), log.clone());
        log
    }

    fn append_one(&self, key: &Key, seen: Seen, payload: Payload) -> Outcome {
        let log = self.log(key);
        let mut log = log.lock().unwrap();
        if log.end != seen {
            return Outcome::Conflict;
        }
        let event = Event::new("Deposited", serde_json::from_str(payload).unwrap());
        log.end = log.writer.append(&event).unwrap().end_offset;
        Outcome::Appended(log.end)
    }
}

impl Contender for EventFold {
    async fn append(&self, key: &Key, seen: Seen, payloads: &'static [Payload]) -> Outcome {
        let (store, key) = (self.clone(), key.clone());
        let append = move || {
            payloads.iter().fold(Outcome::Appended(seen), |outcome, payload| match outcome {
                Outcome::Appended(seen) => store.append_one(&key, seen, payload),
                Outcome::Conflict => Outcome::Conflict,
            })
        };
        tokio::task::spawn_blocking(append).await.unwrap()
    }

    async fn replay(&self, key: &Key) -> Replayed {
        let reader = EventReader::new(self.directory.join(&**key));
        let events: Vec<_> = reader.read_from(0).unwrap().collect();
        Replayed::count(events.iter().map(|event| {
            let (event, _, _) = event.as_ref().unwrap();
            event.data["note"].as_str().unwrap().len()
        }))
    }

    async fn close(self) {}
}
