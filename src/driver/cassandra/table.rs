//! The statements, and rows as events.

use std::time::Duration;

use bytes::Bytes;
use scylla::client::session::Session;
use scylla::response::query_result::{QueryResult, QueryRowsResult};
use scylla::response::{PagingState, PagingStateResponse};
use scylla::statement::Consistency;
use scylla::statement::SerialConsistency;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlValue, Row};

use super::failure::classify;
use super::snapshot::{SnapshotStatements, table_beside};
use crate::driver::remote::{CallKind, RetryPolicy, late};
use crate::driver::{EventPage, Fetch, Put};
use crate::error::DriverError;
use crate::event::{AggregateKey, KeyedEvent, Sequence};

/// Events asked for at once: so many of the largest fit one response.
const PAGE: usize = 100;
const KEYS: i32 = 1_000;

/// In which order writers are arbitrated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Serial {
    #[default]
    Global,
    Local,
}

impl Serial {
    fn of_conditions(self) -> SerialConsistency {
        match self {
            Serial::Global => SerialConsistency::Serial,
            Serial::Local => SerialConsistency::LocalSerial,
        }
    }

    fn of_reads(self) -> Consistency {
        match self {
            Serial::Global => Consistency::Serial,
            Serial::Local => Consistency::LocalSerial,
        }
    }

    pub(super) fn of_writes(self) -> Consistency {
        match self {
            Serial::Global => Consistency::Quorum,
            Serial::Local => Consistency::LocalQuorum,
        }
    }
}

/// The session and its statements.
pub(super) struct CassandraTable {
    session: Session,
    /// The table and its hosts, for messages.
    pub(super) name: String,
    policy: RetryPolicy,
    serial: Serial,
    insert: PreparedStatement,
    has: PreparedStatement,
    latest: PreparedStatement,
    forwards: PreparedStatement,
    backwards: PreparedStatement,
    keys: PreparedStatement,
    keys_behind: PreparedStatement,
    /// `None` where their table is missing.
    snapshots: Option<SnapshotStatements>,
}

impl CassandraTable {
    /// Prepares the statements; fails where the table is missing.
    pub(super) async fn prepare(
        session: Session,
        table: &str,
        name: String,
        policy: RetryPolicy,
        serial: Serial,
    ) -> Result<Self, DriverError> {
        let prepared = async |text: String, consistency: Consistency| {
            let mut statement = session.prepare(text).await.map_err(|e| {
                classify(CallKind::Read, &format!("Cassandra, opening {name}"), e.into())
            })?;
            statement.set_consistency(consistency);
            statement.set_serial_consistency(Some(serial.of_conditions()));
            Ok::<_, DriverError>(statement)
        };
        let (reads, writes) = (serial.of_reads(), serial.of_writes());
        let range = "k = ? AND s >= ? AND s <= ?";
        let mut keys = prepared(format!("SELECT DISTINCT k FROM {table}"), writes).await?;
        keys.set_page_size(KEYS);
        let behind = format!("SELECT DISTINCT k FROM {table} WHERE token(k) > token(?)");
        let mut keys_behind = prepared(behind, writes).await?;
        keys_behind.set_page_size(KEYS);
        let snapshots = SnapshotStatements::prepare(&session, &table_beside(table), writes).await;
        let insert = format!(
            "INSERT INTO {table} (k, s, p, t, c, r) VALUES (?, ?, ?, ?, ?, ?) IF NOT EXISTS"
        );
        Ok(CassandraTable {
            insert: prepared(insert, writes).await?,
            has: prepared(format!("SELECT s FROM {table} WHERE k = ? AND s = ?"), reads).await?,
            latest: prepared(
                format!("SELECT s FROM {table} WHERE k = ? ORDER BY s DESC LIMIT 1"),
                reads,
            )
            .await?,
            forwards: prepared(
                format!("SELECT s, r FROM {table} WHERE {range} ORDER BY s ASC LIMIT ?"),
                reads,
            )
            .await?,
            backwards: prepared(
                format!("SELECT s, r FROM {table} WHERE {range} ORDER BY s DESC LIMIT ?"),
                reads,
            )
            .await?,
            keys,
            keys_behind,
            snapshots,
            session,
            name,
            policy,
            serial,
        })
    }

