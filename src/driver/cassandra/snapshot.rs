//! Snapshots: a row per aggregate in a table beside that of the events, written without a
//! condition.

use scylla::client::session::Session;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;

/// Half of what a mutation may have.
pub(super) const SNAPSHOT_BYTES: usize = 8 << 20;

/// The statements on the table of snapshots.
pub(super) struct SnapshotStatements {
    pub(super) load: PreparedStatement,
    pub(super) save: PreparedStatement,
}

impl SnapshotStatements {
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
        Some(SnapshotStatements {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_beside_that_of_the_events() {
        assert_eq!(table_beside("\"bank\".\"events\""), "\"bank\".\"events_snapshots\"");
    }
}
