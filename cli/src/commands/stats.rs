//! `stats`: how much a store holds, and what its files are used for.
//!
//! What the driver knows by itself is not counted. Engines that do not know are read key by key.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use serde::Serialize;
use seriatim::driver::redb::Space;
use seriatim::driver::{Driver, LogFetch, LogStore};
use seriatim::{Position, Timestamp};

use crate::app::App;
use crate::args::StoreOnly;
use crate::exit::{Error, Exit, Result};
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
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    used: Option<Used>,
}

/// The sizes of a redb store's files, as they are before this command opens it.
#[derive(Serialize)]
struct Files {
    bytes: u64,
    log_and_index_bytes: u64,
    /// What the same file takes on the disk: redb makes it longer in large steps, ahead of use.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_and_index_allocated_bytes: Option<u64>,
    journal_bytes: u64,
    journal_files: u64,
}

/// What events.redb is used for.
#[derive(Serialize)]
struct Used {
    log_bytes: u64,
    index_bytes: u64,
    other_bytes: u64,
    free_bytes: u64,
}

impl Used {
    /// Opening makes the file longer for a while, so what is free is told of its size before.
    fn of(space: &Space, size_before: u64) -> Self {
        let Space { log_bytes, index_bytes, other_bytes, .. } = *space;
        let free_bytes = size_before.saturating_sub(log_bytes + index_bytes + other_bytes);
        Used { log_bytes, index_bytes, other_bytes, free_bytes }
    }
}

pub(crate) async fn run(app: &mut App, args: StoreOnly) -> Result<()> {
    let figures = match Target::parse(&args.store)? {
        target @ Target::Redb { .. } => redb(app, &target).await?,
        Target::Memory | Target::Engine { .. } => {
            app.with_driver(&args.store, Wanted::Existing, async |app, driver| {
                count(app, driver).await
            })
            .await?
        }
    };
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
        facts.push(("files", style::bytes(files.bytes)));
        let journal = style::bytes(files.journal_bytes);
        facts.push(("journal", format!("{journal} in {} files", files.journal_files)));
        let long = style::bytes(files.log_and_index_bytes);
        let allocated = files.log_and_index_allocated_bytes.map(style::bytes);
        let file = allocated.map_or(long.clone(), |taken| format!("{long}, takes {taken} on disk"));
        facts.push(("events.redb", file));
    }
    if let Some(used) = &figures.used {
        facts.push(("  log", style::bytes(used.log_bytes)));
        facts.push(("  index", style::bytes(used.index_bytes)));
        facts.push(("  snapshots and other", style::bytes(used.other_bytes)));
        facts.push(("  free", style::bytes(used.free_bytes)));
    }
    app.out.facts(&facts)
}

async fn redb(app: &mut App, target: &Target) -> Result<Figures> {
    let Target::Redb { path, .. } = target else { return Ok(Figures::default()) };
    let files = files(path);
    let store = target.open_local(app, Wanted::Existing).await?;
    let driver = store.driver();
    let progress = Progress::new(app.shows_progress(), "counting", None, Unit::Seconds);
    progress.show();
    let space = tokio::task::spawn_blocking(move || store.space());
    let space = app.interrupt.or(space).await;
    drop(progress);
    // Walking changes nothing, so an interrupted one may be left behind with the process.
    let space = space?.map_err(|_| Error::new(Exit::Failed, "redb panicked"))?;
    let counted = match &space {
        Ok(_) => count(app, &driver).await,
        Err(_) => Ok(Figures::default()),
    };
    let closed = driver.close().await;
    let (space, counted) = (space?, counted?);
    closed?;
    let used = files.as_ref().map(|files| Used::of(&space, files.log_and_index_bytes));
    Ok(Figures { files, used, ..counted })
}

async fn count(app: &mut App, driver: &Arc<dyn Driver>) -> Result<Figures> {
    let mut figures = Figures::default();
    let known = driver.stats();
    let mut events = known.events;
    if let Some(log) = driver.log() {
        let last = log.last_position()?;
        events = Some(last.get());
        figures.last_position = Some(last);
        figures.first_recorded_at = time_at(log, LogFetch::ALL)?;
        figures.last_recorded_at = time_at(log, LogFetch::ALL.backwards())?;
    }
    if let (Some(events), Some(keys)) = (events, known.keys) {
        return Ok(Figures { events, keys, ..figures });
    }
    let progress = Progress::new(app.shows_progress(), "counting", None, Unit::Keys);
    let mut pages = driver.keys("", None);
    while let Some(page) = app.interrupt.or(pages.next()).await? {
        app.interrupt.check()?;
        let page = page?;
        progress.add(page.len() as u64);
        figures.keys += page.len() as u64;
        if events.is_none() {
            for key in &page {
                figures.events += app.interrupt.or(driver.latest_sequence(key)).await??.get();
            }
        }
    }
    figures.events = events.unwrap_or(figures.events);
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
    let log_and_index_allocated_bytes = allocated(&path.join("events.redb"));
    Some(Files {
        bytes,
        log_and_index_bytes,
        log_and_index_allocated_bytes,
        journal_bytes,
        journal_files,
    })
}

#[cfg(unix)]
fn allocated(file: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(file).ok().map(|found| found.blocks() * 512)
}

#[cfg(not(unix))]
fn allocated(_file: &Path) -> Option<u64> {
    None
}
