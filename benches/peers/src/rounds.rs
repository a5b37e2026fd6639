//! Runs the measurements, each in a process of its own, and keeps the medians.
//!
//! The contenders of a workload take turns, round by round and each round from another one on, so that
//! what disturbs the machine for a while disturbs them alike.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::contenders::About;
use crate::figures::Figures;
use crate::flags::Table;
use crate::workloads::Entry;

/// A measurement that takes longer than this hangs.
const AT_MOST: Duration = Duration::from_secs(600);

/// The medians, by workload and contender; and what went wrong.
#[derive(Default)]
pub(crate) struct Results {
    medians: BTreeMap<&'static str, BTreeMap<&'static str, Figures>>,
    pub(crate) failures: Vec<String>,
}

impl Results {
    pub(crate) fn insert(
        &mut self,
        workload: &'static str,
        contender: &'static str,
        medians: Figures,
    ) {
        self.medians.entry(workload).or_default().insert(contender, medians);
    }

    /// What a contender showed in a workload.
    pub(crate) fn get(&self, workload: &str, contender: &str) -> Option<&Figures> {
        self.medians.get(workload)?.get(contender)
    }

    /// What all contenders showed in a workload.
    pub(crate) fn all(&self, workload: &str) -> impl Iterator<Item = &Figures> {
        self.medians.get(workload).into_iter().flat_map(BTreeMap::values)
    }

    /// One figure of it.
    pub(crate) fn figure(&self, workload: &str, contender: &str, figure: &str) -> Option<f64> {
        self.get(workload, contender)?.get(figure)
    }
}

/// Measures everything that is asked for.
pub(crate) fn run(table: &Table) -> Results {
    let mut results = Results::default();
    let matches = |workload: &Entry| -> Vec<&'static About> {
        table.contenders.iter().copied().filter(|about| workload.is_for(about)).collect()
    };
    let total: usize = table.workloads.iter().map(|w| matches(w).len() * table.rounds).sum();
    let mut done = 0;
    for workload in &table.workloads {
        let mut contenders = matches(workload);
        let mut measured: BTreeMap<&'static str, Vec<Figures>> = BTreeMap::new();
        for round in 1..=table.rounds {
            for about in &contenders {
                done += 1;
                let what = format!("{}, {}", workload.title, about.name);
                match measure(table, workload, about) {
                    Ok(figures) => {
                        let rate = figures.get("rate").unwrap_or(f64::NAN);
                        eprintln!("[{done}/{total}] {what}, round {round}: {rate:.0}/s");
                        measured.entry(about.name).or_default().push(figures);
                    }
                    Err(problem) => {
                        eprintln!("[{done}/{total}] {what}, round {round}: {problem}");
                        results.failures.push(format!("{what}, round {round}: {problem}"));
                    }
                }
            }
            if !contenders.is_empty() {
                contenders.rotate_left(1);
            }
        }
        for (contender, figures) in measured {
            results.insert(workload.name, contender, Figures::median(&figures));
        }
    }
    results
}

fn measure(table: &Table, workload: &Entry, about: &About) -> Result<Figures, String> {
    let directory = tempfile::Builder::new()
        .prefix("seriatim-peers-")
        .tempdir_in(&table.directory)
        .map_err(|error| format!("no directory for the store: {error}"))?;
    let output = child(table, workload, about, directory.path())?;
    Figures::from_output(&output).ok_or_else(|| "it printed no figures".to_owned())
}

/// Runs this program with `--measure`; what it printed.
fn child(
    table: &Table,
    workload: &Entry,
    about: &About,
    directory: &Path,
) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .arg("--measure")
        .args(["--only", about.name, "--workloads", workload.name])
        .args(["--seconds", &table.scale.seconds.to_string()])
        .args(["--divide-by", &table.scale.divide_by.to_string()])
        .arg("--dir")
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let begin = Instant::now();
    // What a measurement prints fits into the pipe, so it can be read afterwards.
    while child.try_wait().map_err(|error| error.to_string())?.is_none() {
        if begin.elapsed() > AT_MOST {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("stopped after {} s", AT_MOST.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("failed: {}", output.status))
    }
}
