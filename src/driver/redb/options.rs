//! How a store is opened: [`RedbBuilder`], and what a URL says of it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::driver::DriverError;

/// What an answered put survives.
///
/// ```
/// use seriatim::EventStore;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let directory = folder.path().display();
/// // Fast, for data that may be lost when the power fails.
/// let store = EventStore::open(format!("redb:{directory}?durability=written")).await?;
/// # store.close().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A loss of power: an answer comes after the flush. The default.
    #[default]
    Flushed,
    /// The process being killed, but **not** a loss of power or a crash of the operating system,
    /// which may take back the last [`RedbBuilder::flush_interval`] of answered puts. An answer
    /// comes after the write; the flush follows in the background. What is taken back is always the
    /// end: order and atomicity stay, and no event stays without those before it.
    Written,
}

/// What a long step of opening, [`RedbBuilder::compact`],
/// [`RedbDriver::verify`](super::RedbDriver::verify) or
/// [`RedbDriver::reindex`](super::RedbDriver::reindex) is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// redb repairs its file after a crash; counted in thousandths.
    Repairing,
    /// The journal's rest goes into redb; counted in bytes.
    Replaying,
    /// The log and the index are walked; counted in events.
    Verifying,
    /// The index is rebuilt; counted in events.
    Reindexing,
    /// redb's file is made smaller; counted in bytes that were written. How many there will be is
    /// not known: the total is what is done.
    Compacting,
}

/// How far a long step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Which step.
    pub step: Step,
    /// How much is done.
    pub done: u64,
    /// How much there is to do.
    pub total: u64,
}

type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// Opens a [`RedbDriver`](super::RedbDriver) otherwise than by default.
///
/// ```no_run
/// use seriatim::driver::redb::{Durability, RedbDriver};
///
/// let driver = RedbDriver::builder()
///     .durability(Durability::Written)
///     .progress(|p| eprintln!("{:?}: {} of {}", p.step, p.done, p.total))
///     .open("./data")?;
/// # Ok::<(), seriatim::driver::DriverError>(())
/// ```
#[derive(Clone)]
pub struct RedbBuilder {
    pub(in crate::driver::redb) durability: Durability,
    pub(in crate::driver::redb) flush_interval: Duration,
    pub(in crate::driver::redb) journal_file_bytes: u64,
    pub(in crate::driver::redb) tail_bytes: usize,
    pub(in crate::driver::redb) cache_bytes: usize,
    pub(in crate::driver::redb) segment_cache_bytes: usize,
    pub(in crate::driver::redb) apply_after: Duration,
    pub(in crate::driver::redb) rebuild_index: bool,
    pub(in crate::driver::redb) progress: Option<OnProgress>,
}

impl Default for RedbBuilder {
    fn default() -> Self {
        RedbBuilder {
            durability: Durability::Flushed,
            flush_interval: Duration::from_millis(100),
            journal_file_bytes: 64 << 20,
            tail_bytes: 64 << 20,
            cache_bytes: 96 << 20,
            segment_cache_bytes: 64 << 20,
            apply_after: Duration::from_secs(1),
            rebuild_index: false,
            progress: None,
        }
    }
}

impl fmt::Debug for RedbBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbBuilder")
            .field("durability", &self.durability)
            .field("flush_interval", &self.flush_interval)
            .field("journal_file_bytes", &self.journal_file_bytes)
            .field("tail_bytes", &self.tail_bytes)
            .field("cache_bytes", &self.cache_bytes)
            .field("segment_cache_bytes", &self.segment_cache_bytes)
            .field("apply_after", &self.apply_after)
            .field("rebuild_index", &self.rebuild_index)
            .finish_non_exhaustive()
    }
}

impl RedbBuilder {
    /// The smallest journal file.
    pub const MIN_JOURNAL_FILE_BYTES: u64 = 64 << 10;

    /// What an answered put survives; [`Durability::Flushed`] unless told.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How often the journal is flushed under [`Durability::Written`]; 100 ms unless told.
    pub fn flush_interval(mut self, interval: Duration) -> Self {
        self.flush_interval = interval;
        self
    }

