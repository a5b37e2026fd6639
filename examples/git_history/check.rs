//! Holds the store's sums against git's own.
//!
//! What git says is asked again and read in another way than for the import: line by line, with quoted
//! names, and nothing kept of it but sums.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};

use seriatim::AggregateKey;

use crate::answers::{Sum, Totals};
use crate::git::{GitError, Repository, pathspec};
use crate::history::History;
use crate::log::{number, text};

/// One sum, counted twice.
struct Comparison {
    what: String,
    store: u64,
    git: u64,
}

/// All sums, and whether they agree.
pub(crate) struct Verdict {
    comparisons: Vec<Comparison>,
    /// In words, what has no number.
    wrongs: Vec<String>,
}

impl Verdict {
    pub(crate) fn is_sound(&self) -> bool {
        self.wrongs.is_empty() && self.comparisons.iter().all(|both| both.store == both.git)
    }

    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\n{:<36} {:>10} {:>10}", "Held against git's own counting", "store", "git")?;
        for Comparison { what, store, git } in &self.comparisons {
            let verdict = if store == git { "" } else { "  DIFFERS" };
            writeln!(out, "  {what:<34} {store:>10} {git:>10}{verdict}")?;
        }
        for wrong in &self.wrongs {
            writeln!(out, "  DIFFERS: {wrong}")?;
        }
        let said = if self.is_sound() { "All sums agree." } else { "The sums do NOT agree." };
        writeln!(out, "{said}")
    }
}

/// git's own sums.
#[derive(Default)]
struct Counted {
    all: Sum,
    authors: BTreeMap<String, Sum>,
    names: HashSet<Vec<u8>>,
    commits: u64,
}

/// Compares the store's totals, and the number of changes of the file shown, with what git counts.
pub(crate) fn check(
    repository: &Repository,
    history: &History,
    totals: &Totals,
    shown: Option<(&AggregateKey, usize)>,
) -> Result<Verdict, GitError> {
    let git = count(&repository.counted_log::<&str>(&["--format=%x00%an <%ae>"], &[])?)?;
    let mut comparisons = Vec::new();
    let mut compare = |what: &str, store: u64, git: u64| {
        comparisons.push(Comparison { what: what.to_owned(), store, git });
    };
    compare("changes", totals.all.changes, git.all.changes);
    compare("lines added", totals.all.added, git.all.added);
    compare("lines removed", totals.all.removed, git.all.removed);
    compare("binary changes", totals.all.binary, git.all.binary);
    compare("files", totals.files.len() as u64, git.names.len() as u64);
    compare("commits that changed a file", totals.commits.len() as u64, git.commits);
    compare("authors", totals.authors.len() as u64, git.authors.len() as u64);
    compare("commits read", history.commits.len() as u64, repository.count_commits(&[])?);
    compare("merges read", history.merges() as u64, repository.count_commits(&["--merges"])?);
    if let Some((key, changes)) = shown
        && let Some(file) = history.files.iter().find(|file| file.key == *key)
    {
        let git = changes_of(repository, &file.name)?;
        compare("changes of the file shown", changes as u64, git);
    }
    let mut wrongs = Vec::new();
    let authors: HashSet<_> = totals.authors.keys().chain(git.authors.keys()).collect();
    for author in authors {
        let (store, git) = (totals.authors.get(author), git.authors.get(author));
        if store != git {
            wrongs.push(format!("{author:?}: {store:?} in the store, {git:?} in git"));
        }
    }
    wrongs.sort();
    Ok(Verdict { comparisons, wrongs })
}

/// A line with a NUL in front is a commit's author; all others that are not empty are counts.
fn count(log: &[u8]) -> Result<Counted, GitError> {
    let mut counted = Counted::default();
    let mut author: Option<String> = None;
    let mut is_counted = false;
    for line in log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix(b"\0") {
            author = Some(text(name));
            is_counted = false;
            continue;
        }
        let mut parts = line.splitn(3, |byte| *byte == b'\t');
        let (Some(author), Some(added), Some(removed), Some(name)) =
            (&author, parts.next(), parts.next(), parts.next())
        else {
            return Err(GitError::garbled(line));
        };
        let sum = Sum {
            changes: 1,
            binary: u64::from(added == b"-"),
            added: number(added).unwrap_or_default(),
            removed: number(removed).unwrap_or_default(),
        };
        counted.all.plus(&sum);
        counted.authors.entry(author.clone()).or_default().plus(&sum);
        counted.names.insert(name.to_vec());
        counted.commits += u64::from(!is_counted);
        is_counted = true;
    }
    Ok(counted)
}

/// How often git says the file was changed, asked for it alone.
fn changes_of(repository: &Repository, name: &[u8]) -> Result<u64, GitError> {
    let asked = ["-z", "--format=", "--full-history", "--no-merges"];
    let log = repository.counted_log(&asked, &[pathspec(name)])?;
    // A directory that once had the file's name answers to it too.
    let named = |entry: &&[u8]| entry.splitn(3, |byte| *byte == b'\t').nth(2) == Some(name);
    Ok(log.split(|byte| *byte == 0).filter(named).count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_summed_by_author() {
        let log = b"\0Ada <a@b>\n\n3\t1\tx\n-\t-\t\"t\\tn\"\n\0Bob <b@c>\n\0Ada <a@b>\n\n1\t0\tx\n";
        let counted = count(log).unwrap();
        assert_eq!(counted.all, Sum { changes: 3, binary: 1, added: 4, removed: 1 });
        assert_eq!(counted.authors.len(), 1);
        assert_eq!((counted.names.len(), counted.commits), (2, 2));
    }
}
