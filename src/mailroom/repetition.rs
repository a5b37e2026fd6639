//! What a caller is told whose commit id is stored already.

use futures_util::StreamExt;
use uuid::Uuid;

use super::entity_state::CommandAnswer;
use super::slot::{AppendAnswer, Mail};
use crate::append::{Appended, Expected};
use crate::driver::{DriverError, EventPages};
use crate::error::AppendError;
use crate::event::{KeyedEvent, Sequence};

/// What is stored under one commit id, after a place that was looked at.
#[derive(Clone, Default)]
pub(super) struct StoredAppend {
    /// Side by side, in sequence order.
    pub(super) events: Vec<KeyedEvent>,
    /// The event before the first one has the same commit id: the stored append began earlier.
    began_before: bool,
}

impl StoredAppend {
    /// Reads what is stored under this commit id after `after`. The pages begin with the event at
    /// `after`. Events of other appends are not kept.
    pub(super) async fn read(
        mut pages: EventPages,
        commit_id: Uuid,
        after: Sequence,
    ) -> Result<Self, DriverError> {
        let mut stored = StoredAppend::default();
        while let Some(page) = pages.next().await {
            for event in page? {
                if event.commit_id == commit_id {
                    match event.sequence > after {
                        true => stored.events.push(event),
                        false => stored.began_before = true,
                    }
                } else if !stored.events.is_empty() {
                    return Ok(stored);
                } else {
                    stored.began_before = false;
                }
            }
        }
        Ok(stored)
    }

    /// Looks at the event before the first one, which is all that `pages` has.
    pub(super) async fn look_before(&mut self, mut pages: EventPages) -> Result<(), DriverError> {
        let commit_id = self.events.first().map(|event| event.commit_id);
        while let Some(page) = pages.next().await {
            let own = |event: &KeyedEvent| Some(event.commit_id) == commit_id;
            self.began_before |= page?.iter().any(own);
        }
        Ok(())
    }

    /// The first event, if it stands where an append with this expectation would have put it.
    pub(super) fn first_after(&self, expected: Expected) -> Option<&KeyedEvent> {
        let follows =
            |event: &&KeyedEvent| expected.exact().is_none_or(|n| event.sequence == n.next());
        self.events.first().filter(follows)
    }
}

/// The answer to an append whose expectation fails. `stored` is looked for after its expectation,
/// or after the place where its commit id was last seen.
pub(super) fn repeated_or(mail: &Mail, stored: &StoredAppend, latest: Sequence) -> AppendAnswer {
    let append = &mail.append;
    let key = append.key.clone();
    let Some(first) = stored.first_after(append.expected) else {
        return Err(AppendError::Conflict { key, expected: append.expected, actual: latest });
    };
    let same = !stored.began_before
        && stored.events.len() == append.events.len()
        && append.events.iter().zip(&stored.events).all(|(new, event)| new.same_content(event));
    if !same {
        return Err(AppendError::CommitIdReused { key, commit_id: append.commit_id });
    }
    Ok(Appended {
        first: first.sequence,
        last: first.sequence.plus(append.len() - 1),
        position: first.position,
        commit_id: append.commit_id,
        repeated: !is_own_work(mail, Some(first)),
    })
}

/// Whether this very call wrote the event, rather than another one with the same commit id.
pub(super) fn is_own_work(mail: &Mail, stored: Option<&KeyedEvent>) -> bool {
    let stored = stored.and_then(|event| event.attempt);
    mail.append.attempt.is_none_or(|attempt| stored == Some(attempt))
}

/// The answer to a command whose commit id was seen before, if its events are found.
pub(super) fn repeated_command(commit_id: Uuid, stored: StoredAppend) -> Option<CommandAnswer> {
    let own = stored.events;
    let (first, last) = (own.first()?, own.last()?);
    let appended = Appended {
        first: first.sequence,
        last: last.sequence,
        position: first.position,
        commit_id,
        repeated: true,
    };
    Some(CommandAnswer::Repeated(appended, own))
}
