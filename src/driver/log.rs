//! The log of a driver: every event of the store in commit order, by position.
//!
//! [`LogStore`] states what a driver with a log promises. Readers ask for pages; the [`LogBell`]
//! wakes readers that wait at the end of the log.

use std::sync::atomic::{Ordering, fence};

use bytes::Bytes;
use tokio::sync::watch;

use super::{DriverError, async_trait};
use crate::event::{KeyedEvent, Position};
use crate::user_code;

/// The longest name of a checkpoint, in bytes.
pub const MAX_CHECKPOINT_NAME_BYTES: usize = 512;

/// Which events of the log to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogFetch {
    /// The first position to read, in the direction of reading. `None` begins with the first event,
    /// or backwards with the last.
    pub from: Option<Position>,
    /// From later events to earlier ones.
    pub backwards: bool,
    /// No more events than this.
    pub limit: usize,
}

impl LogFetch {
    /// The whole log, forwards.
    pub const ALL: LogFetch = LogFetch { from: None, backwards: false, limit: usize::MAX };

    /// Begins with this position.
    pub fn from(mut self, position: impl Into<Position>) -> Self {
        self.from = Some(position.into());
        self
    }

    /// From later events to earlier ones.
    pub fn backwards(mut self) -> Self {
        self.backwards = true;
        self
    }

    /// No more events than this.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

/// Events of the log that follow one another.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LogPage {
    /// The events, in the order asked for, without a gap. Empty: there are none yet.
    pub events: Vec<KeyedEvent>,
}

impl LogPage {
    /// A page of these events.
    pub fn new(events: Vec<KeyedEvent>) -> Self {
        LogPage { events }
    }
}

/// The log of a driver: every event of the store in commit order. The driver gives each event a
/// dense [`Position`] when it commits the event. Beside the promises of every [driver](super), it
/// keeps these:
///
/// - **Only durable events are visible.** A page ends before the first event that is not yet as
///   durable as an answered put. An event that was in a page stays in the log, at the same
///   position.
/// - **A bell, not a queue.** Readers at the end wait for the [`LogBell`] and read again. No event
///   is handed from a writer to a reader, so a slow reader costs writers and memory nothing.
/// - **Checkpoints are as durable as events.** [`LogStore::save_checkpoint`] answers when the
///   checkpoint is as durable as an answered put. It shares the flush of concurrent puts and takes
///   no position. The futures of checkpoints are polled on the consumer's runtime and must not
///   depend on which.
///
/// A driver with a log also reads an aggregate's pages in the caller's thread
/// ([`Driver::fetch_page_now`](super::Driver::fetch_page_now)).
#[async_trait]
pub trait LogStore: Send + Sync {
    /// A page of the log: at least one event if there is one, and at most about 1 MiB (or one
    /// event). Read in the caller's thread, so it waits for nothing but the disk.
    ///
    /// # Errors
    ///
    /// [`DriverError::Closed`] after the driver was closed; otherwise why the log cannot be read.
    fn log_page_now(&self, fetch: LogFetch) -> Result<LogPage, DriverError>;

    /// The position of the last readable event; 0 if there is none.
    ///
    /// # Errors
    ///
    /// [`DriverError::Closed`] after the driver was closed.
    fn last_position(&self) -> Result<Position, DriverError>;

    /// The bell that rings after events became readable, and when the driver closes.
    fn bell(&self) -> &LogBell;

    /// The latest checkpoint of this name.
    async fn load_checkpoint(&self, name: &str) -> Result<Option<Bytes>, DriverError>;

    /// Replaces the checkpoint of this name; durable when answered.
    async fn save_checkpoint(&self, name: &str, checkpoint: Bytes) -> Result<(), DriverError>;
}

/// Wakes readers that wait at the end of a log. While nobody listens, ringing costs one atomic
/// load.
#[derive(Debug)]
pub struct LogBell(watch::Sender<()>);

impl Default for LogBell {
    fn default() -> Self {
        LogBell(watch::Sender::new(()))
    }
}

impl LogBell {
    /// Wakes all listeners. Call it after the new events became readable.
    pub fn ring(&self) {
        // A listener that registers after this point reads the log after it, and needs no ring. The
        // fence and its counterpart in `listen` make sure that one side sees the other.
        fence(Ordering::SeqCst);
        if self.0.receiver_count() > 0 {
            self.0.send_replace(());
        }
    }

    /// Listens from now on.
    pub fn listen(&self) -> LogListener {
        let listener = LogListener(self.0.subscribe());
        fence(Ordering::SeqCst);
        listener
    }
}

/// Hears a [`LogBell`]. Call [`LogListener::begin`], then read the log: each event that becomes
/// readable after `begin` rings.
#[derive(Clone, Debug)]
pub struct LogListener(watch::Receiver<()>);

impl LogListener {
    /// Forgets the rings so far: a read from here on sees the events that they announced.
    pub fn begin(&mut self) {
        self.0.mark_unchanged();
    }

    /// Waits for a ring since the last [`LogListener::begin`]. False if the driver is gone and no
    /// ring will come.
    pub async fn rung(&mut self) -> bool {
        // The bell is rung by a driver's thread, and for many listeners.
        user_code::with_guarded_waker(self.0.changed()).await.is_ok()
    }
}

/// Refuses a name that no checkpoint can have.
pub(crate) fn check_checkpoint_name(name: &str) -> Result<(), DriverError> {
    match name.len() {
        1..=MAX_CHECKPOINT_NAME_BYTES => Ok(()),
        bytes => Err(DriverError::failed(format!(
            "a checkpoint's name must have 1 to {MAX_CHECKPOINT_NAME_BYTES} bytes, not {bytes}"
        ))),
    }
}
