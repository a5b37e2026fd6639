//! Snapshots: a row per aggregate in a table beside that of the events, written without a
//! condition.

use bytes::Bytes;
use scylla::client::session::Session;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;

use super::failure::classify;
use super::table::CassandraTable;
use crate::driver::remote::CallKind;
use crate::error::DriverError;
use crate::event::AggregateKey;

/// Half of what a mutation may have.
pub(super) const SNAPSHOT_BYTES: usize = 8 << 20;

/// The statements on the table of snapshots.
pub(super) struct Snapshots {
    load: PreparedStatement,
    save: PreparedStatement,
}

impl Snapshots {
    /// Prepares the statements; `None` where the table is missing.
    pub(super) async fn prepare(
        session: &Session,
        table: &str,
        consistency: Consistency,
    ) -> Option<Self> {
        let prepared = async |text: String| {
            let mut statement = session.prepare(text).await.ok()?;
            statement.set_consistency(consistency);
            Some(statement)
        };
        Some(Snapshots {
            load: prepared(format!("SELECT b FROM {table} WHERE k = ?")).await?,
            save: prepared(format!("INSERT INTO {table} (k, b) VALUES (?, ?)")).await?,
        })
    }
}

/// What a row of the table is made of.
pub(super) fn columns() -> &'static str {
    "k text PRIMARY KEY, b blob"
}

/// The name of the table beside this one, both quoted.
pub(super) fn table_beside(events: &str) -> String {
    format!("{}_snapshots\"", events.trim_end_matches('"'))
}

impl CassandraTable {
    pub(super) async fn load_snapshot(
        &self,
        key: &AggregateKey,
    ) -> Result<Option<Bytes>, DriverError> {
        let Some(snapshots) = &self.snapshots else { return Ok(None) };
        let found = self.session.execute_unpaged(&snapshots.load, (key.as_str(),)).await;
        let found = found.map_err(|e| classify(CallKind::Read, &self.doing("SELECT"), e))?;
        let row = self.rows(found)?.maybe_first_row::<(Bytes,)>();
        Ok(row.map_err(|e| self.odd("SELECT", &e))?.map(|(snapshot,)| snapshot))
    }

    pub(super) async fn save_snapshot(
        &self,
        key: &AggregateKey,
        snapshot: &Bytes,
    ) -> Result<(), DriverError> {
        let Some(snapshots) = &self.snapshots else { return Ok(()) };
        let values = (key.as_str(), &snapshot[..]);
        let saved = self.session.execute_unpaged(&snapshots.save, values).await;
        saved.map(drop).map_err(|e| classify(CallKind::Read, &self.doing("INSERT"), e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_beside_that_of_the_events() {
        assert_eq!(table_beside("\"bank\".\"events\""), "\"bank\".\"events_snapshots\"");
    }
}
