//! The commit ids that an earlier run may have left on the targets of reactions.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::feed::aggregate_page;
use crate::driver::Fetch;
use crate::error::ReadError;
use crate::event::{AggregateKey, KeyedEvent, Position};
use crate::mailroom::Mailroom;

/// The memory that the cache may take, roughly.
const MAX_BYTES: usize = 16 << 20;
/// What a target without ids, and an id, take in the two tables.
const TARGET_BYTES: usize = 160;
const ID_BYTES: usize = 40;
const MAX_IDS: usize = MAX_BYTES / ID_BYTES;

/// By target, the commit ids of its events after the first event that asked: all that an earlier
/// run can have done for that event or a later one. Emptied when it is full.
#[derive(Default)]
pub(super) struct EarlierCommits {
    by_target: HashMap<AggregateKey, HashSet<Uuid>>,
    bytes: usize,
}

impl EarlierCommits {
    pub(super) fn clear(&mut self) {
        if !self.by_target.is_empty() {
            *self = EarlierCommits::default();
        }
    }

    /// Whether an earlier run left an event with this commit id there, after the position.
    pub(super) fn contains(
        &mut self,
        mailroom: &Mailroom,
        key: &AggregateKey,
        id: Uuid,
        after: Position,
    ) -> Result<bool, ReadError> {
        if let Some(known) = self.by_target.get(key) {
            return Ok(known.contains(&id));
        }
        let mut ids = HashSet::new();
        let full = any_commit(mailroom, key, after, |found| {
            ids.insert(found);
            ids.len() > MAX_IDS
        })?;
        if full {
            return any_commit(mailroom, key, after, |found| found == id);
        }
        let found = ids.contains(&id);
        self.keep(key, ids);
        Ok(found)
    }

    fn keep(&mut self, key: &AggregateKey, ids: HashSet<Uuid>) {
        let bytes = TARGET_BYTES + key.as_str().len() + ids.len() * ID_BYTES;
        if self.bytes + bytes > MAX_BYTES {
            self.clear();
        }
        self.bytes += bytes;
        self.by_target.insert(key.clone(), ids);
    }
}

/// Whether `is_it` accepts one of the commit ids of the aggregate's events after the position.
/// Searches from the last event back.
pub(super) fn any_commit(
    mailroom: &Mailroom,
    key: &AggregateKey,
    after: Position,
    mut is_it: impl FnMut(Uuid) -> bool,
) -> Result<bool, ReadError> {
    let mut fetch = Fetch::ALL.backwards().limit(256);
    loop {
        let page = aggregate_page(mailroom, key, fetch)?;
        let later = |event: &&KeyedEvent| event.position.unwrap_or_default() > after;
        if page.events.iter().take_while(later).any(|event| is_it(event.commit_id)) {
            return Ok(true);
        }
        match page.events.last() {
            Some(last) if page.more && later(&last) => fetch = fetch.after(last.sequence),
            _ => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_without_ids_count_against_the_bound() {
        let mut earlier = EarlierCommits::default();
        for number in 0..200_000 {
            let key = AggregateKey::new(&format!("letter/{number}")).unwrap();
            earlier.keep(&key, HashSet::new());
            assert!(earlier.bytes <= MAX_BYTES);
        }
        assert!(earlier.by_target.len() < 110_000, "{} targets are kept", earlier.by_target.len());
    }
}
