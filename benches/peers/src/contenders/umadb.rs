//! umadb-core: copy-on-write B-trees of events and tags, and a writer thread that commits in groups.
//!
//! The crate leaves queue and thread to its user, which is UmaDB's server; both are set up here as the
//! server does it, with the server's sizes, and the thread's function is the crate's own: the blocking
//! one, which is its default and was faster here than the pipelined one on io_uring. Reads run on the
//! caller's thread.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot, watch};
use umadb_core::db::UmaDb;
use umadb_core::mvcc::{Mvcc, StorageOptions};
use umadb_core::writer_thread_blocking::writer_thread_blocking;
use umadb_core::writer_thread_request::WriterThreadRequest;
use umadb_dcb::{
    DcbAppendCondition, DcbError, DcbEvent, DcbEventStoreSync, DcbQuery, DcbQueryItem,
};

use crate::support::{Contender, Key, Outcome, Payload, Replayed, Seen};

const QUEUE: usize = 1_024;
const EVENTS_PER_GROUP: usize = 2_000;
/// Off in the server unless asked for; without it every page is read and decoded again.
const PAGE_CACHE_MB: usize = 256;

/// The store; what a writer has seen is a position.
#[derive(Clone)]
pub(crate) struct Umadb {
    database: Arc<UmaDb>,
    requests: mpsc::Sender<WriterThreadRequest>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Umadb {
    pub(crate) fn open(directory: &Path) -> Self {
        let options = StorageOptions::default().db_path(directory).page_cache_max_mb(PAGE_CACHE_MB);
        let mvcc = Arc::new(Mvcc::new(false, options).unwrap());
        let database = Arc::new(UmaDb::from_arc(mvcc.clone()));
        let (requests, waiting) = mpsc::channel(QUEUE);
        let (head, _) = watch::channel(None);
        let run = move || writer_thread_blocking(mvcc, waiting, head, EVENTS_PER_GROUP);
        let thread = Arc::new(Mutex::new(Some(thread::spawn(run))));
        Umadb { database, requests, thread }
    }
}

fn query(key: &Key) -> DcbQuery {
    DcbQuery::new().item(DcbQueryItem::new().tags([&**key]))
}

impl Contender for Umadb {
    async fn append(&self, key: &Key, seen: Seen, payloads: &'static [Payload]) -> Outcome {
        let event = |payload: &Payload| {
            DcbEvent::new().event_type("Deposited").tags([&**key]).data(payload.as_bytes())
        };
        let (response_tx, response) = oneshot::channel();
        let request = WriterThreadRequest::Append {
            events: payloads.iter().map(event).collect(),
            condition: Some(DcbAppendCondition::new(query(key)).after((seen > 0).then_some(seen))),
            tracking_info: None,
            response_tx,
            cancel: None,
        };
        assert!(self.requests.send(request).await.is_ok(), "the writer thread is gone");
        match response.await.expect("the writer thread died") {
            Ok(position) => Outcome::Appended(position),
            Err(DcbError::IntegrityError(_)) => Outcome::Conflict,
            Err(error) => panic!("{error}"),
        }
    }

    async fn replay(&self, key: &Key) -> Replayed {
        let mut read = self.database.read(Some(query(key)), None, false, None).unwrap();
        let (events, _) = read.collect_with_head().unwrap();
        Replayed::count(events.iter().map(|sequenced| sequenced.event.data.len()))
    }

    async fn close(self) {
        // The thread ends when the queue does; this was its last sender.
        drop(self.requests);
        let thread = self.thread.lock().unwrap().take();
        if let Some(thread) = thread {
            thread.join().unwrap();
        }
    }
}
