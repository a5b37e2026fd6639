//! The owner's side of a door: a thread that accepts, and one for each connection.

use std::any::Any;
use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::runtime::Runtime;

use super::frames::{DOOR, DoorFrames, SocketPath};
use super::protocol::{
    DoorAnswer, DoorHello, DoorRequest, DoorSpace, DoorStats, FRAME_TIME, IDLE, MAX_ANSWER_BYTES,
    MAX_CONNECTIONS, MAX_PREFIX_BYTES, MAX_REQUEST_BYTES, PAGE_EVENTS, PROTOCOL, WAIT,
};
use crate::driver::redb::RedbDriver;
use crate::driver::{Driver, DriverError, Fetch, LogFetch, LogStore};
use crate::event::Position;

/// A folder that only the owner can enter, in which the socket gets its mode before its name.
const MAKING: &str = "door.new";
/// How long accepting rests after a failure, such as too many open files.
const REST: Duration = Duration::from_millis(100);

/// An open door. Dropping it closes it.
pub(crate) struct Door {
    shared: Arc<DoorState>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

struct DoorState {
    driver: Arc<dyn Driver>,
    directory: PathBuf,
    /// The listening socket, to end accepting with.
    listening: UnixStream,
    /// Device and number of the socket's file.
    identity: (u64, u64),
    is_closed: AtomicBool,
    connections: Mutex<Connections>,
    /// Held while a verification runs: one at a time.
    verifying: Mutex<()>,
}

#[derive(Default)]
struct Connections {
    next: u64,
    open: HashMap<u64, UnixStream>,
}

impl Door {
    /// Opens a door in the directory of this driver's store.
    ///
    /// # Errors
    ///
    /// [`DriverError::Unsupported`] for a driver without a directory of its own;
    /// [`DriverError::Failed`] when the socket cannot be made.
    pub(crate) fn open(driver: Arc<dyn Driver>) -> Result<Self, DriverError> {
        let directory = redb(&driver).and_then(RedbDriver::directory).ok_or_else(|| {
            DriverError::unsupported("only a redb store in a directory has a door")
        })?;
        let failed = |error: io::Error| {
            let door = directory.join(DOOR);
            DriverError::failed(format!("{}: the door cannot be made: {error}", door.display()))
                .caused_by(error)
        };
        let listener = listen(&directory).map_err(failed)?;
        let listening = UnixStream::from(OwnedFd::from(listener.try_clone().map_err(failed)?));
        let made = fs::symlink_metadata(directory.join(DOOR)).map_err(failed)?;
        let shared = Arc::new(DoorState {
            driver,
            listening,
            identity: (made.dev(), made.ino()),
            is_closed: AtomicBool::new(false),
            connections: Mutex::default(),
            verifying: Mutex::default(),
            directory: directory.clone(),
        });
        let state = shared.clone();
        let accepting = thread::Builder::new().name("seriatim-door".to_owned());
        let accepting = accepting.spawn(move || accept(&state, &listener)).map_err(failed)?;
        Ok(Door { shared, accepting: Mutex::new(Some(accepting)) })
    }

