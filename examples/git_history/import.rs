//! Brings the store up to the history: looks first, then writes what is missing.
//!
//! Looking compares each file's last stored event with the history at that place, and the files that the
//! store lists (where it can) with the history's. Unless every stored file
//! is a beginning of git's, nothing at all is written: whoever rewrote the history has to say what becomes
//! of the events. Then the importers take files from one queue, each a whole file at a time, and append
//! one event after the other, each expecting exactly the one before it, under a commit id made from git's
//! hash and the name. The store knows such an append again, however long ago it was: a run that was killed
//! goes on where it stopped, and two runs at once write nothing twice.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::ProgressBar;
use seriatim::{AggregateKey, Append, AppendError, EventStore, NewEvent, ReadError};
use tokio::task::{JoinError, JoinSet};

use crate::history::{CHANGED, Changed, History};
use crate::names;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("{}", told(.0))]
    Rewritten(Vec<Rewritten>),
    #[error("{0}\nNothing is written twice when it is run again.")]
    Append(#[from] AppendError),
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("an importer died: {0}")]
    Died(#[from] JoinError),
}

/// A stored file that is no beginning of git's.
#[derive(Debug)]
pub(crate) struct Rewritten {
    key: AggregateKey,
    how: Difference,
}

#[derive(Debug)]
enum Difference {
    /// git's history has no such file.
    Unknown,
    Longer {
        stored: u64,
        history: u64,
    },
    Other {
        sequence: u64,
        stored: String,
        history: String,
    },
    NotOurs {
        sequence: u64,
    },
}

/// So many rewritten files are named; all are counted.
const TOLD: usize = 10;

fn told(rewritten: &[Rewritten]) -> String {
    let mut text = format!(
        "the store holds another history than git; nothing was written. Files that differ: {}",
        rewritten.len()
    );
    for one in rewritten.iter().take(TOLD) {
        text.push_str(&format!("\n  {one}"));
    }
    if rewritten.len() > TOLD {
        text.push_str("\n  …");
    }
    text + "\nIt was rewritten since, or is another repository's. Import it into a store of its own."
}

impl fmt::Display for Rewritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", names::shown(&self.key))?;
        match &self.how {
            Difference::Unknown => f.write_str("not in git's history"),
            Difference::Longer { stored, history } => {
                write!(f, "{stored} changes are stored, git has {history}")
            }
            Difference::Other { sequence, stored, history } => {
                write!(f, "change {sequence} is stored as of commit {stored}, git has {history}")
            }
            Difference::NotOurs { sequence } => {
                write!(f, "event {sequence} was not written by this importer")
            }
        }
    }
}

/// How much of each of the history's files is stored.
pub(crate) struct Survey {
    stored: Vec<u64>,
}

impl Survey {
    pub(crate) fn events(&self) -> u64 {
        self.stored.iter().sum()
    }
}

/// Looks at what is stored; an error if it is not a beginning of the history.
pub(crate) async fn survey(store: &EventStore, history: &History) -> Result<Survey, ImportError> {
    let mut rewritten = Vec::new();
    let mut stored = Vec::with_capacity(history.files.len());
    for file in &history.files {
        let latest = store.latest_sequence(&file.key).await?.get();
        stored.push(latest);
        let length = file.len() as u64;
        let how = match latest {
            0 => None,
            _ if latest > length => Some(Difference::Longer { stored: latest, history: length }),
            _ => difference(store, history, file, latest).await?,
        };
        rewritten.extend(how.map(|how| Rewritten { key: file.key.clone(), how }));
    }
    let known: std::collections::HashSet<_> = history.files.iter().map(|file| &file.key).collect();
    for key in names::listed(store).await?.unwrap_or_default() {
        if !known.contains(&key) {
            rewritten.push(Rewritten { key, how: Difference::Unknown });
        }
    }
    if rewritten.is_empty() {
        Ok(Survey { stored })
    } else {
        Err(ImportError::Rewritten(rewritten))
    }
}

/// In what the event with this sequence differs from the history.
async fn difference(
    store: &EventStore,
    history: &History,
    file: &crate::history::File,
    sequence: u64,
) -> Result<Option<Difference>, ReadError> {
    let known = usize::try_from(sequence - 1).ok().and_then(|index| history.changed(file, index));
    let event = store.read(&file.key).from(sequence).limit(1).next().await.transpose()?;
    let stored = event.and_then(|event| event.json::<Changed>().ok());
    Ok(match (stored, known) {
        (Some(stored), Some(known)) if stored.commit == known.commit => None,
        (Some(stored), Some(known)) => {
            Some(Difference::Other { sequence, stored: stored.commit, history: known.commit })
        }
        _ => Some(Difference::NotOurs { sequence }),
    })
}

/// What the importers did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Imported {
    pub(crate) written: u64,
    /// Appends that were found written: by another run at the same time.
    pub(crate) repeated: u64,
}

