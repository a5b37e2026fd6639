//! What the store answers, from its events alone: which files there are, how often and by whom each was
//! changed, and one file's history.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};

use seriatim::{AggregateKey, EventStore, ReadError};

use crate::history::{Changed, History};
use crate::names;

/// So many rows of a table are shown.
const ROWS: usize = 10;
/// So many changes of the one file's.
const CHANGES: usize = 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("{key}: event {sequence} cannot be understood: {error}")]
    Event { key: AggregateKey, sequence: u64, error: serde_json::Error },
}

/// Changes and lines, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) changes: u64,
    pub(crate) binary: u64,
    pub(crate) added: u64,
    pub(crate) removed: u64,
}

impl Sum {
    pub(crate) fn plus(&mut self, other: &Sum) {
        self.changes += other.changes;
        self.binary += other.binary;
        self.added += other.added;
        self.removed += other.removed;
    }
}

impl From<&Changed> for Sum {
    fn from(changed: &Changed) -> Self {
        Sum {
            changes: 1,
            binary: changed.binary.into(),
            added: changed.added,
            removed: changed.removed,
        }
    }
}

/// The whole count, read from the store.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) all: Sum,
    pub(crate) files: Vec<(AggregateKey, Sum)>,
    /// By `name <address>`.
    pub(crate) authors: BTreeMap<String, Sum>,
    /// The commits that changed a file.
    pub(crate) commits: HashSet<String>,
}

impl Totals {
    /// The file with the most changes.
    pub(crate) fn busiest(&self) -> Option<&AggregateKey> {
        self.files.first().map(|(key, _)| key)
    }
}

/// Reads every file's events; the busiest file comes first. The files are those that the store lists, and
/// the history's where it cannot list any.
pub(crate) async fn total(store: &EventStore, history: &History) -> Result<Totals, AnswerError> {
    let mut totals = Totals::default();
    let of_history = || history.files.iter().map(|file| file.key.clone()).collect();
    for key in names::listed(store).await?.unwrap_or_else(of_history) {
        let mut sum = Sum::default();
        for changed in history_of(store, &key).await? {
            let one = Sum::from(&changed);
            sum.plus(&one);
            totals.all.plus(&one);
            let author = format!("{} <{}>", changed.author, changed.email);
            totals.authors.entry(author).or_default().plus(&one);
            totals.commits.insert(changed.commit);
        }
        totals.files.push((key, sum));
    }
    let busy = |sum: &Sum| std::cmp::Reverse((sum.changes, sum.added + sum.removed));
    totals.files.sort_by(|(a, one), (b, other)| (busy(one), a).cmp(&(busy(other), b)));
    Ok(totals)
}

/// One file's changes, the first one first.
pub(crate) async fn history_of(
    store: &EventStore,
    key: &AggregateKey,
) -> Result<Vec<Changed>, AnswerError> {
    let mut changes = Vec::new();
    let mut events = store.read(key);
    while let Some(event) = events.next().await {
        let event = event?;
        let understood = event.json::<Changed>();
        changes.push(understood.map_err(|error| AnswerError::Event {
            key: key.clone(),
            sequence: event.sequence.get(),
            error,
        })?);
    }
    Ok(changes)
}

pub(crate) fn write_busiest(out: &mut impl Write, totals: &Totals) -> io::Result<()> {
    writeln!(out, "\nThe busiest files")?;
    for (key, sum) in totals.files.iter().take(ROWS) {
        write_row(out, sum, names::shown(key))?;
    }
    write_rest(out, "files", totals.files.iter().skip(ROWS).map(|(_, sum)| sum))
}

pub(crate) fn write_authors(out: &mut impl Write, totals: &Totals) -> io::Result<()> {
    let mut authors: Vec<_> = totals.authors.iter().collect();
    authors.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.changes));
    writeln!(out, "\nThe count per author")?;
    for (author, sum) in authors.iter().take(ROWS) {
        write_row(out, sum, author)?;
    }
    write_rest(out, "authors", authors.iter().skip(ROWS).map(|(_, sum)| *sum))?;
    write_row(out, &totals.all, "in all")
}

fn write_rest<'a>(
    out: &mut impl Write,
    what: &str,
    rest: impl Iterator<Item = &'a Sum>,
) -> io::Result<()> {
    let (mut number, mut all) = (0, Sum::default());
    for sum in rest {
        number += 1;
        all.plus(sum);
    }
    if number == 0 { Ok(()) } else { write_row(out, &all, &format!("({number} more {what})")) }
}

fn write_row(out: &mut impl Write, sum: &Sum, name: &str) -> io::Result<()> {
    let changes = format!("{} changes", sum.changes);
    let (added, removed) = (format!("+{}", sum.added), format!("-{}", sum.removed));
    writeln!(out, "  {changes:>15} {added:>10} {removed:>10}  {}", printable(name))
}

/// The latest changes of the file.
pub(crate) fn write_history(
    out: &mut impl Write,
    key: &AggregateKey,
    changes: &[Changed],
) -> io::Result<()> {
    let name = changes.first().and_then(|first| first.name.as_deref());
    writeln!(out, "\nThe history of {}", name.unwrap_or(names::shown(key)))?;
    let earlier = changes.len().saturating_sub(CHANGES);
    if earlier > 0 {
        writeln!(out, "  … {earlier} earlier changes")?;
    }
    for (index, changed) in changes.iter().enumerate().skip(earlier) {
        let counted = match changed.binary {
            true => "binary".to_owned(),
            false => format!("+{} -{}", changed.added, changed.removed),
        };
        let commit: String = changed.commit.chars().take(10).collect();
        let (day, subject) = (day(changed.time), printable(&changed.subject));
        let (sequence, author) = (index + 1, printable(&changed.author));
        writeln!(out, "  {sequence:>5}  {day}  {commit}  {counted:>13}  {author}: {subject}")?;
    }
    Ok(())
}

/// The day in UTC; the bare number if no calendar has it.
fn day(time: i64) -> String {
    match jiff::Timestamp::from_second(time) {
        Ok(time) => time.strftime("%Y-%m-%d").to_string(),
        Err(_) => time.to_string(),
    }
}

/// What anybody may have written into a commit, so that it cannot steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
