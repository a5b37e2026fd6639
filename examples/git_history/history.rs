//! The history in an order that new commits only add to, and each file's part of it.
//!
//! git's own orders follow dates, so that merging an old branch puts commits between those that are there
//! already. Here the order is that of a walk that finishes the first parent's whole history before it
//! turns to the second's: a commit made on top of another, merge or not, leaves all that came before in
//! place, and each commit comes after its parents.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use seriatim::{AggregateKey, KeyError};
use uuid::Uuid;

use crate::log::{Change, Commit, Lines};
use crate::names;

/// The event's type.
pub(crate) const CHANGED: &str = "Changed";

/// The event's data: what one commit did to one file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Changed {
    pub(crate) commit: String,
    pub(crate) author: String,
    pub(crate) email: String,
    pub(crate) time: i64,
    pub(crate) subject: String,
    pub(crate) added: u64,
    pub(crate) removed: u64,
    /// git counts no lines in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) binary: bool,
    /// The whole name, where the key has only its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
}

pub(crate) struct History {
    pub(crate) commits: Vec<Commit>,
    pub(crate) files: Vec<File>,
}

pub(crate) struct File {
    pub(crate) name: Vec<u8>,
    pub(crate) key: AggregateKey,
    /// The changes it went through: of which commit, and lines if it has any.
    steps: Vec<(usize, Option<Lines>)>,
}

impl File {
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }
}

impl History {
    pub(crate) fn new(commits: Vec<Commit>) -> Result<Self, KeyError> {
        let commits = in_order(commits);
        let mut files: Vec<File> = Vec::new();
        let mut by_name: HashMap<&[u8], usize> = HashMap::new();
        for (index, commit) in commits.iter().enumerate() {
            for Change { name, lines } in &commit.changes {
                let file = *by_name.entry(name).or_insert(files.len());
                if file == files.len() {
                    let key = names::key(name)?;
                    files.push(File { name: name.clone(), key, steps: Vec::new() });
                }
                files[file].steps.push((index, *lines));
            }
        }
        // Long histories first, so that no importer is left alone with one at the end.
        files.sort_by_key(|file| std::cmp::Reverse(file.len()));
        Ok(History { commits, files })
    }

    /// How many events the history makes.
    pub(crate) fn len(&self) -> usize {
        self.files.iter().map(File::len).sum()
    }

    pub(crate) fn merges(&self) -> usize {
        self.commits.iter().filter(|commit| commit.parents.len() > 1).count()
    }

    /// The id of the append that makes the file's event at `index`: the same in every run.
    pub(crate) fn commit_id(&self, file: &File, index: usize) -> Option<Uuid> {
        let (commit, _) = file.steps.get(index)?;
        let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, self.commits.get(*commit)?.hash.as_bytes());
        Some(Uuid::new_v5(&hash, &file.name))
    }

    /// The file's event at `index`, counted from 0.
    pub(crate) fn changed(&self, file: &File, index: usize) -> Option<Changed> {
        let (commit, lines) = file.steps.get(index)?;
        let commit = self.commits.get(*commit)?;
        let counted = lines.unwrap_or_default();
        Some(Changed {
            commit: commit.hash.clone(),
            author: commit.author.clone(),
            email: commit.email.clone(),
            time: commit.time,
            subject: commit.subject.clone(),
            added: counted.added,
            removed: counted.removed,
            binary: lines.is_none(),
            name: (!names::is_whole(&file.key)).then(|| names::escaped(&file.name)),
        })
    }
}

/// Parents first, and of two parents the first one's whole history first. git told the commit that all
/// others lead to first.
fn in_order(commits: Vec<Commit>) -> Vec<Commit> {
    let place: HashMap<String, usize> =
        commits.iter().enumerate().map(|(index, commit)| (commit.hash.clone(), index)).collect();
    let mut commits: Vec<Option<Commit>> = commits.into_iter().map(Some).collect();
    let mut entered = vec![false; commits.len()];
    let mut ordered = Vec::with_capacity(commits.len());
    for tip in 0..commits.len() {
        let mut open = vec![(tip, 0)];
        entered[tip] = true;
        while let Some((index, parent)) = open.pop() {
            let Some(commit) = commits[index].as_ref() else { continue };
            let Some(hash) = commit.parents.get(parent) else {
                ordered.extend(commits[index].take());
                continue;
            };
            open.push((index, parent + 1));
            // A shallow clone does not have all parents.
            if let Some(parent) = place.get(hash).copied().filter(|parent| !entered[*parent]) {
                entered[parent] = true;
                open.push((parent, 0));
            }
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits of the form `hash parent parent`, in the order git tells them: the latest first.
    fn order(told: &[&str]) -> String {
        let commits = told.iter().map(|line| {
            let mut words = line.split(' ').map(str::to_owned);
            Commit {
                hash: words.next().unwrap(),
                parents: words.collect(),
                author: String::new(),
                email: String::new(),
                time: 0,
                subject: String::new(),
                changes: Vec::new(),
            }
        });
        in_order(commits.collect()).into_iter().map(|commit| commit.hash).collect()
    }

    #[test]
    fn a_merge_leaves_the_first_parents_history_in_place() {
        assert_eq!(order(&["c b", "b a", "a"]), "abc");
        assert_eq!(order(&["m c x", "c b", "x a", "b a", "a"]), "abcxm");
        assert_eq!(order(&["m c x", "x a", "c b", "b a", "a"]), "abcxm");
    }

    #[test]
    fn unrelated_roots_and_missing_parents_are_no_obstacle() {
        assert_eq!(order(&["m b y", "y x", "b a", "x gone", "a"]), "abxym");
    }

    #[test]
    fn a_history_of_great_length_is_walked_without_recursion() {
        let told: Vec<String> = (0..100_000).rev().map(|n| format!("{} {n}", n + 1)).collect();
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        assert!(order(&told).starts_with("1234567891011"));
    }
}
