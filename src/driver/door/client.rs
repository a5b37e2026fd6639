//! [`DoorDriver`]: a driver that reads a store through its owner's door.
//!
//! One connection serves all requests, one after the other, and is made again when the owner ended
//! it because it was quiet. A second one waits for new events once somebody listens to the bell.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use super::frames::{DOOR, DoorFrames, SocketPath};
use super::protocol::{
    ANSWER_TIME, DoorAnswer, DoorHello, DoorRequest, FRAME_TIME, MAX_ANSWER_BYTES,
    MAX_REQUEST_BYTES, PROTOCOL, WAIT,
};
use crate::driver::redb::{Space, Verified};
use crate::driver::{
    Driver, DriverError, EventPage, EventPages, Fetch, KeyPages, LogBell, LogFetch, LogPage,
    LogStore, Put, PutReceipt, async_trait, paged, paged_keys,
};
use crate::event::{AggregateKey, Position, Sequence};
use crate::stats::{DriverStats, JournalStats};

/// A verification says how far it is; between two such frames, and at its end, it may be long.
const VERIFYING: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a store that another process has open and that serves its door
/// ([`Builder::serve_local`](crate::Builder::serve_local)). Every method that reads works; a put is
/// refused as [`DriverError::Unsupported`].
///
/// Its calls wait for the owner in the caller's thread, as those of an embedded driver wait for the
/// disk.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let directory = folder.path().join("data");
/// use std::sync::Arc;
///
/// use seriatim::driver::door::DoorDriver;
/// use seriatim::{Append, EventStore, NewEvent};
///
/// // The owner.
/// let url = format!("redb:{}", directory.display());
/// let owner = EventStore::builder().url(url).serve_local().open().await?;
/// owner.append(Append::to("light/1").event(NewEvent::raw("SwitchedOn", "{}"))).await?;
///
/// // Another process of the same user.
/// let door = Arc::new(DoorDriver::open(&directory)?);
/// let reader = EventStore::builder().driver(door).open().await?;
/// assert_eq!(reader.latest_sequence("light/1").await?, 1);
/// # reader.close().await?;
/// # owner.close().await?;
/// # Ok(()) }
/// ```
pub struct DoorDriver(Arc<DoorClient>);

struct DoorClient {
    directory: PathBuf,
    /// The owner's process, as it said.
    process: AtomicU32,
    connection: Mutex<Option<DoorFrames>>,
    bell: LogBell,
    following: Once,
    is_closed: AtomicBool,
}

