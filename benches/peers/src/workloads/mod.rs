//! What every contender is put through, each written once against [`Contender`].
//!
//! A workload opens its store in an empty directory, measures, closes it and hands back [`Figures`]. It
//! runs in a process of its own, so that neither memory nor threads of one measurement reach the next.

mod cold_keys;
mod many;
mod replay;
mod stale;
mod writers;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::contenders::{About, Kind};
use crate::figures::Figures;
use crate::support::Contender;

pub(crate) use replay::Layout;

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// Writers with aggregates of their own; events per append.
    Append { writers: usize, events: usize },
    /// Callers that are refused.
    Stale { callers: usize },
    /// One reader, over and over.
    Replay(Layout),
    /// A great many events over a great many aggregates in random order.
    Many,
    /// One append in ten goes to an aggregate that the store has to look up.
    ColdKeys,
}

/// A workload's name on the command line, and in the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) workload: Workload,
    /// Whether it is for the stores that are memory only, or for the durable ones.
    pub(crate) memory: bool,
}

const fn entry(name: &'static str, title: &'static str, workload: Workload) -> Entry {
    Entry { name, title, workload, memory: false }
}

/// Every workload, in the order of the table.
pub(crate) const WORKLOADS: &[Entry] = &[
    entry("append-1", "1 writer", Workload::Append { writers: 1, events: 1 }),
    entry("append-64", "64 writers", Workload::Append { writers: 64, events: 1 }),
    entry("append-512", "512 writers", Workload::Append { writers: 512, events: 1 }),
    entry(
        "batch-1000",
        "1 writer, 1,000 events per append",
        Workload::Append { writers: 1, events: 1_000 },
    ),
    entry("stale-1", "stale appends, 1 caller", Workload::Stale { callers: 1 }),
    entry("stale-64", "stale appends, 64 callers", Workload::Stale { callers: 64 }),
    entry("replay-one", "replay 10,000 events of one", Workload::Replay(Layout::One)),
    entry(
        "replay-together",
        "replay 10,000 × 10 at random, written together",
        Workload::Replay(Layout::Together),
    ),
    entry(
        "replay-interleaved",
        "replay 10,000 × 10 at random, written interleaved",
        Workload::Replay(Layout::Interleaved),
    ),
    entry("many", "1,000,000 events over 100,000 aggregates at random", Workload::Many),
    entry("cold-keys", "64 writers, one cold key in ten appends", Workload::ColdKeys),
    Entry {
        name: "memory-64",
        title: "memory only, 64 writers",
        workload: Workload::Append { writers: 64, events: 1 },
        memory: true,
    },
];

impl Entry {
    /// Whether this contender takes part; what is left out, and why, is said in the table's notes.
    pub(crate) fn is_for(&self, about: &About) -> bool {
        if self.memory != (about.kind == Kind::Memory) {
            return false;
        }
        match (self.workload, about.name) {
            // It shows a cost within one store.
            (Workload::ColdKeys, name) => name == "seriatim",
            (Workload::Append { .. }, "eventfold") => {
                self.workload != Workload::Append { writers: 1, events: 1_000 }
            }
            // A flush for each of 100,000 and 1,000,000 events, and as many files as aggregates.
            (Workload::Many | Workload::Replay(Layout::Together), "eventfold") => false,
            (Workload::Replay(Layout::Interleaved), "eventfold") => false,
            // It writes by itself what the group-committing one reads the same.
            (Workload::Many | Workload::Replay(_), "redb-one") => false,
            (Workload::Append { .. }, _) => true,
            (_, _) => about.kind != Kind::Limit,
        }
    }
}

/// How long and how large.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    /// The measured part of a workload that is measured by time.
    pub(crate) seconds: f64,
    /// Divides the events and aggregates of the workloads that are measured by size.
    pub(crate) divide_by: usize,
}

/// The part of time in which what happens is counted; before it, caches and files warm up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    begin: Instant,
    end: Instant,
}

impl Window {
    /// A window that opens after a sixth of its length.
    pub(crate) fn soon(scale: Scale) -> Self {
        let length = Duration::from_secs_f64(scale.seconds);
        let begin = Instant::now() + length / 6;
        Window { begin, end: begin + length }
    }

    pub(crate) fn has(self, instant: Instant) -> bool {
        (self.begin..self.end).contains(&instant)
    }

    pub(crate) fn is_over(self, instant: Instant) -> bool {
        instant >= self.end
    }

    pub(crate) fn seconds(self) -> f64 {
        (self.end - self.begin).as_secs_f64()
    }
}

/// Runs a workload against a store in an empty directory.
pub(crate) async fn measure<C: Contender>(
    workload: Workload,
    scale: Scale,
    directory: &Path,
    open: impl AsyncFn(&Path) -> C,
) -> Figures {
    match workload {
        Workload::Append { writers, events } => {
            writers::measure(writers, events, scale, open(directory).await).await
        }
        Workload::Stale { callers } => stale::measure(callers, scale, open(directory).await).await,
        Workload::Replay(layout) => replay::measure(layout, scale, directory, open).await,
        Workload::Many => many::measure(scale, directory, open).await,
        Workload::ColdKeys => cold_keys::measure(scale, directory, open).await,
    }
}
