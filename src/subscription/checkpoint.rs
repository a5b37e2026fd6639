//! The records of a consumer in the store's own data: its position and its parked aggregates.
//!
//! There are two records, because the first is written often and the second rarely. A parked
//! aggregate is recorded *before* the checkpoint passes its event, so a crash in between leaves the
//! event parked.
//!
//! | name | content, as JSON |
//! |---|---|
//! | `consumer/{name}` | `{"version":1,"position":…,"begin":…}`, and `"projection":true` for one |
//! | `consumers/` | `{"version":1,"names":[…]}`: the consumers that have run |
//! | `parked/{name}` | `{"version":1,"aggregates":[…]}`, of key, sequence, position, reason |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::error::ConsumerError;
use crate::driver::bounded::guarded;
use crate::driver::{DriverError, LogStore};
use crate::event::{AggregateKey, Position, Sequence};
use crate::mailroom::Mailroom;

const VERSION: u32 = 1;

/// How far a consumer has come.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct ConsumerCheckpoint {
    version: u32,
    pub(super) position: Position,
    /// The position before the first event of its first run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) begin: Option<Position>,
    /// Whether the name belongs to a projection, whose own position counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) projection: bool,
}

impl ConsumerCheckpoint {
    pub(super) fn new(begin: Position, projection: bool) -> Self {
        ConsumerCheckpoint { version: VERSION, position: begin, begin: Some(begin), projection }
    }

    pub(super) fn at(self, position: Position) -> Self {
        ConsumerCheckpoint { position, ..self }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredParked {
    version: u32,
    aggregates: Vec<Parked>,
}

#[derive(Default, Serialize, Deserialize)]
pub(super) struct StoredNames {
    version: u32,
    names: BTreeSet<String>,
}

/// What is read of a record before the rest of it is.
#[derive(Deserialize)]
struct RecordVersion {
    version: u32,
}

/// An aggregate whose events a consumer skips, because one of them failed.
///
/// ```
/// use std::time::Duration;
/// use seriatim::subscription::OnFailure;
/// use seriatim::{Append, EventStore, KeyedEvent, NewEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let consumer = store.consumer("mailer").on_failure(OnFailure::Park);
/// let once = consumer.retry(1, Duration::ZERO, Duration::ZERO);
/// let run = once.run(|_: KeyedEvent| async { Err("the mail server is down") });
/// let mailer = run.handle();
/// let running = tokio::spawn(run);
///
/// let placed = Append::to("order/1").event(NewEvent::raw("Placed", "{}"));
/// let appended = store.append(placed).await?;
/// mailer.wait_for_append(&appended, Duration::from_secs(5)).await?;
/// let parked = mailer.parked().await?.remove(0);
/// assert_eq!((parked.key.as_str(), parked.sequence.get()), ("order/1", 1));
///
/// // After the fault is repaired; it is not, here.
/// let retried = mailer.retry_parked_aggregate(&parked.key).await?;
/// assert_eq!(retried.still_parked, 1);
/// mailer.discard_parked(&parked.key).await?;
/// assert!(mailer.parked().await?.is_empty());
/// # mailer.stop();
/// # running.await??;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Parked {
    /// The aggregate.
    pub key: AggregateKey,
    /// Its first parked event: the one that failed. All later ones are parked too.
    pub sequence: Sequence,
    /// The position of that event.
    pub position: Position,
    /// The reason of the last failure.
    pub reason: String,
}

impl Parked {
    pub(super) fn new(
        key: AggregateKey,
        sequence: Sequence,
        position: Position,
        why: &str,
    ) -> Self {
        // The record is written whole each time, and a reason only informs people.
        let reason = why.chars().take(500).collect();
        Parked { key, sequence, position, reason }
    }
}

pub(super) type ParkedAggregates = BTreeMap<AggregateKey, Parked>;

/// The stored records of one consumer.
#[derive(Clone)]
pub(super) struct ConsumerRecords {
    mailroom: Arc<Mailroom>,
    name: Arc<str>,
}

impl ConsumerRecords {
    pub(super) fn new(mailroom: Arc<Mailroom>, name: Arc<str>) -> Self {
        ConsumerRecords { mailroom, name }
    }

    /// The checkpoint, if one was saved.
    pub(super) async fn checkpoint(&self) -> Result<Option<ConsumerCheckpoint>, ConsumerError> {
        self.load("consumer").await
    }

