//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::contenders::{self, About, CONTENDERS};
use crate::workloads::{Entry, Scale, WORKLOADS};

pub(crate) const HELP: &str = "\
Measures the store beside its peers and prints one table. Everything takes about half an hour.

cargo run --release --manifest-path benches/peers/Cargo.toml -- [FLAGS]

  --only NAMES       these contenders only, with commas between
  --workloads NAMES  these workloads only, with commas between
  --seconds SECONDS  the length of a measurement that is measured by time (3)
  --rounds COUNT     measurements of each, of which the median counts (3)
  --quick            one short round with a tenth of the events: to see that it works
  --dir DIRECTORY    where the stores are made, and removed again (the system's temporary folder)
  --out FILE         where the table is written besides (target/peers.md of the repository)
  --list             print the names of contenders and workloads
";

/// What is asked for.
#[derive(Debug)]
pub(crate) enum Flags {
    /// Print this and end.
    Print(String),
    /// Measure and make the table.
    Table(Table),
    /// Measure once, in this process.
    Measure(Measure),
}

/// The run that makes the table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) contenders: Vec<&'static About>,
    pub(crate) workloads: Vec<&'static Entry>,
    pub(crate) scale: Scale,
    pub(crate) rounds: usize,
    pub(crate) directory: PathBuf,
    pub(crate) out: PathBuf,
}

/// One measurement, asked for by the process that makes the table.
#[derive(Debug)]
pub(crate) struct Measure {
    pub(crate) contender: &'static About,
    pub(crate) workload: &'static Entry,
    pub(crate) scale: Scale,
    pub(crate) directory: PathBuf,
}

impl Flags {
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, lexopt::Error> {
        use lexopt::prelude::*;

        let mut contenders: Vec<&About> = CONTENDERS.iter().collect();
        let mut workloads: Vec<&Entry> = WORKLOADS.iter().collect();
        let (mut seconds, mut rounds, mut divide_by) = (None, None, None);
        let (mut directory, mut out, mut quick, mut measure) = (None, None, false, false);
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("only") => contenders = named(&parser.value()?.string()?, contenders::about)?,
                Long("workloads") => workloads = named(&parser.value()?.string()?, workload)?,
                Long("seconds") => seconds = Some(parser.value()?.parse()?),
                Long("rounds") => rounds = Some(parser.value()?.parse()?),
                Long("divide-by") => divide_by = Some(parser.value()?.parse()?),
                Long("quick") => quick = true,
                Long("dir") => directory = Some(PathBuf::from(parser.value()?)),
                Long("out") => out = Some(PathBuf::from(parser.value()?)),
                Long("measure") => measure = true,
                Long("list") => return Ok(Flags::Print(list())),
                Long("help") | Short('h') => return Ok(Flags::Print(HELP.to_owned())),
                _ => return Err(argument.unexpected()),
            }
        }
        let seconds = seconds.unwrap_or(if quick { 0.5 } else { 3.0 });
        if !(0.1..=600.0).contains(&seconds) {
            return Err("--seconds must be 0.1 to 600".into());
        }
        let divide_by = divide_by.unwrap_or(if quick { 10 } else { 1 });
        let scale = Scale { seconds, divide_by };
        let directory = directory.unwrap_or_else(std::env::temp_dir);
        match (measure, &contenders[..], &workloads[..]) {
            (true, [contender], [workload]) => {
                Ok(Flags::Measure(Measure { contender, workload, scale, directory }))
            }
            (true, ..) => Err("--measure takes one contender and one workload".into()),
            (false, ..) => Ok(Flags::Table(Table {
                contenders,
                workloads,
                scale,
                rounds: rounds.unwrap_or(if quick { 1 } else { 3 }).max(1),
                directory,
                out: out.unwrap_or_else(default_out),
            })),
        }
    }
}

fn named<T>(
    names: &str,
    find: impl Fn(&str) -> Option<&'static T>,
) -> Result<Vec<&'static T>, lexopt::Error> {
    let found = names.split(',').map(|name| {
        find(name.trim()).ok_or_else(|| format!("{name:?} is unknown; --list prints the names"))
    });
    found.collect::<Result<_, _>>().map_err(Into::into)
}

fn workload(name: &str) -> Option<&'static Entry> {
    WORKLOADS.iter().find(|entry| entry.name == name)
}

fn list() -> String {
    let contenders =
        CONTENDERS.iter().map(|about| format!("  {:16} {}\n", about.name, about.description));
    let workloads = WORKLOADS.iter().map(|entry| format!("  {:18} {}\n", entry.name, entry.title));
    format!(
        "contenders\n{}workloads\n{}",
        contenders.collect::<String>(),
        workloads.collect::<String>()
    )
}

/// `target/peers.md` of the repository, which cargo tells where it is; without cargo, of the directory
/// this runs in.
fn default_out() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let root = package.as_deref().and_then(|package| package.ancestors().nth(2));
    root.map_or_else(PathBuf::new, PathBuf::from).join("target/peers.md")
}
