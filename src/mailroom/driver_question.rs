//! What the actor asks the driver while it holds the put permit, and how the driver answers.

use std::sync::Arc;

use futures_util::StreamExt;
use uuid::Uuid;

use super::entity_state::EntityState;
use super::load::{DriverHistory, load};
use super::repetition::StoredAppend;
use super::shared::Shared;
use crate::driver::bounded::{NoAnswer, bounded, guarded};
use crate::driver::{DriverError, EventPages, Fetch};
use crate::error::LoadError;
use crate::event::{AggregateKey, Sequence};

/// What only the driver can tell. It concerns the first append of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DriverQuestion {
    /// The writer expects more than is known: does an event with this sequence exist?
    Has(Sequence),
    /// The writer named no sequence: what is the latest?
    Latest,
    /// What is stored under this commit id, among so many events after this sequence?
    Whose { commit_id: Uuid, after: Sequence, events: u64 },
    /// Which are the latest commit ids?
    Window,
    /// On which state is the first command decided?
    State,
}

/// The driver's answer to a [`DriverQuestion`].
pub(super) enum DriverReply {
    Has(Sequence),
    HasNot {
        latest: Sequence,
    },
    Latest(Sequence),
    Whose(StoredAppend),
    /// From the last event to the first.
    Window(Vec<(Sequence, Uuid)>),
    State(Result<EntityState, LoadError>),
}

/// Asks the driver. A command's state is folded into `entity`.
///
/// # Errors
///
/// Why the driver did not answer.
pub(super) async fn ask(
    shared: Arc<Shared>,
    key: AggregateKey,
    question: DriverQuestion,
    entity: Option<Box<EntityState>>,
) -> Result<DriverReply, DriverError> {
    let driver = &shared.driver;
    if let (DriverQuestion::State, Some(entity)) = (question, entity) {
        let history = DriverHistory { shared: &shared, key: &key };
        let loading = guarded(|| load(&history, *entity, None, |_| true)).await;
        let panicked = |no_answer: NoAnswer| {
            Err(LoadError::Driver { key: key.clone(), source: no_answer.to_read() })
        };
        return Ok(DriverReply::State(loading.unwrap_or_else(panicked)));
    }
    let asking = || async {
        Ok(match question {
            DriverQuestion::Has(sequence) => match driver.check_sequence(&key, sequence).await? {
                true => DriverReply::Has(sequence),
                false => DriverReply::HasNot { latest: driver.latest_sequence(&key).await? },
            },
            DriverQuestion::Latest => DriverReply::Latest(driver.latest_sequence(&key).await?),
            DriverQuestion::Whose { commit_id, after, events } => {
                // The event before them and the one after them say whether the append is whole.
                let limit = usize::try_from(events).unwrap_or(usize::MAX).saturating_add(2);
                let fetch = Fetch::ALL.after(after.previous()).limit(limit);
                let pages = driver.fetch_events(&key, fetch);
                DriverReply::Whose(StoredAppend::read(pages, commit_id, after).await?)
            }
            DriverQuestion::Window => {
                let fetch = Fetch::ALL.backwards().limit(shared.config.commit_id_window);
                DriverReply::Window(commit_ids(driver.fetch_events(&key, fetch)).await?)
            }
            DriverQuestion::State => {
                return Err(DriverError::failed("no command waits for a state"));
            }
        })
    };
    let answered = bounded(shared.config.read_deadline, asking).await;
    answered.unwrap_or_else(|no_answer| Err(no_answer.to_read()))
}

/// No more than one page of events is in memory.
async fn commit_ids(mut pages: EventPages) -> Result<Vec<(Sequence, Uuid)>, DriverError> {
    let mut ids = Vec::new();
    while let Some(page) = pages.next().await {
        ids.extend(page?.iter().map(|event| (event.sequence, event.commit_id)));
    }
    Ok(ids)
}
