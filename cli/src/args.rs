//! The arguments, as clap reads them. Their comments are the text of `--help` and the man page.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use seriatim::{AggregateKey, Expected, Position, Timestamp};
use uuid::Uuid;

use crate::exit::exit_codes;

/// Look into a seriatim event store, copy it, check it, repair it.
///
/// A store is named by its URL: `redb:DIRECTORY` for a store on this machine's disk, or the URL of
/// an engine that this build knows. On a terminal the answer is a table. Into a pipe or a file it
/// is NDJSON, one JSON object a line, and nothing else.
#[derive(Debug, Parser)]
#[command(
    name = "seriatim",
    version,
    after_help = "`seriatim help` says more and lists the exit codes.",
    after_long_help = exit_codes(),
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// NDJSON on a terminal, too
    #[arg(long, global = true, conflicts_with = "table")]
    pub(crate) json: bool,

    /// Tables into a pipe, too; for `| less`
    #[arg(long, global = true)]
    pub(crate) table: bool,

    /// No progress and no summary on standard error; errors still go there
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the aggregates: key, latest sequence, its type and time
    Keys(Keys),
    /// Show one aggregate's events
    Read(Read),
    /// Show the events of the whole store in commit order
    Log(Log),
    /// Append one event, or several as one append, to an aggregate
    Append(Append),
    /// Count events, aggregates and bytes, and what could be given back
    Stats(StoreOnly),
    /// Check that everything stored can be read and that nothing is missing
    Verify(StoreOnly),
    /// Make the index again from the log (redb only)
    Reindex(StoreOnly),
    /// Give back the space that the store does not need (redb only)
    Compact(Compact),
    /// Write all events as NDJSON, one a line, byte for byte
    Export(Export),
    /// Write exported events into a store, byte for byte
    Import(Import),
    /// Copy what is new in the store into a backup
    Backup(Backup),
    /// Make a store from a backup, or check the backup
    Restore(Restore),
    /// Show how far consumers are, and what they parked
    Consumers(Consumers),
    /// Look into a store in a browser
    #[cfg(feature = "inspect")]
    Inspect(Inspect),
    /// Measure how quickly a store appends and reads
    Bench(Bench),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Print the manual page
    Man(Man),
}

#[derive(Debug, Args)]
pub(crate) struct StoreOnly {
    /// The store's URL, such as redb:./data
    pub(crate) store: String,
}

#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// The store's URL, such as redb:./data
    pub(crate) store: String,
    /// Only keys that begin with this
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Only keys after this one, in byte order
    #[arg(long, value_name = "KEY")]
    pub(crate) after: Option<AggregateKey>,
    /// No more keys than this
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Keys alone, which saves one read per key
    #[arg(long)]
    pub(crate) names_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Read {
    /// The store's URL, such as redb:./data
    pub(crate) store: String,
    /// The aggregate's key
    pub(crate) key: AggregateKey,
    /// Begin with this sequence
    #[arg(long, value_name = "SEQUENCE")]
    pub(crate) from: Option<u64>,
    /// From the latest event to the first
    #[arg(long)]
    pub(crate) backwards: bool,
    /// No more events than this
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Show long data whole (tables only; NDJSON always has all)
    #[arg(long)]
    pub(crate) full: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// The store's URL, such as redb:./data
    pub(crate) store: String,
    /// Begin with this position, or with the first event of this time (RFC 3339)
    #[arg(long, value_name = "POSITION|TIME")]
    pub(crate) from: Option<Bound>,
    /// End with this position, or with the last event of this time (RFC 3339)
    #[arg(long, value_name = "POSITION|TIME")]
    pub(crate) to: Option<Bound>,
    /// Only aggregates of this category: what stands before the first `/` of the key
    #[arg(long, conflicts_with = "prefix")]
    pub(crate) category: Option<String>,
    /// Only aggregates whose key begins with this
    #[arg(long)]
    pub(crate) prefix: Option<String>,
    /// Only events of this type; can be repeated
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) types: Vec<String>,
    /// No more events than this
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// From the last event to the first
    #[arg(long, conflicts_with = "follow")]
    pub(crate) backwards: bool,
    /// Go on with events as they come, until Ctrl-C
    #[arg(long, short, conflicts_with = "to")]
    pub(crate) follow: bool,
    /// Show long data whole (tables only; NDJSON always has all)
    #[arg(long)]
    pub(crate) full: bool,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Position(Position),
    Time(Timestamp),
}

