//! Balances by account in SQLite, and the position they count up to, changed in one transaction.
//!
//! A transaction that is not committed takes its position back with it, so after any crash each event counts once.

use rusqlite::{Connection, OptionalExtension};
use serde::Deserialize;
use seriatim::driver::async_trait;
use seriatim::subscription::Projection;
use seriatim::{KeyedEvent, Position};

#[derive(Debug, thiserror::Error)]
pub enum BalanceError {
    #[error("SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("{key} at {sequence}: {error}")]
    Event { key: String, sequence: u64, error: serde_json::Error },
}

#[derive(Deserialize)]
struct Deposited {
    amount: i64,
}

pub struct Balances {
    connection: Connection,
}

impl Balances {
    /// The read model in this file, made if there is none.
    pub fn open(path: &std::path::Path) -> Result<Self, BalanceError> {
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS balances (account TEXT PRIMARY KEY, amount INTEGER NOT NULL
                 CHECK (amount < 1000000));
             CREATE TABLE IF NOT EXISTS position (one INTEGER PRIMARY KEY CHECK (one = 1), at INTEGER NOT NULL);",
        )?;
        Ok(Balances { connection })
    }

    /// One account's balance; 0 where nothing was ever deposited.
    pub fn of(&self, account: &str) -> Result<i64, BalanceError> {
        let asked = "SELECT amount FROM balances WHERE account = ?1";
        let found = self.connection.query_row(asked, [account], |row| row.get(0)).optional()?;
        Ok(found.unwrap_or(0))
    }
}

#[async_trait]
impl Projection for Balances {
    type Error = BalanceError;

    async fn position(&mut self) -> Result<Position, BalanceError> {
        let asked = "SELECT at FROM position";
        let at: Option<u64> = self.connection.query_row(asked, [], |row| row.get(0)).optional()?;
        Ok(Position::new(at.unwrap_or(0)))
    }

    async fn apply(
        &mut self,
        events: &[KeyedEvent],
        position: Position,
    ) -> Result<(), BalanceError> {
        let transaction = self.connection.transaction()?;
        for event in events.iter().filter(|event| event.event_type() == "Deposited") {
            let deposited: Deposited = event.json().map_err(|error| BalanceError::Event {
                key: event.key.to_string(),
                sequence: event.sequence.get(),
                error,
            })?;
            transaction.execute(
                "INSERT INTO balances VALUES (?1, ?2)
                 ON CONFLICT (account) DO UPDATE SET amount = amount + excluded.amount",
                (event.key.as_str(), deposited.amount),
            )?;
        }
        transaction.execute(
            "INSERT INTO position VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET at = excluded.at",
            [position.get()],
        )?;
        // Dropped without this, by an error above or by a crash, it never happened.
        Ok(transaction.commit()?)
    }

    async fn reset(&mut self) -> Result<(), BalanceError> {
        let transaction = self.connection.transaction()?;
        transaction.execute_batch("DELETE FROM balances; DELETE FROM position;")?;
        Ok(transaction.commit()?)
    }
}
