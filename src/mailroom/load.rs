//! Loading an entity's state: from its snapshot, if there is one to be trusted, and the events behind it.
//!
//! A snapshot only saves reading. One that cannot be read, is of another version, or is ahead of the
//! events is ignored with a warning, and everything is folded from the first event on. Snapshots are written
//! off the append's path, of states whose every event is durable.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;

use super::Common;
use super::entity::Entity;
use crate::driver::{DriverError, EventPages, Fetch};
use crate::error::LoadError;
use crate::event::{AggregateKey, KeyedEvent, Sequence};

/// Brings the state up to the latest event. A blank one begins with the snapshot.
pub(super) async fn load(
    common: &Common,
    key: &AggregateKey,
    mut entity: Entity,
) -> Result<Entity, LoadError> {
    if entity.at == Sequence::NONE && restore(common, key, &mut entity).await {
        // The event that the snapshot was taken at is read too: is it there?
        let mut pages = Pages::of(common, key, entity.at.previous());
        let first = pages.next().await?;
        if first.is_some_and(|event| event.sequence == entity.at) {
            pages.fold_into(&mut entity).await?;
            return Ok(entity);
        }
        tracing::warn!(%key, at = %entity.at, "a snapshot ahead of its events is ignored");
        entity.reset();
    }
    Pages::of(common, key, entity.at).fold_into(&mut entity).await?;
    Ok(entity)
}

async fn restore(common: &Common, key: &AggregateKey, entity: &mut Entity) -> bool {
    if entity.state.snapshot_every().is_none() {
        return false;
    }
    let Some(snapshots) = common.driver.snapshots() else { return false };
    let deadline = common.config.read_deadline;
    let found = match tokio::time::timeout(deadline, snapshots.load_snapshot(key)).await {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_elapsed) => Err("the driver did not answer in time".to_owned()),
    };
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

/// Saves a snapshot if one is due, in the background: nobody waits for it, and its failure costs only
/// reading.
pub(super) fn save_snapshot(common: &Arc<Common>, key: &AggregateKey, entity: &mut Entity) {
    if common.driver.snapshots().is_none() {
        return;
    }
    let Some(snapshot) = entity.due_snapshot() else { return };
    let (common, key) = (common.clone(), key.clone());
    actix_rt::spawn(async move {
        if let Err(error) = save(&common, &key, snapshot).await {
            tracing::warn!(%key, %error, "a snapshot could not be saved");
        }
    });
}

async fn save(common: &Common, key: &AggregateKey, snapshot: Bytes) -> Result<(), DriverError> {
    match common.driver.snapshots() {
        Some(snapshots) => snapshots.save_snapshot(key, snapshot).await,
        None => Ok(()),
    }
}

/// The events of one aggregate, one by one, each page within the read deadline.
struct Pages<'a> {
    common: &'a Common,
    key: &'a AggregateKey,
    pages: EventPages,
    page: std::vec::IntoIter<KeyedEvent>,
}

impl<'a> Pages<'a> {
    fn of(common: &'a Common, key: &'a AggregateKey, after: Sequence) -> Self {
        let pages = common.driver.fetch_events(key, Fetch::ALL.after(after));
        Pages { common, key, pages, page: Vec::new().into_iter() }
    }

    async fn next(&mut self) -> Result<Option<KeyedEvent>, LoadError> {
        loop {
            if let Some(event) = self.page.next() {
                return Ok(Some(event));
            }
            let deadline = self.common.config.read_deadline;
            let page = match tokio::time::timeout(deadline, self.pages.next()).await {
                Ok(None) => return Ok(None),
                Ok(Some(page)) => page,
                Err(_elapsed) => Err(DriverError::unavailable(format!(
                    "the driver did not answer a read within {deadline:?}"
                ))),
            };
            let failed = |source| LoadError::Driver { key: self.key.clone(), source };
            self.page = page.map_err(failed)?.into_iter();
        }
    }

    async fn fold_into(mut self, entity: &mut Entity) -> Result<(), LoadError> {
        while let Some(event) = self.next().await? {
            entity.fold(event)?;
        }
        Ok(())
    }
}