impl std::str::FromStr for Bound {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(position) = text.parse::<u64>() {
            return Ok(Bound::Position(Position::new(position)));
        }
        let time = text.parse::<Timestamp>();
        time.map(Bound::Time).map_err(|_| {
            "write a position such as 1000, or a time such as 2026-11-27T06:00:00Z".to_owned()
        })
    }
}

/// Append one event, or several as one append, to an aggregate.
///
/// `seriatim append redb:./data account/1 Opened '{"owner":"Ada"}'` appends one event. With
/// `--events FILE` the file holds one event a line, as `{"type":…,"data":…}` and perhaps `version`,
/// `metadata` and `event_id`; all of them are one append, written all or not at all.
#[derive(Debug, Args)]
pub(crate) struct Append {
    /// The store's URL, such as redb:./data
    pub(crate) store: String,
    /// The aggregate's key
    pub(crate) key: AggregateKey,
    /// The event's type
    #[arg(value_name = "TYPE", required_unless_present = "events", conflicts_with = "events")]
    pub(crate) event_type: Option<String>,
    /// The event's data, as JSON; `-` reads it from standard input
    #[arg(default_value = "{}")]
    pub(crate) data: String,
    /// Read the events from this file, one a line; `-` for standard input
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["schema_version", "metadata", "event_id"]
    )]
    pub(crate) events: Option<PathBuf>,
    /// What the latest sequence must be: `any`, `none`, or a number
    #[arg(long, default_value = "any", value_parser = expected)]
    pub(crate) expect: Expected,
    /// The append's id; an append that is repeated with its id is written once
    #[arg(long, value_name = "UUID")]
    pub(crate) commit_id: Option<Uuid>,
    /// The version of the data's schema
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) schema_version: u16,
    /// Metadata, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub(crate) metadata: Option<String>,
    /// The event's own id
    #[arg(long, value_name = "UUID")]
    pub(crate) event_id: Option<Uuid>,
    /// Make the store if there is none (redb)
    #[arg(long)]
    pub(crate) create: bool,
}

fn expected(text: &str) -> Result<Expected, String> {
    match text {
        "any" => Ok(Expected::Any),
        "none" => Ok(Expected::NoEvents),
        number => number
            .parse::<u64>()
            .map(Expected::from)
            .map_err(|_| "write `any`, `none`, or the latest sequence".to_owned()),
    }
}

/// Give back the space that the store does not need (redb only).
///
/// Pages move to the front of events.redb, and the file becomes shorter. No other process can open
/// the store meanwhile. A command that is killed loses nothing: the store has the same events, and
/// the next opening repairs the file, which takes as long as reading it.
#[derive(Debug, Args)]
pub(crate) struct Compact {
    /// The store's URL, such as redb:./data
    pub(crate) store: String,
}

/// Write all events as NDJSON, one a line, byte for byte.
///
/// Events come in commit order where the store keeps a log, else key by key. `seriatim import`
/// reads what this writes, and so does every tool that reads lines of JSON.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The store's URL, such as redb:./data
    pub(crate) store: String,
    /// Write into this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Go on with the file behind its last event
    #[arg(long, requires = "output", conflicts_with = "from")]
    pub(crate) resume: bool,
    /// Begin with this position of the log
    #[arg(long, value_name = "POSITION")]
    pub(crate) from: Option<u64>,
    /// Only aggregates whose key begins with this
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
}

