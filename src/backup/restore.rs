//! Restoring a backup into an empty store, and checking it without writing.
//!
//! The events go to the driver in position order, whole appends together, and the driver's answer
//! must give each the position that it had. A store that holds the beginning of the backup already,
//! because a restore was killed, is compared and then filled up.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::vec;

use super::block::is_same_append;
use super::contents::{BackupContents, BackupProgress, TellProgress, tell};
use super::error::BackupError;
use super::source::OpenedBackup;
use crate::driver::{Driver, DriverError, Limits, LogFetch, LogStore, Put};
use crate::error::NoLog;
use crate::event::{AggregateKey, KeyedEvent, Position, Timestamp};

/// What a put holds at most: more is not quicker.
const PUT_EVENTS: usize = 500;
const PUT_BYTES: usize = 1 << 20;
/// Events that are compared at once.
const PAGE_EVENTS: usize = 1_000;

/// A backup to restore or to check.
///
/// ```no_run
/// use seriatim::backup::Restore;
/// use seriatim::driver::redb::RedbDriver;
/// use seriatim::driver::Driver;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let restore = Restore::from_dir("/backups/app").to_position(1_000);
/// restore.check()?;
/// let driver = RedbDriver::open("./restored")?;
/// restore.into_driver(&driver).await?;
/// driver.close().await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is restored before it is told where"]
pub struct Restore {
    source: PathBuf,
    to_position: Option<Position>,
    to_time: Option<Timestamp>,
    on_progress: Option<TellProgress>,
}

/// What a restore did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// Events that were written; those that an earlier restore wrote are not counted.
    pub events: u64,
    /// The last position of the restored store; 0 if there is no event.
    pub last: Position,
    /// When the last event was recorded.
    pub last_recorded_at: Option<Timestamp>,
}

impl Restore {
    /// The backup in this directory.
    pub fn from_dir(source: impl Into<PathBuf>) -> Self {
        Restore { source: source.into(), to_position: None, to_time: None, on_progress: None }
    }

    /// Ends with this position, or before it where it stands within an append: appends are restored
    /// whole.
    pub fn to_position(mut self, position: impl Into<Position>) -> Self {
        self.to_position = Some(position.into());
        self
    }

    /// Ends with the last append that was recorded at this time or earlier.
    pub fn to_time(mut self, time: impl Into<Timestamp>) -> Self {
        self.to_time = Some(time.into());
        self
    }

    /// Calls this now and then.
    pub fn on_progress(mut self, tell: impl Fn(BackupProgress) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Box::new(tell));
        self
    }

    /// What the backup holds, as its manifest says; its files are not read.
    ///
    /// # Errors
    ///
    /// [`BackupError`] where there is no backup, or where it ends before the wanted position.
    pub fn contents(&self) -> Result<BackupContents, BackupError> {
        let source = OpenedBackup::open(&self.source)?;
        self.end(&source)?;
        Ok(BackupContents::of(&source.manifest))
    }

    /// Reads the whole backup and checks it: the manifest, each file and its checksums, that
    /// positions are dense and that every event can be decoded. It writes nothing. It blocks its
    /// thread for as long as reading takes.
    ///
    /// # Errors
    ///
    /// [`BackupError::Damaged`] names the first file that is damaged or missing.
    pub fn check(&self) -> Result<BackupContents, BackupError> {
        let source = OpenedBackup::open(&self.source)?;
        let total = self.end(&source)?.get();
        // A missing file is named before the others are read.
        for file in &source.manifest.files {
            source.file(*file)?;
        }
        let mut done = 0;
        for file in &source.manifest.files {
            let mut file = source.file(*file)?;
            while let Some(block) = file.next_block()? {
                done += block.events.len() as u64;
                tell(&self.on_progress, done.min(total), total);
            }
        }
        Ok(BackupContents::of(&source.manifest))
    }

    /// Writes the events into the driver, which has a log and is empty, or holds the beginning of
    /// this backup. Nothing else may write to it meanwhile. Events keep their positions.
    ///
    /// Files are read in the thread that polls the future, a block at a time. A driver of an engine
    /// needs its own runtime; the embedded ones need none. Dropping the future leaves the events
    /// that were written.
    ///
    /// # Errors
    ///
    /// [`BackupError`]. What stands before the damage is restored nevertheless.
    pub async fn into_driver(&self, driver: &dyn Driver) -> Result<Restored, BackupError> {
        let log = driver.log().ok_or(NoLog::default())?;
        let source = OpenedBackup::open(&self.source)?;
        let total = self.end(&source)?.get();
        let mut sink = Sink::new(driver, log)?;
        let mut append: Vec<KeyedEvent> = Vec::new();
        'all: for listed in &source.manifest.files {
            let mut file = source.file(*listed)?;
            while let Some(block) = file.next_block()? {
                for event in block.events {
                    if append.first().is_some_and(|first| !is_same_append(first, &event)) {
                        if !self.wants(&append) {
                            append.clear();
                            break 'all;
                        }
                        sink.take(std::mem::take(&mut append)).await?;
                    }
                    append.push(event);
                }
                tell(&self.on_progress, sink.last.get(), total);
            }
        }
        if !append.is_empty() && self.wants(&append) {
            sink.take(append).await?;
        }
        sink.finish().await
    }

    /// The position to end with, as far as it is known before the events are read.
    fn end(&self, source: &OpenedBackup) -> Result<Position, BackupError> {
        let last = source.manifest.last();
        match self.to_position {
            Some(wanted) if wanted > last => Err(BackupError::EndsBefore { wanted, last }),
            Some(wanted) => Ok(wanted),
            None => Ok(last),
        }
    }

    fn wants(&self, append: &[KeyedEvent]) -> bool {
        let Some(last) = append.last() else { return true };
        self.to_position.is_none_or(|to| last.position.is_some_and(|position| position <= to))
            && self.to_time.is_none_or(|to| last.recorded_at <= to)
    }
}

