//! What a caller is told whose commit id is stored already.

use uuid::Uuid;

use super::entity_state::CommandAnswer;
use super::slot::{AppendAnswer, Mail};
use crate::append::Appended;
use crate::error::AppendError;
use crate::event::{KeyedEvent, Sequence};

/// The answer to an append whose expectation fails. `events` are those that follow its expectation
/// (or the place where its commit id was last seen): as many as it has, and one more.
pub(super) fn repeated_or(mail: &Mail, events: &[KeyedEvent], latest: Sequence) -> AppendAnswer {
    let append = &mail.append;
    let key = append.key.clone();
    let own: Vec<&KeyedEvent> =
        events.iter().take_while(|event| event.commit_id == append.commit_id).collect();
    let Some(first) = own.first() else {
        return Err(AppendError::Conflict { key, expected: append.expected, actual: latest });
    };
    let same = own.len() == append.events.len()
        && append.events.iter().zip(&own).all(|(new, stored)| new.same_content(stored));
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

/// The answer to a command whose commit id was seen before, if its events are among `events`.
pub(super) fn repeated_command(commit_id: Uuid, events: Vec<KeyedEvent>) -> Option<CommandAnswer> {
    let own: Vec<KeyedEvent> =
        events.into_iter().filter(|event| event.commit_id == commit_id).collect();
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
