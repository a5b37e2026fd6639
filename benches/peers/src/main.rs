//! The store beside its peers: one command, one table.
//!
//! ```sh
//! cargo run --release --manifest-path benches/peers/Cargo.toml
//! ```
//!
//! A run takes every workload, and in it every contender in turn, three times; each measurement is a
//! process of its own ([`rounds`]), started by this program with `--measure`. The medians are held
//! against the targets ([`targets`]) and come out as a table in Markdown ([`table`]), on standard
//! output and in `target/peers.md`. Progress goes to standard error.
//!
//! The contenders' common face, the stores by hand on redb and the payloads are those of the main
//! package's benches.

// A bench has nobody to hand an error to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod contenders;
mod figures;
mod flags;
mod machine;
mod rounds;
#[path = "../../support/mod.rs"]
mod support;
mod table;
mod targets;
mod workloads;

use std::error::Error;
use std::path::Path;
use std::{fs, io};

use contenders::{EventFold, Fjall, Space, Sqlite, Tephra, Umadb, WriteAhead};
use figures::Figures;
use flags::{Flags, Measure, Table};
use support::{RedbGroupCommit, RedbOneByOne, Seriatim};
use workloads::measure;

/// Of everything that is drawn at random.
const SEED: u64 = 0x5e71_a71a;

fn main() -> Result<(), Box<dyn Error>> {
    match Flags::parse(std::env::args_os().skip(1))? {
        Flags::Print(text) => print!("{text}"),
        Flags::Measure(asked) => println!("{}", run_one(&asked)?.to_line()),
        Flags::Table(table) => make_table(&table)?,
    }
    Ok(())
}

fn make_table(table: &Table) -> io::Result<()> {
    let results = rounds::run(table);
    let text = table::render(table, &results);
    print!("{text}");
    if let Some(parent) = table.out.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&table.out, text)?;
    eprintln!("written to {}; seed {SEED:#x}", table.out.display());
    if results.failures.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(format!("{} measurements failed", results.failures.len())))
}

/// One contender, one workload, this process.
fn run_one(asked: &Measure) -> Result<Figures, Box<dyn Error>> {
    let (directory, scale) = (&*asked.directory, asked.scale);
    let workload = asked.workload.workload;
    let run = support::runtime();
    Ok(match asked.contender.name {
        "seriatim" => run.block_on(measure(workload, scale, directory, async |path: &Path| {
            Seriatim::open(&format!("redb:{}", path.display())).await
        })),
        "seriatim-memory" => run.block_on(measure(workload, scale, directory, async |_: &Path| {
            Seriatim::open("memory:").await
        })),
        "redb-memory" => run.block_on(measure(workload, scale, directory, async |_: &Path| {
            RedbGroupCommit::in_memory()
        })),
        "file-zeroed" => run.block_on(measure(workload, scale, directory, async |path: &Path| {
            WriteAhead::open(path, Space::Zeroed)
        })),
        "file-growing" => run.block_on(measure(workload, scale, directory, async |path: &Path| {
            WriteAhead::open(path, Space::Growing)
        })),
        "redb-one" => run.block_on(measure(workload, scale, directory, async |path: &Path| {
            RedbOneByOne::open(path)
        })),
        "redb-group" => run.block_on(measure(workload, scale, directory, async |path: &Path| {
            RedbGroupCommit::open(path)
        })),
        "fjall" => {
            run.block_on(measure(workload, scale, directory, async |path: &Path| Fjall::open(path)))
        }
        "sqlite" => run
            .block_on(measure(workload, scale, directory, async |path: &Path| Sqlite::open(path))),
        "tephra" => run
            .block_on(measure(workload, scale, directory, async |path: &Path| Tephra::open(path))),
        "umadb" => {
            run.block_on(measure(workload, scale, directory, async |path: &Path| Umadb::open(path)))
        }
        "eventfold" => run.block_on(measure(workload, scale, directory, async |path: &Path| {
            EventFold::open(path)
        })),
        other => return Err(format!("{other} has no way to be opened").into()),
    })
}
