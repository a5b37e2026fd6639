//! The one loader of entities' states: the snapshot, if it can be trusted, and the events after it.
//!
//! A snapshot only saves reading. One that cannot be read, has another version, or is ahead of the
//! events is ignored with a warning, and all events are folded from the first. Snapshots are
//! written outside the path of appends, and only of states whose every event is durable.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;

use super::entity_state::EntityState;
use super::shared::Shared;
use crate::driver::bounded::bounded;
use crate::driver::{DriverError, EventPages, Fetch};
use crate::error::LoadError;
use crate::event::{AggregateKey, KeyedEvent, Sequence};

/// Brings the state up to the latest event. A blank one begins with the snapshot.
pub(super) async fn load(
    shared: &Shared,
    key: &AggregateKey,
    mut entity: EntityState,
) -> Result<EntityState, LoadError> {
    if entity.at == Sequence::NONE && restore(shared, key, &mut entity).await {
        // The event that the snapshot was taken at is read too, to see that it exists.
        let mut pages = EventReader::of(shared, key, entity.at.previous());
        let first = pages.next().await?;
        if first.is_some_and(|event| event.sequence == entity.at) {
            pages.fold_into(&mut entity).await?;
            return Ok(entity);
        }
        tracing::warn!(%key, at = %entity.at, "a snapshot ahead of its events is ignored");
        entity.reset();
    }
    EventReader::of(shared, key, entity.at).fold_into(&mut entity).await?;
    Ok(entity)
}

async fn restore(shared: &Shared, key: &AggregateKey, entity: &mut EntityState) -> bool {
    if entity.state.snapshot_every().is_none() {
        return false;
    }
    let Some(snapshots) = shared.driver.snapshots() else { return false };
    let deadline = shared.config.read_deadline;
    let found = bounded(deadline, || snapshots.load_snapshot(key)).await;
    let found = found.unwrap_or_else(|no_answer| Err(no_answer.to_read()));
    let found = found.map_err(|error| error.to_string());
    let restored = found.and_then(|found| match found {
        None => Ok(None),
        Some(snapshot) => entity.state.restore(&snapshot).map(Some),
    });
    match restored {
        Ok(Some(at)) => {
            entity.at = at;
            entity.snapshot_at = at;
            true
        }
        Ok(None) => false,
        Err(reason) => {
            tracing::warn!(%key, reason, "a snapshot cannot be used and is ignored");
            false
        }
    }
}

/// Saves a snapshot if one is due, in the background. Nobody waits for it; if it fails, the next
/// load reads more.
pub(super) fn save_snapshot(shared: &Arc<Shared>, key: &AggregateKey, entity: &mut EntityState) {
    if shared.driver.snapshots().is_none() {
        return;
    }
    let Some(snapshot) = entity.due_snapshot() else { return };
    let (shared, key) = (shared.clone(), key.clone());
    actix_rt::spawn(async move {
        if let Err(error) = save(&shared, &key, snapshot).await {
            tracing::warn!(%key, %error, "a snapshot could not be saved");
        }
    });
}

async fn save(shared: &Shared, key: &AggregateKey, snapshot: Bytes) -> Result<(), DriverError> {
    match shared.driver.snapshots() {
        Some(snapshots) => snapshots.save_snapshot(key, snapshot).await,
        None => Ok(()),
    }
}

/// The events of one aggregate, one by one; each page within the read deadline.
struct EventReader<'a> {
    shared: &'a Shared,
    key: &'a AggregateKey,
    pages: EventPages,
    page: std::vec::IntoIter<KeyedEvent>,
}

impl<'a> EventReader<'a> {
    fn of(shared: &'a Shared, key: &'a AggregateKey, after: Sequence) -> Self {
        let pages = shared.driver.fetch_events(key, Fetch::ALL.after(after));
        EventReader { shared, key, pages, page: Vec::new().into_iter() }
    }

    async fn next(&mut self) -> Result<Option<KeyedEvent>, LoadError> {
        loop {
            if let Some(event) = self.page.next() {
                return Ok(Some(event));
            }
            let deadline = self.shared.config.read_deadline;
            let page = match bounded(deadline, || self.pages.next()).await {
                Ok(None) => return Ok(None),
                Ok(Some(page)) => page,
                Err(no_answer) => Err(no_answer.to_read()),
            };
            let failed = |source| LoadError::Driver { key: self.key.clone(), source };
            self.page = page.map_err(failed)?.into_iter();
        }
    }

    async fn fold_into(mut self, entity: &mut EntityState) -> Result<(), LoadError> {
        while let Some(event) = self.next().await? {
            entity.fold(event)?;
        }
        Ok(())
    }
}