impl std::fmt::Debug for Restore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restore")
            .field("source", &self.source)
            .field("to_position", &self.to_position)
            .field("to_time", &self.to_time)
            .finish_non_exhaustive()
    }
}

fn bytes_of(events: &[KeyedEvent]) -> usize {
    events.iter().map(KeyedEvent::size_bytes).sum()
}

/// The store that is filled.
struct Sink<'a> {
    driver: &'a dyn Driver,
    log: &'a dyn LogStore,
    limits: Limits,
    /// The last position that the store held at first; its events are compared.
    there: Position,
    compared: vec::IntoIter<KeyedEvent>,
    put: Vec<KeyedEvent>,
    keys: HashSet<AggregateKey>,
    put_bytes: usize,
    written: u64,
    last: Position,
    last_recorded_at: Option<Timestamp>,
}

impl<'a> Sink<'a> {
    fn new(driver: &'a dyn Driver, log: &'a dyn LogStore) -> Result<Self, BackupError> {
        Ok(Sink {
            driver,
            log,
            limits: driver.limits(),
            there: log.last_position()?,
            compared: Vec::new().into_iter(),
            put: Vec::new(),
            keys: HashSet::new(),
            put_bytes: 0,
            written: 0,
            last: Position::default(),
            last_recorded_at: None,
        })
    }

    async fn take(&mut self, append: Vec<KeyedEvent>) -> Result<(), BackupError> {
        if !self.is_small_with(&append) || !self.fits(&append) {
            self.flush().await?;
        }
        for event in append {
            let position = event.position.unwrap_or_default();
            self.last_recorded_at = Some(event.recorded_at);
            if position <= self.there {
                self.compare(&event)?;
            } else {
                // An append that no put of this driver can hold is split.
                if !self.fits(std::slice::from_ref(&event)) {
                    self.flush().await?;
                }
                self.put_bytes += event.size_bytes();
                self.keys.insert(event.key.clone());
                self.put.push(event);
            }
            self.last = position;
        }
        Ok(())
    }

    /// Whether the driver takes these events of one aggregate in this put, too.
    fn fits(&self, more: &[KeyedEvent]) -> bool {
        let Some(first) = more.first() else { return true };
        let is_adjacent = self.put.last().is_some_and(|last| last.key == first.key);
        let has_key_room = is_adjacent
            || (!self.keys.contains(&first.key)
                && self.keys.len() < self.limits.aggregates_per_put);
        has_key_room
            && self.put.len() + more.len() <= self.limits.events_per_put
            && self.put_bytes + bytes_of(more) <= self.limits.bytes_per_put
    }

    fn is_small_with(&self, more: &[KeyedEvent]) -> bool {
        self.put.len() + more.len() <= PUT_EVENTS && self.put_bytes + bytes_of(more) <= PUT_BYTES
    }

    fn compare(&mut self, event: &KeyedEvent) -> Result<(), BackupError> {
        let position = event.position.unwrap_or_default();
        if self.compared.as_slice().is_empty() {
            let fetch = LogFetch::ALL.from(position).limit(PAGE_EVENTS);
            self.compared = self.log.log_page_now(fetch)?.events.into_iter();
        }
        match self.compared.next() {
            Some(found) if found == *event => Ok(()),
            _ => Err(BackupError::OtherEvents { position }),
        }
    }

    async fn flush(&mut self) -> Result<(), BackupError> {
        let mut events = std::mem::take(&mut self.put);
        self.keys.clear();
        self.put_bytes = 0;
        let Some(first) = events.first().and_then(|event| event.position) else { return Ok(()) };
        for event in &mut events {
            event.position = None;
        }
        let count = events.len() as u64;
        let put = Put::new(events).map_err(|e| DriverError::damaged(e.to_string()))?;
        let receipt = self.driver.put_events(Arc::new(put)).await?;
        if receipt.first_position != Some(first) {
            return Err(BackupError::OtherEvents { position: first });
        }
        self.written += count;
        Ok(())
    }

    async fn finish(mut self) -> Result<Restored, BackupError> {
        self.flush().await?;
        if self.there > self.last {
            return Err(BackupError::OtherEvents { position: self.last.plus(1) });
        }
        let (last, last_recorded_at) = (self.last, self.last_recorded_at);
        Ok(Restored { events: self.written, last, last_recorded_at })
    }
}