    /// Ends all connections and removes the socket. Waits for nobody.
    pub(crate) fn close(&self) {
        if self.shared.is_closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.shared.remove_socket();
        for stream in self.shared.connections().open.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
        drop(self.accepting.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl DoorState {
    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// The directory may have been moved, and another one's socket may stand there.
    fn remove_socket(&self) {
        let door = self.directory.join(DOOR);
        let there = fs::symlink_metadata(&door).map(|found| (found.dev(), found.ino())).ok();
        let _ = self.listening.shutdown(Shutdown::Both);
        if there == Some(self.identity) {
            // Elsewhere that does not wake the thread that accepts, and a connection does.
            #[cfg(not(target_os = "linux"))]
            if let Ok(address) = SocketPath::of(&self.directory, DOOR) {
                let _ = UnixStream::connect(&address.path);
            }
            let _ = fs::remove_file(&door);
        }
    }
}

/// The driver's own type, which alone has a directory, verifies and knows its space.
fn redb(driver: &Arc<dyn Driver>) -> Option<&RedbDriver> {
    let any: &dyn Any = &**driver;
    any.downcast_ref()
}

/// Makes the socket where nobody else can reach it, and moves it over one that was left behind.
fn listen(directory: &Path) -> io::Result<UnixListener> {
    let making = directory.join(MAKING);
    match fs::remove_dir_all(&making) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::DirBuilder::new().mode(0o700).create(&making)?;
    let address = SocketPath::of(&making, DOOR)?;
    let listener = UnixListener::bind(&address.path)?;
    fs::set_permissions(making.join(DOOR), Permissions::from_mode(0o600))?;
    fs::rename(making.join(DOOR), directory.join(DOOR))?;
    fs::remove_dir(&making)?;
    Ok(listener)
}

fn accept(state: &Arc<DoorState>, listener: &UnixListener) {
    while !state.is_closed() {
        match listener.accept() {
            Ok((stream, _)) if state.is_closed() => drop(stream),
            Ok((stream, _)) => admit(state, stream),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => thread::sleep(REST),
        }
    }
}

fn admit(state: &Arc<DoorState>, stream: UnixStream) {
    let Ok(kept) = stream.try_clone() else { return };
    let number = {
        let mut connections = state.connections();
        if connections.open.len() >= MAX_CONNECTIONS {
            drop(connections);
            return turn_away(stream);
        }
        connections.next += 1;
        let number = connections.next;
        connections.open.insert(number, kept);
        number
    };
    let ended = ConnectionEnd { state: state.clone(), number };
    // Whoever closed meanwhile did not see this one.
    if state.is_closed() {
        return;
    }
    let serve = move || {
        let _ended = &ended;
        if let Err(error) = serve(&ended.state, stream) {
            tracing::debug!(%error, "a connection through the door ended");
        }
    };
    let _ = thread::Builder::new().name("seriatim-door".to_owned()).spawn(serve);
}

/// A peer that is refused need not read why.
fn turn_away(stream: UnixStream) {
    let Ok(mut frames) = DoorFrames::new(stream, MAX_REQUEST_BYTES) else { return };
    let what = format!("{MAX_CONNECTIONS} connections are open already: try again later");
    let _ = frames.stream().set_nonblocking(true);
    let _ = frames.send(&DoorAnswer::refused(&DriverError::unavailable(what)), MAX_ANSWER_BYTES);
}

/// Gives the connection's place back, also when its thread panics.
struct ConnectionEnd {
    state: Arc<DoorState>,
    number: u64,
}

impl Drop for ConnectionEnd {
    fn drop(&mut self) {
        self.state.connections().open.remove(&self.number);
    }
}

fn serve(state: &DoorState, stream: UnixStream) -> io::Result<()> {
    let mut frames = DoorFrames::new(stream, MAX_REQUEST_BYTES)?;
    let Some(hello) = frames.receive::<DoorHello>(FRAME_TIME)? else { return Ok(()) };
    frames.send(&DoorHello::ours(), MAX_ANSWER_BYTES)?;
    if hello.protocol != PROTOCOL {
        // The other side names both versions.
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    while let Some(request) = frames.receive::<DoorRequest>(IDLE)? {
        let answer = answer(state, &runtime, &mut frames, request);
        let answer = answer.unwrap_or_else(|error| DoorAnswer::refused(&error));
        let sent = frames.send(&answer, MAX_ANSWER_BYTES);
        match sent {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                let refused = DoorAnswer::refused(&DriverError::failed(error.to_string()));
                frames.send(&refused, MAX_ANSWER_BYTES)?;
            }
            sent => sent?,
        }
    }
    Ok(())
}

fn answer(
    state: &DoorState,
    runtime: &Runtime,
    frames: &mut DoorFrames,
    request: DoorRequest,
) -> Result<DoorAnswer, DriverError> {
    let driver = &state.driver;
    match request {
        DoorRequest::LatestSequence { key } => {
            runtime.block_on(driver.latest_sequence(&key)).map(DoorAnswer::Sequence)
        }
        DoorRequest::Events { key, after, backwards, limit } => {
            let mut fetch = Fetch::ALL.limit(limit.min(PAGE_EVENTS));
            (fetch.after, fetch.backwards) = (after, backwards);
            let page = driver.fetch_page_now(&key, fetch).ok_or_else(no_pages)??;
            let more = page.more || page.events.len() >= PAGE_EVENTS;
            Ok(DoorAnswer::Events { events: page.events, more })
        }
        DoorRequest::Keys { prefix, after } => {
            if prefix.len() > MAX_PREFIX_BYTES {
                return Ok(DoorAnswer::Keys(Vec::new()));
            }
            let mut pages = driver.keys(&prefix, after.as_ref());
            loop {
                match runtime.block_on(pages.next()).transpose()? {
                    Some(page) if page.is_empty() => {}
                    page => return Ok(DoorAnswer::Keys(page.unwrap_or_default())),
                }
            }
        }
        DoorRequest::Log { from, backwards, limit } => {
            let fetch = LogFetch { from, backwards, limit: limit.min(PAGE_EVENTS) };
            let events = log(driver)?.log_page_now(fetch)?.events;
            Ok(DoorAnswer::Events { more: !events.is_empty(), events })
        }
        DoorRequest::LastPosition {} => log(driver)?.last_position().map(DoorAnswer::Position),
        DoorRequest::EventsBehind { position } => {
            events_behind(state, runtime, position).map(DoorAnswer::Position)
        }
        DoorRequest::Checkpoint { name } => {
            let loaded = runtime.block_on(log(driver)?.load_checkpoint(&name))?;
            Ok(DoorAnswer::Checkpoint(loaded.map(|bytes| bytes.to_vec())))
        }
        DoorRequest::Stats {} => Ok(DoorAnswer::Stats(stats(driver))),
        DoorRequest::Space {} => {
            let space = redb(driver).ok_or_else(no_pages)?.space()?;
            Ok(DoorAnswer::Space(DoorSpace {
                file_bytes: space.file_bytes,
                log_bytes: space.log_bytes,
                index_bytes: space.index_bytes,
                other_bytes: space.other_bytes,
                free_bytes: space.free_bytes,
            }))
        }
        DoorRequest::Verify {} => verify(state, frames),
    }
}

fn no_pages() -> DriverError {
    DriverError::unsupported("the driver cannot do this through a door")
}

fn log(driver: &Arc<dyn Driver>) -> Result<&dyn LogStore, DriverError> {
    driver.log().ok_or_else(|| DriverError::unsupported("the driver keeps no log"))
}

fn events_behind(
    state: &DoorState,
    runtime: &Runtime,
    position: Position,
) -> Result<Position, DriverError> {
    let log = log(&state.driver)?;
    let mut listener = log.bell().listen();
    let until = Instant::now() + WAIT;
    loop {
        listener.begin();
        let last = log.last_position()?;
        let left = until.saturating_duration_since(Instant::now());
        if last > position || left.is_zero() || state.is_closed() {
            return Ok(last);
        }
        let rung = runtime.block_on(async { tokio::time::timeout(left, listener.rung()).await });
        if rung == Ok(false) {
            return Err(DriverError::Closed);
        }
    }
}

fn stats(driver: &Arc<dyn Driver>) -> DoorStats {
    let told = driver.stats();
    let journal = told.journal.unwrap_or_default();
    DoorStats {
        events: told.events,
        keys: told.keys,
        disk_bytes: told.disk_bytes,
        journal_files: journal.files,
        journal_bytes: journal.bytes,
        tail_bytes: journal.tail_bytes,
        apply_lag_events: journal.apply_lag_events,
        reserve_bytes: journal.reserve_bytes,
    }
}

fn verify(state: &DoorState, frames: &mut DoorFrames) -> Result<DoorAnswer, DriverError> {
    let redb = redb(&state.driver).ok_or_else(no_pages)?;
    let Ok(_one) = state.verifying.try_lock() else {
        return Err(DriverError::unavailable("a verification is under way already"));
    };
    let verified = redb.verify_with(|done, total| {
        // A peer that went away wants no answer, and a long walk holds up closing.
        let sent = frames.send(&DoorAnswer::Progress { done, total }, MAX_ANSWER_BYTES);
        sent.map_err(|error| DriverError::failed(format!("nobody waits for it: {error}")))
    })?;
    Ok(DoorAnswer::Verified { events: verified.events, aggregates: verified.aggregates })
}
