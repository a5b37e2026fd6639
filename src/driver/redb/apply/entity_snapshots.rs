//! Snapshots of entities: in memory until the next apply transaction takes them along.
//!
//! A snapshot may be lost, so it passes no journal and waits for no flush: saving one costs a map
//! entry. What redb holds is always of events that were applied before it or with it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use redb::{ReadTransaction, TableDefinition, WriteTransaction};

use crate::driver::DriverError;
use crate::driver::redb::failure::redb_failed;
use crate::driver::redb::format::sealed::{seal, unseal};
use crate::driver::redb::format::tables::{for_each_value, open_if_there};
use crate::event::AggregateKey;

/// Aggregate key → its latest snapshot, sealed.
const SNAPSHOTS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("sealed_snapshots");
/// The same without a seal, as an earlier version wrote it. Only read.
const UNSEALED: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("snapshots");

/// Those that are not in redb yet.
#[derive(Default)]
pub(in crate::driver::redb) struct PendingSnapshots {
    waiting: Mutex<WaitingSnapshots>,
}

#[derive(Default)]
struct WaitingSnapshots {
    by_key: BTreeMap<AggregateKey, Bytes>,
    /// What they take.
    bytes: usize,
}

impl WaitingSnapshots {
    fn insert(&mut self, key: AggregateKey, snapshot: Bytes) {
        self.bytes += key.as_str().len() + snapshot.len();
        if let Some((key, replaced)) = self.by_key.get_key_value(&key) {
            self.bytes -= key.as_str().len() + replaced.len();
        }
        self.by_key.insert(key, snapshot);
    }

    fn remove(&mut self, key: &AggregateKey) {
        if let Some((key, removed)) = self.by_key.remove_entry(key) {
            self.bytes -= key.as_str().len() + removed.len();
        }
    }
}

impl PendingSnapshots {
    fn waiting(&self) -> MutexGuard<'_, WaitingSnapshots> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::driver::redb) fn save(&self, key: AggregateKey, snapshot: Bytes) {
        self.waiting().insert(key, snapshot);
    }

    pub(in crate::driver::redb) fn get(&self, key: &AggregateKey) -> Option<Bytes> {
        self.waiting().by_key.get(key).cloned()
    }

    /// What they take.
    pub(in crate::driver::redb) fn bytes(&self) -> usize {
        self.waiting().bytes
    }

    /// All of them.
    pub(in crate::driver::redb) fn all(&self) -> Vec<(AggregateKey, Bytes)> {
        let waiting = self.waiting();
        waiting.by_key.iter().map(|(key, bytes)| (key.clone(), bytes.clone())).collect()
    }

    /// These are durable; one that was replaced meanwhile stays.
    pub(in crate::driver::redb) fn written(&self, written: &[(AggregateKey, Bytes)]) {
        let mut waiting = self.waiting();
        for (key, snapshot) in written {
            if waiting.by_key.get(key) == Some(snapshot) {
                waiting.remove(key);
            }
        }
    }
}

/// Puts these into redb. When they are durable, [`PendingSnapshots::written`] drops them.
pub(in crate::driver::redb) fn write(
    transaction: &WriteTransaction,
    pending: &[(AggregateKey, Bytes)],
) -> Result<(), DriverError> {
    if pending.is_empty() {
        return Ok(());
    }
    let mut table = transaction.open_table(SNAPSHOTS).map_err(redb_failed)?;
    for (key, snapshot) in pending {
        let sealed = seal(key.as_str().as_bytes(), snapshot);
        table.insert(key.as_str(), sealed.as_slice()).map_err(redb_failed)?;
    }
    Ok(())
}

/// The snapshot in redb.
///
/// # Errors
///
/// It is damaged, or cannot be read.
pub(in crate::driver::redb) fn stored(
    transaction: &ReadTransaction,
    key: &AggregateKey,
) -> Result<Option<Bytes>, DriverError> {
    if let Some(sealed) = row(transaction, SNAPSHOTS, key)? {
        let snapshot = unseal(key.as_str().as_bytes(), &sealed);
        let snapshot = snapshot.ok_or_else(|| damaged(key.as_str()))?;
        return Ok(Some(sealed.slice_ref(snapshot)));
    }
    row(transaction, UNSEALED, key)
}

fn row(
    transaction: &ReadTransaction,
    table: TableDefinition<'static, &str, &[u8]>,
    key: &AggregateKey,
) -> Result<Option<Bytes>, DriverError> {
    let Some(table) = open_if_there(transaction, table)? else { return Ok(None) };
    let found = table.get(key.as_str()).map_err(redb_failed)?;
    Ok(found.map(|snapshot| Bytes::copy_from_slice(snapshot.value())))
}

/// Whether every snapshot is as it was written.
pub(in crate::driver::redb) fn verify(transaction: &ReadTransaction) -> Result<(), DriverError> {
    for_each_value(transaction, SNAPSHOTS, |key, sealed| {
        unseal(key.as_bytes(), sealed).map(drop).ok_or_else(|| damaged(key))
    })
}

fn damaged(key: &str) -> DriverError {
    DriverError::damaged(format!("the snapshot of {key:?} is damaged; its events are not"))
}
