//! The one loader of entities' states: the snapshot, if it can be trusted, and the events after it.
//!
//! A snapshot only saves reading. One that cannot be read, has another version, or is ahead of the
//! events is ignored with a warning, and all events are folded from the first. Snapshots are
//! written outside the path of appends, and only of states whose every event is durable.
//!
//! The actor loads from the driver ([`DriverHistory`]), and a caller's read through the store and
//! its middleware; both by [`load`]. A load gives way to the other tasks of its thread.

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};

use super::entity_state::EntityState;
use super::shared::Shared;
use super::time_slice::TimeSlice;
use crate::driver::Fetch;
use crate::driver::bounded::bounded;
use crate::error::LoadError;
use crate::event::{AggregateKey, KeyedEvent, Sequence};

/// Where a state is loaded from: one aggregate's snapshot and events.
pub(crate) trait EntityHistory: Sync {
    fn key(&self) -> &AggregateKey;

    /// The latest snapshot.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    fn snapshot(&self) -> impl Future<Output = Result<Option<Bytes>, String>> + Send;

    /// The events after this sequence, as they are stored.
    fn events(
        &self,
        after: Sequence,
    ) -> impl Stream<Item = Result<KeyedEvent, LoadError>> + Send + Unpin;
}

/// Folds in the events after those that the state has, as long as they are wanted. A blank state
/// begins with the snapshot, if that was taken at `last` or before; `None` takes any.
pub(crate) async fn load(
    history: &impl EntityHistory,
    mut entity: EntityState,
    last: Option<Sequence>,
    wanted: impl Fn(&KeyedEvent) -> bool,
) -> Result<EntityState, LoadError> {
    let is_blank = entity.at == Sequence::NONE && last != Some(Sequence::NONE);
    if is_blank && restore(history, &mut entity, last).await {
        // The event that the snapshot was taken at is read too, to see that it exists.
        let mut events = history.events(entity.at.previous());
        let first = events.next().await.transpose()?;
        if first.is_some_and(|event| event.sequence == entity.at) {
            fold(events, &mut entity, wanted).await?;
            return Ok(entity);
        }
        let (key, at) = (history.key(), entity.at);
        tracing::warn!(%key, %at, "a snapshot ahead of its events is ignored");
        entity.reset();
    }
    let events = history.events(entity.at);
    fold(events, &mut entity, wanted).await?;
    Ok(entity)
}

async fn fold(
    mut events: impl Stream<Item = Result<KeyedEvent, LoadError>> + Unpin,
    entity: &mut EntityState,
    wanted: impl Fn(&KeyedEvent) -> bool,
) -> Result<(), LoadError> {
    let mut slice = TimeSlice::begin();
    while let Some(event) = events.next().await {
        let event = event?;
        if !wanted(&event) {
            return Ok(());
        }
        entity.fold(event)?;
        slice.give_way_if_over().await;
    }
    Ok(())
}

/// Whether the state is the snapshot's now.
async fn restore(
    history: &impl EntityHistory,
    entity: &mut EntityState,
    last: Option<Sequence>,
) -> bool {
    if entity.state.snapshot_every().is_none() {
        return false;
    }
    let found = history.snapshot().await;
    let restored = found.and_then(|found| match found {
        None => Ok(None),
        Some(snapshot) => entity.state.restore(&snapshot).map(Some),
    });
    match restored {
        Ok(Some(at)) if last.is_none_or(|last| at <= last) => {
            entity.at = at;
            entity.snapshot_at = at;
            true
        }
        Ok(Some(_later)) => {
            entity.reset();
            false
        }
        Ok(None) => false,
        Err(reason) => {
            let key = history.key();
            tracing::warn!(%key, reason, "a snapshot cannot be used and is ignored");
            false
        }
    }
}

/// What the driver holds of one aggregate; each page within the read deadline.
pub(super) struct DriverHistory<'a> {
    pub(super) shared: &'a Shared,
    pub(super) key: &'a AggregateKey,
}

impl EntityHistory for DriverHistory<'_> {
    fn key(&self) -> &AggregateKey {
        self.key
    }

    async fn snapshot(&self) -> Result<Option<Bytes>, String> {
        let Some(snapshots) = self.shared.driver.snapshots() else { return Ok(None) };
        let deadline = self.shared.config.read_deadline;
        let found = bounded(deadline, || snapshots.load_snapshot(self.key)).await;
        let found = found.unwrap_or_else(|no_answer| Err(no_answer.to_read()));
        found.map_err(|error| error.to_string())
    }

    fn events(
        &self,
        after: Sequence,
    ) -> impl Stream<Item = Result<KeyedEvent, LoadError>> + Send + Unpin {
        let pages = self.shared.driver.fetch_events(self.key, Fetch::ALL.after(after));
        let failed = |source| LoadError::Driver { key: self.key.clone(), source };
        let deadline = self.shared.config.read_deadline;
        let pages = stream::try_unfold(pages, move |mut pages| async move {
            match bounded(deadline, || pages.next()).await {
                Ok(None) => Ok(None),
                Ok(Some(page)) => page.map(|page| Some((page, pages))),
                Err(no_answer) => Err(no_answer.to_read()),
            }
        });
        let events = pages.map_ok(|page| stream::iter(page.into_iter().map(Ok))).try_flatten();
        Box::pin(events.map_err(failed))
    }
}
