//! What a consumer is to do: its name, the events it wants, and its options.

use std::sync::Arc;

use super::checkpoint::ConsumerRecords;
use super::error::{ConsumerError, MAX_NAME_BYTES};
use super::filter::Filter;
use super::options::{ConsumerOptions, Start};
use super::progress::Claim;
use crate::event::Position;
use crate::mailroom::Mailroom;
use crate::store::EventStore;

/// Everything about a consumer but its handler. Holds the store open.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) store: EventStore,
    pub(super) name: Arc<str>,
    pub(super) filter: Filter,
    pub(super) start: Start,
    pub(super) options: ConsumerOptions,
}

impl Plan {
    pub(super) fn new(store: EventStore, name: &str) -> Self {
        Plan {
            store,
            name: name.into(),
            filter: Filter::default(),
            start: Start::At(Position::new(1)),
            options: ConsumerOptions::default(),
        }
    }

    pub(super) fn mailroom(&self) -> &Arc<Mailroom> {
        self.store.mailroom()
    }

    /// The consumer's stored records.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::InvalidName`] and [`ConsumerError::NoLog`].
    pub(super) fn records(&self) -> Result<ConsumerRecords, ConsumerError> {
        check_name(&self.name)?;
        self.store.log()?;
        Ok(ConsumerRecords::new(self.mailroom().clone(), self.name.clone()))
    }

    /// Takes the name, which no other running consumer may have.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Owned`].
    pub(super) fn claim(&self) -> Result<Claim, ConsumerError> {
        Claim::of(self.mailroom(), &self.name)
    }
}

fn check_name(name: &str) -> Result<(), ConsumerError> {
    let fits = !name.is_empty() && name.len() <= MAX_NAME_BYTES;
    if fits && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(ConsumerError::InvalidName { name: name.to_owned() })
}