/// Appends all that the survey found missing.
pub(crate) async fn import(
    store: &EventStore,
    history: &Arc<History>,
    survey: Survey,
    importers: usize,
    progress: &ProgressBar,
) -> Result<Imported, ImportError> {
    let queue = Arc::new(Queue { next: AtomicUsize::new(0), stored: survey.stored });
    let mut tasks = JoinSet::new();
    for _ in 0..importers {
        let (store, history) = (store.clone(), history.clone());
        let (queue, progress) = (queue.clone(), progress.clone());
        tasks.spawn(async move { importer(&store, &history, &queue, &progress).await });
    }
    let mut all = Imported::default();
    // An error drops the set, and with it the other importers.
    while let Some(ended) = tasks.join_next().await {
        let one = ended??;
        all.written += one.written;
        all.repeated += one.repeated;
    }
    Ok(all)
}

struct Queue {
    /// The next file that nobody has taken.
    next: AtomicUsize,
    stored: Vec<u64>,
}

async fn importer(
    store: &EventStore,
    history: &History,
    queue: &Queue,
    progress: &ProgressBar,
) -> Result<Imported, ImportError> {
    let mut imported = Imported::default();
    loop {
        let taken = queue.next.fetch_add(1, Ordering::Relaxed);
        let (Some(file), Some(stored)) = (history.files.get(taken), queue.stored.get(taken)) else {
            return Ok(imported);
        };
        for latest in *stored..file.len() as u64 {
            let index = latest as usize;
            let (Some(commit_id), Some(changed)) =
                (history.commit_id(file, index), history.changed(file, index))
            else {
                break;
            };
            let append = Append::to(&file.key)
                .expect(latest)
                .commit_id(commit_id)
                .event(NewEvent::new(CHANGED, &changed));
            match store.append(append).await?.repeated {
                true => imported.repeated += 1,
                false => imported.written += 1,
            }
            progress.inc(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Change, Commit, Lines};

    fn history(commits: usize, salt: &str) -> Arc<History> {
        let changes = |n| {
            (0..=n % 5).map(move |file| Change {
                name: format!("file {file}").into_bytes(),
                lines: Some(Lines { added: n as u64, removed: 1 }),
            })
        };
        let commit = |n: usize| Commit {
            hash: format!("{salt}{n}"),
            parents: n.checked_sub(1).map(|parent| format!("{salt}{parent}")).into_iter().collect(),
            author: "Ada".to_owned(),
            email: "ada@example.com".to_owned(),
            time: n as i64,
            subject: format!("commit {n}"),
            changes: changes(n).collect(),
        };
        Arc::new(History::new((0..commits).rev().map(commit).collect()).unwrap())
    }

    async fn run(store: &EventStore, history: &Arc<History>) -> Result<Imported, ImportError> {
        let survey = survey(store, history).await?;
        import(store, history, survey, 4, &ProgressBar::hidden()).await
    }

    async fn stored(store: &EventStore) -> u64 {
        let mut events = 0;
        for key in store.keys(names::PREFIX).collect().await.unwrap() {
            events += store.latest_sequence(key).await.unwrap().get();
        }
        events
    }

    #[tokio::test]
    async fn runs_at_once_write_nothing_twice() {
        let store = EventStore::open("memory:").await.unwrap();
        let history = history(60, "a");
        // All look before any writes, so that each believes that all is missing.
        let mut runs = Vec::new();
        for _ in 0..3 {
            runs.push(survey(&store, &history).await.unwrap());
        }
        let bar = ProgressBar::hidden();
        let runs = runs.into_iter().map(|survey| import(&store, &history, survey, 4, &bar));
        let runs = futures::future::try_join_all(runs).await.unwrap();
        let events = history.len() as u64;
        assert_eq!(runs.iter().map(|run| run.written).sum::<u64>(), events, "{runs:?}");
        assert_eq!(runs.iter().map(|run| run.repeated).sum::<u64>(), 2 * events, "{runs:?}");
        assert_eq!(stored(&store).await, events);
        assert_eq!(run(&store, &history).await.unwrap(), Imported::default());
    }

    #[tokio::test]
    async fn what_is_new_is_added() {
        let store = EventStore::open("memory:").await.unwrap();
        let (early, late) = (history(10, "a"), history(23, "a"));
        run(&store, &early).await.unwrap();
        let added = run(&store, &late).await.unwrap();
        assert_eq!(added, Imported { written: (late.len() - early.len()) as u64, repeated: 0 });
    }

    #[tokio::test]
    async fn another_history_is_not_mixed_in() {
        let store = EventStore::open("memory:").await.unwrap();
        let first = history(10, "a");
        run(&store, &first).await.unwrap();
        for other in [history(10, "b"), history(30, "b"), history(9, "a"), history(3, "a")] {
            match run(&store, &other).await {
                Err(ImportError::Rewritten(files)) => assert!(!files.is_empty()),
                other => panic!("{other:?}"),
            }
            assert_eq!(stored(&store).await, first.len() as u64);
        }
    }
}
