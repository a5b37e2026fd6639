//! What the actor asks the driver while it holds the put permit, and how the driver answers.

use std::sync::Arc;

use futures_util::StreamExt;

use super::entity_state::EntityState;
use super::load::load;
use super::shared::Shared;
use crate::driver::bounded::{NoAnswer, bounded, guarded};
use crate::driver::{DriverError, EventPages, Fetch};
use crate::error::LoadError;
use crate::event::{AggregateKey, KeyedEvent, Sequence};

/// What only the driver can tell. It concerns the first append of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DriverQuestion {
    /// The writer expects more than is known: does an event with this sequence exist?
    Has(Sequence),
    /// The writer named no sequence: what is the latest?
    Latest,
    /// Which append do the events after this sequence belong to?
    Whose { after: Sequence, events: u64 },
    /// Which are the latest commit ids?
    Window,
    /// On which state is the first command decided?
    State,
}

/// The driver's answer to a [`DriverQuestion`].
pub(super) enum DriverReply {
    Has(Sequence),
    HasNot { latest: Sequence },
    Latest(Sequence),
    Whose(Vec<KeyedEvent>),
    Window(Vec<KeyedEvent>),
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
        let loading = guarded(|| load(&shared, &key, *entity)).await;
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
            DriverQuestion::Whose { after, events } => {
                let limit = usize::try_from(events).unwrap_or(usize::MAX).saturating_add(1);
                let fetch = Fetch::ALL.after(after).limit(limit);
                DriverReply::Whose(fetch_all(driver.fetch_events(&key, fetch)).await?)
            }
            DriverQuestion::Window => {
                let fetch = Fetch::ALL.backwards().limit(shared.config.commit_id_window);
                DriverReply::Window(fetch_all(driver.fetch_events(&key, fetch)).await?)
            }
            DriverQuestion::State => {
                return Err(DriverError::failed("no command waits for a state"));
            }
        })
    };
    let answered = bounded(shared.config.read_deadline, asking).await;
    answered.unwrap_or_else(|no_answer| Err(no_answer.to_read()))
}

async fn fetch_all(mut pages: EventPages) -> Result<Vec<KeyedEvent>, DriverError> {
    let mut events = Vec::new();
    while let Some(page) = pages.next().await {
        events.extend(page?);
    }
    Ok(events)
}
