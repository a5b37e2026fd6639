//! After the writing: close the store, open it again, read everything, and hold it against what the
//! writers were told.

use seriatim::driver::DriverError;
use seriatim::{Aggregate, CloseError, EventStore, OpenError, ReadError};

use crate::check::{Check, Findings};
use crate::ledger::Ledger;
use crate::load::Plan;
use crate::modes::Mode;
use crate::progress::Progress;
use crate::tally::Tally;
use crate::target::Target;

/// The progress is shown again after so many events.
const SHOW_EVERY: u64 = 1_000;

/// Why the store could not be looked at again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    #[error("the store was not closed in good order: {0}")]
    Close(#[from] CloseError),
    #[error("the store could not be opened again: {0}")]
    Open(#[from] OpenError),
}

/// Closes `store` and opens it again.
pub(crate) async fn reopen(
    target: &Target,
    store: EventStore,
    progress: &Progress,
) -> Result<EventStore, VerifyError> {
    progress.says("closing the store");
    store.close().await?;
    drop(store);
    progress.says("opening it again");
    Ok(target.open().await?)
}

/// Reads all that the plan's run wrote, and what else stands under its keys.
pub(crate) async fn read_whole(
    plan: &Plan,
    store: &EventStore,
    ledger: &Ledger,
    progress: &Progress,
) -> Findings {
    let mut check = Check::new(ledger, &plan.payloads, &plan.keys);
    if let Err(error) = read_aggregates(plan, store, &mut check, progress).await {
        check.unreadable(error.to_string());
    }
    check.finish()
}

/// What is found where nothing can be read: not one answered append.
pub(crate) fn unread(plan: &Plan, ledger: &Ledger, why: &VerifyError) -> Findings {
    let mut check = Check::new(ledger, &plan.payloads, &plan.keys);
    check.unreadable(why.to_string());
    check.finish()
}

async fn read_aggregates(
    plan: &Plan,
    store: &EventStore,
    check: &mut Check<'_>,
    progress: &Progress,
) -> Result<(), ReadError> {
    let listed = listed(plan, store, check).await?;
    for (aggregate, key) in plan.keys.iter().enumerate() {
        check.begin(aggregate);
        let mut events = store.read(key);
        let mut any = false;
        while let Some(event) = events.next().await {
            check.event(&event?);
            any = true;
            if check.events().is_multiple_of(SHOW_EVERY) {
                progress.verifying(check.events(), check.answered());
            }
        }
        if plan.mode == Mode::Execute {
            compare_state(plan, store, aggregate, check).await;
        }
        if any && listed.as_ref().is_some_and(|listed| listed.get(aggregate) == Some(&false)) {
            check.unlisted(key);
        }
    }
    Ok(())
}

/// The entity's state must be what its events come to.
async fn compare_state(plan: &Plan, store: &EventStore, aggregate: usize, check: &mut Check<'_>) {
    let Some(key) = plan.keys.get(aggregate) else { return };
    let id = key.as_str().trim_start_matches(Tally::KIND).trim_start_matches('/');
    let wanted = check.tally_of(aggregate);
    match store.entities::<Tally>().state(id).await {
        Ok(loaded) if loaded.state == wanted => {}
        Ok(loaded) => {
            check.unreadable(format!("the state of {key} is {:?}, not {wanted:?}", loaded.state));
        }
        Err(error) => check.unreadable(error.to_string()),
    }
}

/// Which of the plan's aggregates the store lists; none where it cannot list keys. What stands under a
/// key that is not the plan's is read too.
async fn listed(
    plan: &Plan,
    store: &EventStore,
    check: &mut Check<'_>,
) -> Result<Option<Vec<bool>>, ReadError> {
    let mut listed = vec![false; plan.keys.len()];
    let mut keys = store.keys(&plan.prefix);
    while let Some(key) = keys.next().await {
        let key = match key {
            Err(ReadError::Driver(DriverError::Unsupported { .. })) => return Ok(None),
            other => other?,
        };
        let index = key.as_str().strip_prefix(&plan.prefix).and_then(|rest| rest.parse().ok());
        match index.filter(|index: &usize| plan.keys.get(*index) == Some(&key)) {
            Some(index) => listed[index] = true,
            None => {
                let mut events = store.read(key);
                while let Some(event) = events.next().await {
                    check.stray(&event?);
                }
            }
        }
    }
    Ok(Some(listed))
}

#[cfg(test)]
mod tests;