/// Write exported events into a store, byte for byte.
///
/// Sequences, commit ids, event ids, times, metadata, versions and data stay as they are; positions
/// are the store's own. Events that are there already are compared and skipped, so an import that
/// was interrupted is resumed by running it again. Other content under the same key and sequence is
/// a conflict, which ends the import and is named.
///
/// A store with a log keeps times in order. Input without positions, from a store without a log, is
/// therefore sorted by time first, in temporary files.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The store's URL, such as redb:./data
    pub(crate) store: String,
    /// The file to read; standard input where it is left out or `-`
    pub(crate) file: Option<PathBuf>,
    /// Make the store if there is none (redb)
    #[arg(long)]
    pub(crate) create: bool,
    /// Let the store keep a later time where an event's time is before that of the event in front
    #[arg(long)]
    pub(crate) adjust_times: bool,
}

/// Copy what is new in the store into a backup.
///
/// The first backup into a directory copies all events, a further one those that are new. One that
/// was interrupted goes on when it is run again. The directory belongs to one store. Snapshots of
/// entities and the positions of consumers are not part of a backup.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The store's URL, such as redb:./data
    pub(crate) store: String,
    /// The backup's directory: absent, empty, or an earlier backup of this store
    pub(crate) target: PathBuf,
}

/// Make a store from a backup, or check the backup.
///
/// The store must be absent or empty. Events come back byte for byte, at the same positions. A
/// restore that was interrupted goes on when it is run again.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup's directory
    pub(crate) backup: PathBuf,
    /// The URL of the store to make, such as redb:./data
    #[arg(required_unless_present = "check", conflicts_with = "check")]
    pub(crate) store: Option<String>,
    /// End with this position; an append is restored whole or not at all
    #[arg(long, value_name = "POSITION", conflicts_with = "check")]
    pub(crate) to_position: Option<u64>,
    /// End with the last event of this time (RFC 3339) or before it
    #[arg(long, value_name = "TIME", conflicts_with_all = ["check", "to_position"])]
    pub(crate) to_time: Option<Timestamp>,
    /// Read the backup and check all of it; write nothing
    #[arg(long)]
    pub(crate) check: bool,
}

/// Show how far consumers are, and what they parked.
///
/// A store does not list its consumers' names yet, so name those that you want to see.
#[derive(Debug, Args)]
pub(crate) struct Consumers {
    /// The store's URL, such as redb:./data
    pub(crate) store: String,
    /// The consumers' names; all where they are left out
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// Look into a store in a browser: aggregates and their histories, the log, consumers, figures.
///
/// It serves a page until Ctrl-C, and only reads. On a loopback address it answers this machine
/// alone. On any other address requests need a token, which is part of the link that is printed.
#[cfg(feature = "inspect")]
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The store's URL, such as redb:./data
    pub(crate) store: String,
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDRESS:PORT")]
    pub(crate) listen: std::net::SocketAddr,
    /// The token that requests need; one is made where it is needed and left out
    #[arg(long)]
    pub(crate) token: Option<seriatim_inspector::Token>,
}

/// Measure how quickly a store appends and reads.
///
/// Without a URL it measures redb in a temporary directory under this one, and removes it. A redb
/// directory that is named must be absent or empty, and is kept. In an engine the events stay for
/// good, under keys that begin with `bench-`, so that needs `--leave-events`.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The store's URL; a temporary redb store where it is left out
    pub(crate) store: Option<String>,
    /// Concurrent writers
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) writers: u32,
    /// Aggregates that the writers share in turn; one for each writer where it is left out
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) aggregates: Option<u32>,
    /// Seconds of appending
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: u32,
    /// Bytes of each event's data
    #[arg(
        long,
        default_value_t = 200,
        value_parser = clap::value_parser!(u32).range(16..=1_000_000)
    )]
    pub(crate) bytes: u32,
    /// Allow events that nothing removes in an engine's table
    #[arg(long)]
    pub(crate) leave_events: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write the pages of all commands into this directory instead
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) dir: Option<PathBuf>,
}
