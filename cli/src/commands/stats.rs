//! `stats`: how much a store holds.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use serde::Serialize;
use seriatim::driver::{Driver, LogFetch, LogStore};
use seriatim::{Position, Timestamp};

use crate::app::App;
use crate::args::Stats;
use crate::exit::Result;
use crate::progress::{Progress, Unit};
use crate::style;
use crate::target::{Target, Wanted};

/// What a field cannot say of this driver is left out.
#[derive(Default, Serialize)]
struct Figures {
    events: u64,
    keys: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_position: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_recorded_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_recorded_at: Option<Timestamp>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    files: Option<Files>,
}

/// The sizes of a redb store's files, as they are before this command opens it.
#[derive(Serialize)]
struct Files {
    bytes: u64,
    log_and_index_bytes: u64,
    journal_bytes: u64,
    journal_files: u64,
}

pub(crate) async fn run(app: &mut App, args: Stats) -> Result<()> {
    let files = match Target::parse(&args.store)? {
        Target::Redb { path, .. } => files(&path),
        Target::Memory | Target::Engine { .. } => None,
    };
    let figures = app
        .with_driver(&args.store, Wanted::Existing, async |app, driver| count(app, driver).await)
        .await?;
    let figures = Figures { files, ..figures };
    if app.out.is_json() {
        return app.out.json_line(&figures);
    }
    let mut facts =
        vec![("events", style::count(figures.events)), ("keys", style::count(figures.keys))];
    if let (Some(first), Some(last)) = (figures.first_recorded_at, figures.last_recorded_at) {
        facts.push(("first event (UTC)", style::time(first)));
        facts.push(("last event (UTC)", style::time(last)));
    }
    if let Some(files) = &figures.files {
        facts.push(("on disk", style::bytes(files.bytes)));
        facts.push(("log and index", style::bytes(files.log_and_index_bytes)));
        let journal = style::bytes(files.journal_bytes);
        facts.push(("journal", format!("{journal} in {} files", files.journal_files)));
    }
    app.out.facts(&facts)
}

async fn count(app: &mut App, driver: &Arc<dyn Driver>) -> Result<Figures> {
    let mut figures = Figures::default();
    let log = driver.log();
    if let Some(log) = log {
        let last = log.last_position()?;
        figures.events = last.get();
        figures.last_position = Some(last);
        figures.first_recorded_at = time_at(log, LogFetch::ALL)?;
        figures.last_recorded_at = time_at(log, LogFetch::ALL.backwards())?;
    }
    let progress = Progress::new(app.shows_progress(), "counting", None, Unit::Keys);
    let mut pages = driver.keys("", None);
    while let Some(page) = app.interrupt.or(pages.next()).await? {
        app.interrupt.check()?;
        let page = page?;
        progress.add(page.len() as u64);
        figures.keys += page.len() as u64;
        if log.is_none() {
            for key in &page {
                figures.events += app.interrupt.or(driver.latest_sequence(key)).await??.get();
            }
        }
    }
    Ok(figures)
}

fn time_at(log: &dyn LogStore, fetch: LogFetch) -> Result<Option<Timestamp>> {
    let page = log.log_page_now(fetch.limit(1))?;
    Ok(page.events.first().map(|event| event.recorded_at))
}

/// Sizes of files are a help: what cannot be looked at is not counted here, and opening says why.
fn files(path: &Path) -> Option<Files> {
    let size = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    let log_and_index_bytes = size(&path.join("events.redb"));
    let (mut journal_bytes, mut journal_files) = (0, 0);
    for file in fs::read_dir(path.join("journal")).into_iter().flatten().flatten() {
        journal_bytes += size(&file.path());
        journal_files += 1;
    }
    let rest: u64 = fs::read_dir(path)
        .ok()?
        .flatten()
        .filter(|file| file.file_name() != "events.redb" && file.path().is_file())
        .map(|file| size(&file.path()))
        .sum();
    let bytes = log_and_index_bytes + journal_bytes + rest;
    Some(Files { bytes, log_and_index_bytes, journal_bytes, journal_files })
}
