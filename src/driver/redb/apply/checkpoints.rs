//! Checkpoints of consumers: small byte strings by name, as durable as events.
//!
//! A checkpoint goes into the journal in a frame with the puts that wait beside it, or in one of
//! its own, and takes no position. What was saved last under each name is kept in memory (a store
//! has as many as it has consumers) and goes into redb with the apply transaction of its frame.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use redb::{Database, ReadTransaction, ReadableDatabase, TableDefinition, WriteTransaction};
use tokio::sync::oneshot;

use crate::driver::DriverError;
use crate::driver::redb::failure::redb_failed;
use crate::driver::redb::format::sealed::{seal, unseal};
use crate::driver::redb::format::tables::for_each_value;

/// Name → the checkpoint saved last, sealed.
const CHECKPOINTS: TableDefinition<'static, &str, &[u8]> =
    TableDefinition::new("sealed_checkpoints");
/// The same without a seal, as an earlier version wrote it. Only read.
const UNSEALED: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("checkpoints");

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
    /// `None` for a damaged one.
    latest: RwLock<BTreeMap<Arc<str>, Option<Bytes>>>,
}

impl Checkpoints {
    pub(in crate::driver::redb) fn load(database: &Database) -> Result<Self, DriverError> {
        let transaction = database.begin_read().map_err(redb_failed)?;
        let mut latest = BTreeMap::new();
        for_each_value(&transaction, UNSEALED, |name, bytes| {
            latest.insert(Arc::from(name), Some(Bytes::copy_from_slice(bytes)));
            Ok(())
        })?;
        for_each_value(&transaction, CHECKPOINTS, |name, sealed| {
            let bytes = unseal(name.as_bytes(), sealed).map(Bytes::copy_from_slice);
            latest.insert(Arc::from(name), bytes);
            Ok(())
        })?;
        Ok(Checkpoints { latest: RwLock::new(latest) })
    }

    /// The checkpoint under this name.
    ///
    /// # Errors
    ///
    /// It is damaged.
    pub(in crate::driver::redb) fn get(&self, name: &str) -> Result<Option<Bytes>, DriverError> {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        match latest.get(name) {
            None => Ok(None),
            Some(bytes) => bytes.clone().ok_or_else(|| damaged(name)).map(Some),
        }
    }

    /// These are durable, in this order.
    pub(in crate::driver::redb) fn publish(&self, saved: &[Checkpoint]) {
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        for checkpoint in saved {
            latest.insert(checkpoint.name.clone(), Some(checkpoint.bytes.clone()));
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
        let sealed = seal(name.as_bytes(), bytes);
        table.insert(name, sealed.as_slice()).map_err(redb_failed)?;
    }
    Ok(())
}

/// Whether every checkpoint is as it was written.
pub(in crate::driver::redb) fn verify(transaction: &ReadTransaction) -> Result<(), DriverError> {
    for_each_value(transaction, CHECKPOINTS, |name, sealed| {
        unseal(name.as_bytes(), sealed).map(drop).ok_or_else(|| damaged(name))
    })
}

fn damaged(name: &str) -> DriverError {
    DriverError::damaged(format!("the checkpoint {name:?} is damaged: save it again"))
}
