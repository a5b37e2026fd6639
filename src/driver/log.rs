//! The log of a driver: every event of the store in commit order, by position.
//!
//! What a driver with a log promises is said at [`LogStore`]. Readers ask for pages; the [`LogBell`] tells those who
//! wait at the end that there is more.

use std::sync::atomic::{Ordering, fence};

use bytes::Bytes;
use tokio::sync::watch;

use super::{DriverError, async_trait};
use crate::event::{KeyedEvent, Position};

/// The longest name of a checkpoint, in bytes.
pub const MAX_CHECKPOINT_NAME_BYTES: usize = 512;

/// Which events of the log are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogFetch {
    /// The first position wanted, in the direction of reading. `None` begins with the first event, or
    /// backwards with the last.
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
    /// The events, in the order asked for, without a gap. None: there are none so far.
    pub events: Vec<KeyedEvent>,
}

impl LogPage {
    /// A page of these events.
    pub fn new(events: Vec<KeyedEvent>) -> Self {
        LogPage { events }
    }
}

/// The log of a driver: every event of the store in commit order. The driver gives each event a dense [`Position`]
/// when it commits it, and lets readers walk along. It promises, beside what every [driver](super) does:
///
/// - **Only what stays is shown.** A page ends before the first event that is not yet as durable as an
///   answered put. What was in a page once is in it for ever, in the same place.
/// - **A bell, not a queue.** Readers that have come to the end wait for the [`LogBell`] and read again. No
///   event is ever handed from a writer to a reader, so a slow reader costs writers and memory nothing.
/// - **Checkpoints are kept like events.** [`LogStore::save_checkpoint`] is answered when it is as durable
///   as an answered put, shares the flush of the puts beside it, and takes no position. What is asked of
///   checkpoints is awaited where a consumer runs, on any runtime, and must not depend on which.
///
/// A driver with a log also reads an aggregate's pages at once
/// ([`Driver::fetch_page_now`](super::Driver::fetch_page_now)).
#[async_trait]
pub trait LogStore: Send + Sync {
    /// A page of the log: at least one event where there is one, and no more than fits in about 1 MiB (or
    /// is one event). Read in the caller's thread, so it waits for nothing but the disk.
    ///
    /// # Errors
    ///
    /// [`DriverError::Closed`] after the driver was closed; otherwise why the log cannot be read.
    fn log_page_now(&self, fetch: LogFetch) -> Result<LogPage, DriverError>;

    /// The position of the last event that can be read; 0 where there is none.
    ///
    /// # Errors
    ///
    /// [`DriverError::Closed`] after the driver was closed.
    fn last_position(&self) -> Result<Position, DriverError>;

    /// The bell that is rung after events became readable, and when the driver closes.
    fn bell(&self) -> &LogBell;

    /// The checkpoint saved last under this name.
    async fn load_checkpoint(&self, name: &str) -> Result<Option<Bytes>, DriverError>;

    /// Keeps this checkpoint in place of an earlier one of the same name; durable when answered.
    async fn save_checkpoint(&self, name: &str, checkpoint: Bytes) -> Result<(), DriverError>;
}

/// Wakes those who wait at the end of a log. Ringing costs one atomic load while nobody listens.
#[derive(Debug)]
pub struct LogBell(watch::Sender<()>);

impl Default for LogBell {
    fn default() -> Self {
        LogBell(watch::Sender::new(()))
    }
}

impl LogBell {
    /// Wakes all listeners. To be called after what they will read can be read.
    pub fn ring(&self) {
        // Who begins to listen only now reads the log after that, and needs no ring. The fence and its
        // counterpart see to it that one of both sees the other.
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

/// Hears a [`LogBell`]. Read the log after [`LogListener::begin`]; what becomes readable later is rung.
#[derive(Clone, Debug)]
pub struct LogListener(watch::Receiver<()>);

impl LogListener {
    /// Forgets the rings so far: what they told of will be seen by reading now.
    pub fn begin(&mut self) {
        self.0.mark_unchanged();
    }

    /// Waits for a ring since the last [`LogListener::begin`]. False when there will be none: the driver
    /// is gone.
    pub async fn rung(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

/// Refuses the name of a checkpoint that is none.
pub(crate) fn check_checkpoint_name(name: &str) -> Result<(), DriverError> {
    match name.len() {
        1..=MAX_CHECKPOINT_NAME_BYTES => Ok(()),
        bytes => Err(DriverError::failed(format!(
            "the name of a checkpoint has {bytes} bytes; 1 to {MAX_CHECKPOINT_NAME_BYTES} are allowed"
        ))),
    }
}
