//! The records of a consumer in the store's own data: its position and its parked aggregates.
//!
//! There are two records, because the first is written often and the second rarely. A parked
//! aggregate is recorded *before* the checkpoint passes its event, so a crash in between leaves the
//! event parked.
//!
//! | name | content, as JSON |
//! |---|---|
//! | `consumer/{name}` | `{"version":1,"position":…}` |
//! | `parked/{name}` | `{"version":1,"aggregates":[…]}`, of key, sequence, position, reason |

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::error::ConsumerError;
use crate::driver::bounded::guarded;
use crate::driver::{DriverError, LogStore};
use crate::event::{AggregateKey, Position, Sequence};
use crate::mailroom::Mailroom;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct StoredPosition {
    version: u32,
    position: Position,
}

#[derive(Serialize, Deserialize)]
struct StoredParked {
    version: u32,
    aggregates: Vec<Parked>,
}

/// An aggregate whose events a consumer skips, because one of them failed.
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

    /// The position in the checkpoint, if one was saved.
    pub(super) async fn position(&self) -> Result<Option<Position>, ConsumerError> {
        let stored: Option<StoredPosition> = self.load("consumer").await?;
        Ok(stored.map(|stored| stored.position))
    }

    pub(super) async fn save_position(&self, position: Position) -> Result<(), ConsumerError> {
        self.save("consumer", &StoredPosition { version: VERSION, position }).await
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

    async fn load<T: DeserializeOwned>(&self, what: &str) -> Result<Option<T>, ConsumerError> {
        let name = format!("{what}/{}", self.name);
        let stored = answered(|| async { self.log()?.load_checkpoint(&name).await }).await;
        let Some(bytes) = stored.map_err(|error| self.failed(error))? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            self.failed(DriverError::damaged(format!("the {what} record cannot be read: {error}")))
        })
    }

    async fn save<T: Serialize>(&self, what: &str, record: &T) -> Result<(), ConsumerError> {
        let name = format!("{what}/{}", self.name);
        let bytes = serde_json::to_vec(record).map(Bytes::from).map_err(|error| {
            self.failed(DriverError::failed(format!("the {what} record: {error}")))
        })?;
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
