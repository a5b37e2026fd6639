//! The stores under measurement, one file for each that is not shared with the main benches.
//!
//! Every one is used as its authors mean it and as well as it can be, and every append is durable before
//! its answer. The callers are tasks on the same runtime for all; what stands between a task and the
//! store is said in [`CONTENDERS`] and in the store's file.

mod eventfold;
mod file;
mod fjall;
mod sqlite;
mod tephra;
mod umadb;

pub(crate) use self::eventfold::EventFold;
pub(crate) use self::file::{Space, WriteAhead};
pub(crate) use self::fjall::Fjall;
pub(crate) use self::sqlite::Sqlite;
pub(crate) use self::tephra::Tephra;
pub(crate) use self::umadb::Umadb;

/// What kind of a contender it is, which decides what it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// This crate.
    Ours,
    /// No store at all: what a file alone can do.
    Limit,
    /// A durable store.
    Peer,
    /// Memory only.
    Memory,
}

/// A contender's name on the command line, and what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) description: &'static str,
}

/// Every contender, in the order of the table.
pub(crate) const CONTENDERS: &[About] = &[
    About {
        name: "seriatim",
        kind: Kind::Ours,
        description: "this crate: `EventStore::open(\"redb:…\")`, `append` with an exact expectation",
    },
    About {
        name: "file-zeroed",
        kind: Kind::Limit,
        description: "a plain file, filled with zeros ahead and used again from its start; a writer \
                      thread with one write and one fdatasync per group; no checks, no index, no reads",
    },
    About {
        name: "file-growing",
        kind: Kind::Limit,
        description: "the same into a file that grows",
    },
    About {
        name: "redb-one",
        kind: Kind::Peer,
        description: "redb by hand, one durable transaction per append, on the caller's thread behind \
                      a fair lock",
    },
    About {
        name: "redb-group",
        kind: Kind::Peer,
        description: "redb by hand, group commit by a writer thread, one insert per event",
    },
    About {
        name: "fjall",
        kind: Kind::Peer,
        description: "fjall, group commit by a writer thread: a batch with `PersistMode::SyncData`",
    },
    About {
        name: "sqlite",
        kind: Kind::Peer,
        description: "rusqlite (bundled), WAL, `synchronous=FULL`, group commit by a writer thread, \
                      cached statements",
    },
    About {
        name: "tephra",
        kind: Kind::Peer,
        description: "tephra: `append_async` to its own group-committing writer, guarded by the \
                      aggregate's tag after the position last seen",
    },
    About {
        name: "umadb",
        kind: Kind::Peer,
        description: "umadb-core: its own group-committing writer thread, as its server runs it, with \
                      a page cache; guarded by the aggregate's tag after the position last seen",
    },
    About {
        name: "eventfold",
        kind: Kind::Peer,
        description: "eventfold: one log per aggregate, as its companion eventfold-es keeps them, \
                      appended to on the blocking pool; it flushes every event by itself and has no \
                      append of several",
    },
    About {
        name: "seriatim-memory",
        kind: Kind::Memory,
        description: "this crate: `EventStore::open(\"memory:\")`",
    },
    About {
        name: "redb-memory",
        kind: Kind::Memory,
        description: "redb by hand on its in-memory backend, group commit by a writer thread",
    },
];

/// The contender of this name.
pub(crate) fn about(name: &str) -> Option<&'static About> {
    CONTENDERS.iter().find(|about| about.name == name)
}
