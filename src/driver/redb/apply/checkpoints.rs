//! Checkpoints of consumers: small byte strings by name, as durable as events.
//!
//! A checkpoint goes into the journal in a frame with the puts that wait beside it, or in one of
//! its own, and takes no position. What was saved last under each name is kept in memory (a store
//! has as many as it has consumers) and goes into redb with the apply transaction of its frame.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use redb::{
    Database, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction,
};
use tokio::sync::oneshot;

use crate::driver::DriverError;
use crate::driver::redb::failure::redb_failed;

/// Name → the checkpoint saved last.
const CHECKPOINTS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("checkpoints");

/// A checkpoint under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::driver::redb) struct Checkpoint {
    pub(in crate::driver::redb) name: Arc<str>,
    pub(in crate::driver::redb) bytes: Bytes,
}

/// A checkpoint in the writer's queue. Dropped unanswered, its fate is unknown.
pub(in crate::driver::redb) struct PendingCheckpoint {
    pub(in crate::driver::redb) checkpoint: Checkpoint,
    pub(in crate::driver::redb) done: oneshot::Sender<Result<(), DriverError>>,
}

/// The durable checkpoints.
#[derive(Default)]
pub(in crate::driver::redb) struct Checkpoints {
    latest: RwLock<BTreeMap<Arc<str>, Bytes>>,
}

impl Checkpoints {
    pub(in crate::driver::redb) fn load(database: &Database) -> Result<Self, DriverError> {
        let transaction = database.begin_read().map_err(redb_failed)?;
        let table = match transaction.open_table(CHECKPOINTS) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Self::default()),
            Err(error) => return Err(redb_failed(error)),
        };
        let mut latest = BTreeMap::new();
        for entry in table.iter().map_err(redb_failed)? {
            let (name, bytes) = entry.map_err(redb_failed)?;
            latest.insert(Arc::from(name.value()), Bytes::copy_from_slice(bytes.value()));
        }
        Ok(Checkpoints { latest: RwLock::new(latest) })
    }

    pub(in crate::driver::redb) fn get(&self, name: &str) -> Option<Bytes> {
        self.latest.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// These are durable, in this order.
    pub(in crate::driver::redb) fn publish(&self, saved: &[Checkpoint]) {
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        for checkpoint in saved {
            latest.insert(checkpoint.name.clone(), checkpoint.bytes.clone());
        }
    }
}

/// Puts these into redb, in this order.
pub(in crate::driver::redb) fn write<'a>(
    transaction: &WriteTransaction,
    saved: impl Iterator<Item = &'a Checkpoint>,
) -> Result<(), DriverError> {
    let latest: BTreeMap<&str, &Bytes> =
        saved.map(|checkpoint| (&*checkpoint.name, &checkpoint.bytes)).collect();
    if latest.is_empty() {
        return Ok(());
    }
    let mut table = transaction.open_table(CHECKPOINTS).map_err(redb_failed)?;
    for (name, bytes) in latest {
        table.insert(name, &**bytes).map_err(redb_failed)?;
    }
    Ok(())
}