    pub(super) async fn save_checkpoint(
        &self,
        checkpoint: ConsumerCheckpoint,
    ) -> Result<(), ConsumerError> {
        self.save("consumer", &checkpoint).await
    }

    pub(super) async fn parked(&self) -> Result<ParkedAggregates, ConsumerError> {
        let stored: Option<StoredParked> = self.load("parked").await?;
        let parked = stored.map(|stored| stored.aggregates).unwrap_or_default();
        Ok(parked.into_iter().map(|parked| (parked.key.clone(), parked)).collect())
    }

    pub(super) async fn save_parked(&self, parked: &ParkedAggregates) -> Result<(), ConsumerError> {
        let aggregates = parked.values().cloned().collect();
        self.save("parked", &StoredParked { version: VERSION, aggregates }).await
    }

    /// The names of the consumers that have run.
    pub(super) async fn names(mailroom: &Arc<Mailroom>) -> Result<BTreeSet<String>, ConsumerError> {
        let all = ConsumerRecords::new(mailroom.clone(), "".into());
        let stored: Option<StoredNames> = all.load("consumers").await?;
        Ok(stored.unwrap_or_default().names)
    }

    /// Adds the name to those that have run.
    pub(super) async fn register(&self) -> Result<(), ConsumerError> {
        self.change_names(|names| names.insert(self.name.to_string())).await
    }

    /// Forgets the consumer. An empty record counts as none.
    pub(super) async fn delete(&self) -> Result<(), ConsumerError> {
        self.save_bytes("consumer", Bytes::new()).await?;
        self.save_bytes("parked", Bytes::new()).await?;
        self.change_names(|names| names.remove(&*self.name)).await
    }

    /// Saves the names if `change` says that it changed them.
    async fn change_names(
        &self,
        change: impl FnOnce(&mut BTreeSet<String>) -> bool,
    ) -> Result<(), ConsumerError> {
        // One change at a time: each reads the record and writes it whole.
        let _turn = self.mailroom.consumers.names.lock().await;
        let mut names = Self::names(&self.mailroom).await?;
        if !change(&mut names) {
            return Ok(());
        }
        let all = ConsumerRecords::new(self.mailroom.clone(), "".into());
        all.save("consumers", &StoredNames { version: VERSION, names }).await
    }

    async fn load<T: DeserializeOwned>(&self, what: &str) -> Result<Option<T>, ConsumerError> {
        let name = format!("{what}/{}", self.name);
        let stored = answered(|| async { self.log()?.load_checkpoint(&name).await }).await;
        let Some(bytes) = stored.map_err(|error| self.failed(error))? else { return Ok(None) };
        if bytes.is_empty() {
            return Ok(None);
        }
        let unreadable = |why: String| {
            self.failed(DriverError::damaged(format!("the {what} record cannot be read: {why}")))
        };
        let RecordVersion { version } =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        if version != VERSION {
            return Err(unreadable(format!("its version {version} is not known")));
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|error| unreadable(error.to_string()))
    }

    async fn save<T: Serialize>(&self, what: &str, record: &T) -> Result<(), ConsumerError> {
        let bytes = serde_json::to_vec(record).map(Bytes::from).map_err(|error| {
            self.failed(DriverError::failed(format!("the {what} record: {error}")))
        })?;
        self.save_bytes(what, bytes).await
    }

    async fn save_bytes(&self, what: &str, bytes: Bytes) -> Result<(), ConsumerError> {
        let name = format!("{what}/{}", self.name);
        let saved = answered(|| async { self.log()?.save_checkpoint(&name, bytes).await }).await;
        saved.map_err(|error| self.failed(error))
    }

    fn log(&self) -> Result<&dyn LogStore, DriverError> {
        self.mailroom.driver.log().ok_or(DriverError::Closed)
    }

    fn failed(&self, source: DriverError) -> ConsumerError {
        match source {
            DriverError::Closed => ConsumerError::Closed,
            source => ConsumerError::Checkpoint { name: self.name.to_string(), source },
        }
    }
}

/// Awaits a driver's answer. A panic of the driver is an error.
async fn answered<F, T>(call: impl FnOnce() -> F) -> Result<T, DriverError>
where
    F: Future<Output = Result<T, DriverError>>,
{
    let panicked = |_| Err(DriverError::unknown("the driver panicked at a checkpoint"));
    guarded(call).await.unwrap_or_else(panicked)
}