    pub(super) fn keeps_snapshots(&self) -> bool {
        self.snapshots.is_some()
    }

    pub(super) fn put_timeout(&self) -> Duration {
        self.policy.deadline()
    }

    /// An operation, where it was done: the beginning of every message of a failure.
    fn doing(&self, operation: &str) -> String {
        format!("Cassandra, {operation} on {}", self.name)
    }

    pub(super) async fn retry<T, R>(
        &self,
        call: CallKind,
        operation: &str,
        attempt: impl FnMut() -> R,
    ) -> Result<T, DriverError>
    where
        R: Future<Output = Result<T, DriverError>>,
    {
        self.policy.run(|| late(call, &self.doing(operation)), attempt).await
    }

    fn rows(&self, result: QueryResult) -> Result<QueryRowsResult, DriverError> {
        result.into_rows_result().map_err(|e| self.odd("SELECT", &e))
    }

    /// An answer that is none to what was asked.
    fn odd(&self, operation: &str, error: &dyn std::fmt::Display) -> DriverError {
        DriverError::failed(format!(
            "{}: an answer that was not expected: {error}",
            self.doing(operation)
        ))
    }

    pub(super) async fn has(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        let Ok(number) = i64::try_from(sequence.get()) else { return Ok(false) };
        let found = self.session.execute_unpaged(&self.has, (key.as_str(), number)).await;
        let found = found.map_err(|e| classify(CallKind::Read, &self.doing("SELECT"), e))?;
        Ok(self.rows(found)?.rows_num() > 0)
    }

    pub(super) async fn latest(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        let found = self.session.execute_unpaged(&self.latest, (key.as_str(),)).await;
        let found = found.map_err(|e| classify(CallKind::Read, &self.doing("SELECT"), e))?;
        let last = self.rows(found)?.maybe_first_row::<(i64,)>();
        match last.map_err(|e| self.odd("SELECT", &e))? {
            Some((last,)) => sequence(key, last),
            None => Ok(Sequence::NONE),
        }
    }

    pub(super) async fn page(
        &self,
        key: &AggregateKey,
        fetch: Fetch,
    ) -> Result<EventPage, DriverError> {
        let Some((low, high)) = fetch.bounds() else { return Ok(EventPage::default()) };
        // The engine's integers are signed; no sequence is ever above.
        let Ok(low) = i64::try_from(low.get()) else { return Ok(EventPage::default()) };
        let high = i64::try_from(high.get()).unwrap_or(i64::MAX);
        let wanted = fetch.limit.unwrap_or(PAGE).min(PAGE);
        let statement = if fetch.backwards { &self.backwards } else { &self.forwards };
        let values = (key.as_str(), low, high, i32::try_from(wanted).unwrap_or(i32::MAX));
        let found = self.session.execute_unpaged(statement, values).await;
        let found = found.map_err(|e| classify(CallKind::Read, &self.doing("SELECT"), e))?;
        let rows = self.rows(found)?;
        let mut events = Vec::with_capacity(rows.rows_num());
        for row in rows.rows::<(i64, Bytes)>().map_err(|e| self.odd("SELECT", &e))? {
            let (number, record) = row.map_err(|e| self.odd("SELECT", &e))?;
            let sequence = sequence(key, number)?;
            let event = KeyedEvent::decode_record(key.clone(), sequence, record).map_err(|e| {
                DriverError::damaged(format!("Cassandra: {key}: sequence {sequence}: {e}"))
            })?;
            events.push(event);
        }
        let more = events.len() == wanted;
        Ok(EventPage::new(events, more))
    }