impl DoorDriver {
    /// Connects to the owner of the store in this directory.
    ///
    /// # Errors
    ///
    /// [`DriverError::Unavailable`] when no process serves a door there, or too many are connected;
    /// [`DriverError::Failed`] when the owner speaks another version of the protocol, or this user
    /// may not connect.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, DriverError> {
        let client = DoorClient {
            directory: directory.as_ref().to_owned(),
            process: AtomicU32::new(0),
            connection: Mutex::default(),
            bell: LogBell::default(),
            following: Once::new(),
            is_closed: AtomicBool::new(false),
        };
        let connection = client.connect()?;
        *client.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        Ok(DoorDriver(Arc::new(client)))
    }

    /// The process that has the store open.
    pub fn owner_process(&self) -> u32 {
        self.0.process.load(Ordering::Relaxed)
    }

    /// Lets the owner verify the store, as
    /// [`RedbDriver::verify`](crate::driver::redb::RedbDriver::verify) does, and hears how many
    /// events of how many are done. Blocks.
    ///
    /// # Errors
    ///
    /// Those of `RedbDriver::verify`; [`DriverError::Unavailable`] when another verification is
    /// under way through the door.
    pub fn verify(&self, mut progress: impl FnMut(u64, u64)) -> Result<Verified, DriverError> {
        let client = &self.0;
        client.check_open()?;
        let mut connection = client.connect()?;
        let asked = connection.send(&DoorRequest::Verify {}, MAX_REQUEST_BYTES);
        asked.map_err(|error| client.gone(error))?;
        loop {
            match client.receive(&mut connection, VERIFYING)? {
                DoorAnswer::Progress { done, total } => progress(done, total),
                DoorAnswer::Verified { events, aggregates } => {
                    return Ok(Verified { events, aggregates });
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// What redb's file is used for, as
    /// [`RedbDriver::space`](crate::driver::redb::RedbDriver::space) tells.
    ///
    /// # Errors
    ///
    /// Those of `RedbDriver::space`, and [`DriverError::Unavailable`] when the owner is gone.
    pub fn space(&self) -> Result<Space, DriverError> {
        match self.0.ask(&DoorRequest::Space {})? {
            DoorAnswer::Space(told) => Ok(Space {
                file_bytes: told.file_bytes,
                log_bytes: told.log_bytes,
                index_bytes: told.index_bytes,
                other_bytes: told.other_bytes,
                free_bytes: told.free_bytes,
            }),
            other => Err(unexpected(&other)),
        }
    }
}

impl DoorClient {
    fn check_open(&self) -> Result<(), DriverError> {
        if self.is_closed.load(Ordering::Acquire) { Err(DriverError::Closed) } else { Ok(()) }
    }

    fn connect(&self) -> Result<DoorFrames, DriverError> {
        let door = self.directory.join(DOOR);
        let failed = |error: io::Error| {
            let what = format!("{}: {error}", door.display());
            match error.kind() {
                io::ErrorKind::PermissionDenied => DriverError::failed(what),
                _ => DriverError::unavailable(format!("no process serves a door at {what}")),
            }
            .caused_by(error)
        };
        let address = SocketPath::of(&self.directory, DOOR).map_err(failed)?;
        let stream = UnixStream::connect(&address.path).map_err(failed)?;
        let mut frames = DoorFrames::new(stream, MAX_ANSWER_BYTES).map_err(failed)?;
        let ours = DoorHello::ours();
        // One that is turned away may be told so before its hello is read.
        let _told = frames.send(&ours, MAX_REQUEST_BYTES);
        let first: Option<serde_json::Value> = frames.receive(FRAME_TIME).map_err(failed)?;
        let first = first.ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?;
        if let Ok(DoorAnswer::Refused { kind, message }) = serde_json::from_value(first.clone()) {
            return Err(kind.error(message));
        }
        let hello: DoorHello = serde_json::from_value(first).map_err(|_| {
            DriverError::failed(format!("{}: what answers is no seriatim", door.display()))
        })?;
        if hello.protocol != PROTOCOL {
            return Err(DriverError::failed(format!(
                "process {} has the store open with seriatim {}, whose door speaks protocol {}; \
                 this is seriatim {}, which speaks protocol {PROTOCOL}: use the same version",
                hello.process, hello.version, hello.protocol, ours.version
            )));
        }
        self.process.store(hello.process, Ordering::Relaxed);
        Ok(frames)
    }

    /// One request and its answer. A connection that the owner ended is made again, once.
    fn ask(&self, request: &DoorRequest) -> Result<DoorAnswer, DriverError> {
        self.check_open()?;
        let mut kept = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut connection) = kept.take()
            && let Ok(answer) = exchange(&mut connection, request)
        {
            *kept = Some(connection);
            return answered(answer);
        }
        let mut connection = self.connect()?;
        let answer = exchange(&mut connection, request).map_err(|error| self.gone(error))?;
        *kept = Some(connection);
        answered(answer)
    }

    fn receive(
        &self,
        connection: &mut DoorFrames,
        quiet: Duration,
    ) -> Result<DoorAnswer, DriverError> {
        let answer = connection.receive(quiet).map_err(|error| self.gone(error))?;
        answered(answer.ok_or_else(|| self.gone(io::ErrorKind::UnexpectedEof.into()))?)
    }

    fn gone(&self, error: io::Error) -> DriverError {
        let process = self.process.load(Ordering::Relaxed);
        let what = format!("process {process}, which has the store open, does not answer: {error}");
        DriverError::unavailable(what).caused_by(error)
    }
}

fn exchange(connection: &mut DoorFrames, request: &DoorRequest) -> io::Result<DoorAnswer> {
    connection.send(request, MAX_REQUEST_BYTES)?;
    connection.receive(ANSWER_TIME)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn answered(answer: DoorAnswer) -> Result<DoorAnswer, DriverError> {
    match answer {
        DoorAnswer::Refused { kind, message } => Err(kind.error(message)),
        answer => Ok(answer),
    }
}

fn unexpected(answer: &DoorAnswer) -> DriverError {
    let name = serde_json::to_value(answer).ok();
    let name = name.as_ref().and_then(|value| value.as_object()?.keys().next());
    DriverError::failed(format!("the owner answered another question: {name:?}"))
}

/// Rings the bell when there are new events. Ends with the client, and when the owner does.
fn follow(client: &Weak<DoorClient>) {
    let mut last = Position::default();
    let mut connection = None;
    while let Some(client) = client.upgrade().filter(|client| client.check_open().is_ok()) {
        let mut wait = || -> Result<Position, DriverError> {
            let connection = match &mut connection {
                Some(connection) => connection,
                None => connection.insert(client.connect()?),
            };
            let request = DoorRequest::EventsBehind { position: last };
            let sent = connection.send(&request, MAX_REQUEST_BYTES);
            sent.map_err(|error| client.gone(error))?;
            match client.receive(connection, WAIT + ANSWER_TIME)? {
                DoorAnswer::Position(position) => Ok(position),
                other => Err(unexpected(&other)),
            }
        };
        let waited = wait();
        let is_gone = waited.is_err();
        let found = waited.unwrap_or(last);
        if found != last || is_gone {
            // Whoever reads hears of a failure, too.
            client.bell.ring();
        }
        if is_gone {
            return;
        }
        last = found;
    }
}

#[async_trait]
impl Driver for DoorDriver {
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        let latest = self.latest_sequence(key).await?;
        Ok(sequence != Sequence::NONE && sequence <= latest)
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        let (client, key) = (self.0.clone(), key.clone());
        paged(fetch, move |fetch| events(&client, &key, fetch))
    }

    async fn put_events(&self, _put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        Err(DriverError::unsupported(format!(
            "process {} has the store open, and nothing is written through its door",
            self.owner_process()
        )))
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.0.is_closed.store(true, Ordering::Release);
        drop(self.0.connection.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.0.bell.ring();
        Ok(())
    }

    async fn latest_sequence(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        match self.0.ask(&DoorRequest::LatestSequence { key: key.clone() })? {
            DoorAnswer::Sequence(sequence) => Ok(sequence),
            other => Err(unexpected(&other)),
        }
    }

    fn fetch_page_now(
        &self,
        key: &AggregateKey,
        fetch: Fetch,
    ) -> Option<Result<EventPage, DriverError>> {
        Some(events(&self.0, key, fetch))
    }

    fn keys(&self, prefix: &str, after: Option<&AggregateKey>) -> KeyPages {
        let (client, prefix) = (self.0.clone(), prefix.to_owned());
        paged_keys(after.cloned(), move |after| {
            let request = DoorRequest::Keys { prefix: prefix.clone(), after: after.cloned() };
            match client.ask(&request)? {
                DoorAnswer::Keys(keys) => Ok(keys),
                other => Err(unexpected(&other)),
            }
        })
    }

    fn log(&self) -> Option<&dyn LogStore> {
        Some(self)
    }

    fn needs_io(&self) -> bool {
        false
    }

    /// Of the owner's; nothing where the owner does not answer.
    fn stats(&self) -> DriverStats {
        let mut stats = DriverStats::default();
        let Ok(DoorAnswer::Stats(told)) = self.0.ask(&DoorRequest::Stats {}) else { return stats };
        (stats.events, stats.keys, stats.disk_bytes) = (told.events, told.keys, told.disk_bytes);
        let mut journal = JournalStats::default();
        (journal.files, journal.bytes) = (told.journal_files, told.journal_bytes);
        (journal.tail_bytes, journal.reserve_bytes) = (told.tail_bytes, told.reserve_bytes);
        journal.apply_lag_events = told.apply_lag_events;
        stats.journal = Some(journal);
        stats
    }
}

fn events(client: &DoorClient, key: &AggregateKey, fetch: Fetch) -> Result<EventPage, DriverError> {
    let (after, backwards) = (fetch.after, fetch.backwards);
    let limit = fetch.limit.unwrap_or(usize::MAX);
    match client.ask(&DoorRequest::Events { key: key.clone(), after, backwards, limit })? {
        DoorAnswer::Events { events, more } => Ok(EventPage::new(events, more)),
        other => Err(unexpected(&other)),
    }
}

#[async_trait]
impl LogStore for DoorDriver {
    fn log_page_now(&self, fetch: LogFetch) -> Result<LogPage, DriverError> {
        let LogFetch { from, backwards, limit } = fetch;
        match self.0.ask(&DoorRequest::Log { from, backwards, limit })? {
            DoorAnswer::Events { events, .. } => Ok(LogPage::new(events)),
            other => Err(unexpected(&other)),
        }
    }

    fn last_position(&self) -> Result<Position, DriverError> {
        match self.0.ask(&DoorRequest::LastPosition {})? {
            DoorAnswer::Position(position) => Ok(position),
            other => Err(unexpected(&other)),
        }
    }

    fn bell(&self) -> &LogBell {
        self.0.following.call_once(|| {
            let client = Arc::downgrade(&self.0);
            let thread = thread::Builder::new().name("seriatim-follow".to_owned());
            if let Err(error) = thread.spawn(move || follow(&client)) {
                tracing::error!(%error, "no thread: new events are not heard of");
            }
        });
        &self.0.bell
    }

    async fn load_checkpoint(&self, name: &str) -> Result<Option<Bytes>, DriverError> {
        match self.0.ask(&DoorRequest::Checkpoint { name: name.to_owned() })? {
            DoorAnswer::Checkpoint(stored) => Ok(stored.map(Bytes::from)),
            other => Err(unexpected(&other)),
        }
    }

    async fn save_checkpoint(&self, _name: &str, _checkpoint: Bytes) -> Result<(), DriverError> {
        Err(DriverError::unsupported("nothing is written through a door"))
    }
}
