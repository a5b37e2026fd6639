//! A read model in a redb file of its own: sums by name, and the position they count up to.
//!
//! Sums and position change in one transaction. Whatever dies between two of them, a model that is opened
//! again says exactly which events it has counted, and gets the ones behind.

use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use seriatim::driver::async_trait;
use seriatim::subscription::Projection;
use seriatim::{KeyedEvent, Position};

use crate::answers::Sum;
use crate::history::Changed;

const SUMS: TableDefinition<&str, (u64, u64, u64, u64)> = TableDefinition::new("sums");
const COMMITS: TableDefinition<&str, ()> = TableDefinition::new("commits");
const POSITION: TableDefinition<(), u64> = TableDefinition::new("position");

#[derive(Debug, thiserror::Error)]
pub(crate) enum ModelError {
    #[error("the read model: {0}")]
    Redb(#[from] redb::Error),
    #[error("{key}: event {sequence} cannot be understood: {error}")]
    Event { key: String, sequence: u64, error: serde_json::Error },
}

/// What a model sums up by.
pub(crate) type ByName = fn(&KeyedEvent, &Changed) -> String;

#[derive(Clone)]
pub(crate) struct Model {
    database: Arc<Database>,
    by_name: ByName,
    /// Dies in the middle of the transaction that counts this event of the model's.
    dies_at: Option<u64>,
    counted: u64,
}

impl Model {
    pub(crate) fn open(path: &Path, by_name: ByName) -> Result<Self, redb::Error> {
        let database = Database::create(path)?;
        let made = database.begin_write()?;
        made.open_table(SUMS)?;
        made.open_table(COMMITS)?;
        made.open_table(POSITION)?;
        made.commit()?;
        Ok(Model { database: Arc::new(database), by_name, dies_at: None, counted: 0 })
    }

    pub(crate) fn dies_at(mut self, event: Option<u64>) -> Self {
        self.dies_at = event;
        self
    }

    pub(crate) fn counted_up_to(&self) -> Result<Position, redb::Error> {
        let position = self.database.begin_read()?.open_table(POSITION)?.get(())?;
        Ok(Position::new(position.map_or(0, |position| position.value())))
    }

    pub(crate) fn sums(&self) -> Result<Vec<(String, Sum)>, redb::Error> {
        let table = self.database.begin_read()?.open_table(SUMS)?;
        let mut sums = Vec::new();
        for row in table.iter()? {
            let (name, sum) = row?;
            sums.push((name.value().to_owned(), sum_of(sum.value())));
        }
        Ok(sums)
    }

    pub(crate) fn commits(&self) -> Result<Vec<String>, redb::Error> {
        let table = self.database.begin_read()?.open_table(COMMITS)?;
        let mut commits = Vec::new();
        for row in table.iter()? {
            commits.push(row?.0.value().to_owned());
        }
        Ok(commits)
    }

    fn count(&mut self, events: &[KeyedEvent], position: Position) -> Result<(), ModelError> {
        let transaction = self.database.begin_write().map_err(redb::Error::from)?;
        {
            let mut sums = transaction.open_table(SUMS).map_err(redb::Error::from)?;
            let mut commits = transaction.open_table(COMMITS).map_err(redb::Error::from)?;
            for event in events {
                let changed: Changed = event.json().map_err(|error| ModelError::Event {
                    key: event.key.to_string(),
                    sequence: event.sequence.get(),
                    error,
                })?;
                let name = (self.by_name)(event, &changed);
                let mut sum = match sums.get(name.as_str()).map_err(redb::Error::from)? {
                    Some(found) => sum_of(found.value()),
                    None => Sum::default(),
                };
                sum.plus(&Sum::from(&changed));
                let row = (sum.changes, sum.binary, sum.added, sum.removed);
                sums.insert(name.as_str(), row).map_err(redb::Error::from)?;
                commits.insert(changed.commit.as_str(), ()).map_err(redb::Error::from)?;
                self.counted += 1;
                if self.dies_at == Some(self.counted) {
                    // Nothing is cleaned up, nothing is committed.
                    std::process::abort();
                }
            }
            let mut place = transaction.open_table(POSITION).map_err(redb::Error::from)?;
            place.insert((), position.get()).map_err(redb::Error::from)?;
        }
        Ok(transaction.commit().map_err(redb::Error::from)?)
    }

    fn empty(&self) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        transaction.delete_table(SUMS)?;
        transaction.delete_table(COMMITS)?;
        transaction.delete_table(POSITION)?;
        transaction.open_table(SUMS)?;
        transaction.open_table(COMMITS)?;
        transaction.open_table(POSITION)?;
        Ok(transaction.commit()?)
    }
}

fn sum_of((changes, binary, added, removed): (u64, u64, u64, u64)) -> Sum {
    Sum { changes, binary, added, removed }
}

#[async_trait]
impl Projection for Model {
    type Error = ModelError;

    async fn position(&mut self) -> Result<Position, ModelError> {
        Ok(self.counted_up_to()?)
    }

    async fn apply(&mut self, events: &[KeyedEvent], position: Position) -> Result<(), ModelError> {
        // redb waits for the disk; on a runtime of one's own that is short enough to do here.
        self.count(events, position)
    }

    async fn reset(&mut self) -> Result<(), ModelError> {
        Ok(self.empty()?)
    }
}