    /// Some of the table's keys, by token, and where the next ones are. Without a place the first
    /// ones, or those whose tokens are behind that of `after`.
    pub(super) async fn some_keys(
        &self,
        after: Option<&AggregateKey>,
        place: Option<PagingState>,
    ) -> Result<(Vec<AggregateKey>, Option<PagingState>), DriverError> {
        let place = place.unwrap_or_default();
        let found = match after {
            None => self.session.execute_single_page(&self.keys, (), place).await,
            Some(after) => {
                let values = (after.as_str(),);
                self.session.execute_single_page(&self.keys_behind, values, place).await
            }
        };
        let (found, next) =
            found.map_err(|e| classify(CallKind::Read, &self.doing("SELECT"), e))?;
        let rows = self.rows(found)?;
        let mut keys = Vec::with_capacity(rows.rows_num());
        for row in rows.rows::<(&str,)>().map_err(|e| self.odd("SELECT", &e))? {
            let (key,) = row.map_err(|e| self.odd("SELECT", &e))?;
            let key = AggregateKey::new(key);
            keys.push(key.map_err(|e| DriverError::damaged(format!("Cassandra: a key: {e}")))?);
        }
        let next = match next {
            PagingStateResponse::HasMorePages { state } => Some(state),
            PagingStateResponse::NoMorePages => None,
        };
        Ok((keys, next))
    }

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

    pub(super) async fn insert(&self, put: &Put) -> Result<(), DriverError> {
        let mut values = Vec::with_capacity(put.events().len());
        for event in put.events() {
            let Ok(number) = i64::try_from(event.sequence.get()) else {
                return Err(DriverError::failed(format!(
                    "{}: {}: a sequence over {} cannot be stored",
                    self.doing("INSERT"),
                    event.key,
                    i64::MAX
                )));
            };
            let mut record = Vec::new();
            event.encode_record(&mut record);
            let (key, event_type) = (event.key.as_str(), event.event_type());
            values.push((key, number, put.id(), event_type, event.commit_id, record));
        }
        let answer = match values.as_slice() {
            [one] => self.session.execute_unpaged(&self.insert, one).await,
            several => {
                let mut batch = Batch::new(BatchType::Unlogged);
                batch.set_consistency(self.serial.of_writes());
                batch.set_serial_consistency(Some(self.serial.of_conditions()));
                for _ in several {
                    batch.append_statement(self.insert.clone());
                }
                self.session.batch(&batch, several).await
            }
        };
        let answer = answer.map_err(|e| classify(CallKind::Write, &self.doing("INSERT"), e))?;
        self.verdict(put, answer)
    }

    /// What the answer to a conditional write says: applied, or the rows that stand in the way.
    fn verdict(&self, put: &Put, answer: QueryResult) -> Result<(), DriverError> {
        // It was executed, so an answer that cannot be read leaves it open.
        let unread = |e: &dyn std::fmt::Display| {
            DriverError::unknown(format!(
                "{}: the answer cannot be read: {e}",
                self.doing("INSERT")
            ))
        };
        let rows = answer.into_rows_result().map_err(|e| unread(&e))?;
        let place = |name: &str| rows.column_specs().get_by_name(name).map(|(index, _)| index);
        let (applied, id, number) = (place("[applied]"), place("p"), place("s"));
        let value = |row: &Row, place: Option<usize>| {
            place.and_then(|index| row.columns.get(index).cloned().flatten())
        };
        let (mut all, mut taken) = (true, None);
        for row in rows.rows::<Row>().map_err(|e| unread(&e))? {
            let row = row.map_err(|e| unread(&e))?;
            match value(&row, applied) {
                Some(CqlValue::Boolean(applied)) => all &= applied,
                _ => return Err(unread(&"it does not say whether it was applied")),
            }
            // A put is written whole, and nothing else has its id: one row of it proves all.
            if matches!(value(&row, id), Some(CqlValue::Uuid(id)) if id == put.id()) {
                return Ok(());
            }
            if let Some(CqlValue::BigInt(number)) = value(&row, number) {
                taken = taken.or(u64::try_from(number).ok());
            }
        }
        let Some(first) = put.events().first().filter(|_| !all) else { return Ok(()) };
        let sequence = taken.map_or(first.sequence, Sequence::new);
        Err(DriverError::Conflict { key: first.key.clone(), sequence })
    }
}

fn sequence(key: &AggregateKey, number: i64) -> Result<Sequence, DriverError> {
    u64::try_from(number)
        .map(Sequence::new)
        .map_err(|_| DriverError::damaged(format!("Cassandra: {key}: a row has sequence {number}")))
}

/// What a row of the table is made of.
pub(super) fn columns() -> &'static str {
    "k text, s bigint, p uuid, t text, c uuid, r blob, PRIMARY KEY ((k), s)"
}