    /// The largest size of a journal file, in bytes: 64 MiB unless told, at least
    /// [`RedbBuilder::MIN_JOURNAL_FILE_BYTES`]. Over 4 MiB a file grows only for a frame that needs
    /// it. A put never takes more than a quarter of this, so a smaller one lowers the driver's
    /// [`Limits`](crate::driver::Limits).
    pub fn journal_file_bytes(mut self, bytes: u64) -> Self {
        self.journal_file_bytes = bytes.max(Self::MIN_JOURNAL_FILE_BYTES).next_multiple_of(4096);
        self
    }

    /// How many bytes of journaled events may wait in memory for redb; 64 MiB unless told. Over
    /// this, puts wait. What redb's index does not have yet takes up to about as much again, where
    /// events are of very many aggregates.
    pub fn tail_bytes(mut self, bytes: usize) -> Self {
        self.tail_bytes = bytes.max(1);
        self
    }

    /// The memory redb may use to keep pages, in bytes; 96 MiB unless told.
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// The memory in which pages of the log that were read lately are kept, in bytes; 64 MiB unless
    /// told, 0 for none. It is filled by reading aggregates, not by appends or subscriptions, and
    /// helps most where an aggregate's events were written among many others'.
    pub fn segment_cache_bytes(mut self, bytes: usize) -> Self {
        self.segment_cache_bytes = bytes;
        self
    }

    /// How long an event waits for others before it goes from the journal into redb; 1 s unless
    /// told. It is readable all the while. A large store waits longer, until more events have come,
    /// because each transaction costs a share of redb's file.
    pub fn apply_after(mut self, pause: Duration) -> Self {
        self.apply_after = pause;
        self
    }

    /// Rebuilds the index from the log on opening, before the journal is replayed. This is for a
    /// store whose index is damaged, and that may not open because of it. What is damaged stays in
    /// the file, unused. It takes as long as reading the whole log.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), seriatim::driver::DriverError> {
    /// use seriatim::driver::redb::RedbDriver;
    ///
    /// let driver = RedbDriver::builder().rebuild_index().open("./data")?;
    /// driver.verify()?;
    /// # Ok(()) }
    /// ```
    pub fn rebuild_index(mut self) -> Self {
        self.rebuild_index = true;
        self
    }

    /// Is told how far opening, verifying, reindexing and compacting have come.
    pub fn progress(mut self, progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    pub(in crate::driver::redb) fn tell(&self, step: Step, done: u64, total: u64) {
        if let Some(progress) = &self.progress {
            progress(Progress { step, done, total });
        }
    }

    /// What stands behind `redb:` in a URL: the directory, then perhaps `?durability=flushed` or
    /// `?durability=written`.
    pub(in crate::driver::redb) fn from_url(
        rest: &str,
    ) -> Result<(RedbBuilder, PathBuf), DriverError> {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path.is_empty() {
            return Err(DriverError::failed("a directory must follow \"redb:\""));
        }
        let mut builder = RedbBuilder::default();
        for option in query.split('&').filter(|option| !option.is_empty()) {
            builder = match option {
                "durability=flushed" => builder.durability(Durability::Flushed),
                "durability=written" => builder.durability(Durability::Written),
                _ => {
                    return Err(DriverError::failed(format!(
                        "{option:?} is not an option of redb: write durability=flushed or \
                         durability=written"
                    )));
                }
            };
        }
        Ok((builder, PathBuf::from(path)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_directory_and_perhaps_the_durability() {
        let read = |rest| RedbBuilder::from_url(rest).map(|(b, path)| (b.durability, path));
        let path = PathBuf::from("./data");
        assert_eq!(read("./data").unwrap(), (Durability::Flushed, path.clone()));
        assert_eq!(read("./data?durability=flushed").unwrap(), (Durability::Flushed, path.clone()));
        assert_eq!(read("./data?durability=written").unwrap(), (Durability::Written, path));
        for bad in ["", "?durability=written", "./data?durability=maybe", "./data?sync=1"] {
            assert!(read(bad).is_err(), "{bad:?} was taken");
        }
    }
}
