//! `restore`: a store made from a backup, and the check of a backup.

use std::sync::Arc;

use serde::Serialize;
use seriatim::backup::{BackupContents, Restore as Backup};
use seriatim::driver::Driver;
use seriatim::driver::redb::Durability;
use seriatim::{Position, Timestamp};

use crate::app::App;
use crate::args::Restore;
use crate::exit::{Error, Exit, Result};
use crate::progress::{Progress, Unit};
use crate::style;
use crate::target::{Target, Wanted};

#[derive(Serialize)]
struct Written {
    restored: u64,
    last_position: Position,
    last_recorded_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct Checked {
    last_position: Position,
    last_recorded_at: Option<Timestamp>,
    files: usize,
    bytes: u64,
}

pub(crate) async fn run(app: &mut App, args: Restore) -> Result<()> {
    let mut backup = Backup::from_dir(&args.backup);
    if let Some(position) = args.to_position {
        backup = backup.to_position(position);
    }
    if let Some(time) = args.to_time {
        backup = backup.to_time(time);
    }
    // No store is made where there is nothing to restore.
    backup.contents()?;
    let what = if args.check { "checking" } else { "restoring" };
    let progress = Progress::new(app.shows_progress(), what, Some(1), Unit::Events);
    let backup = backup.on_progress(move |now| {
        progress.set_of(now.events, now.total);
    });
    match &args.store {
        Some(store) => into_store(app, store, backup).await,
        None => check(app, backup).await,
    }
}

async fn into_store(app: &mut App, store: &str, backup: Backup) -> Result<()> {
    let target = Target::parse(store)?;
    let wanted = Wanted::Creatable { create: true };
    let driver: Arc<dyn Driver> = match &target {
        // What a loss of power takes back is the end, and restoring again brings it. The close at
        // the end makes all of it durable.
        Target::Redb { durability: None, .. } => {
            let written = target.open_redb_with(app, wanted, |b| b.durability(Durability::Written));
            written.await?.0
        }
        _ => target.open_driver(app, wanted).await?,
    };
    let restored = app.interrupt.or(backup.into_driver(&*driver)).await;
    let closed = driver.close().await;
    let restored = restored??;
    closed?;
    if app.out.is_json() {
        return app.out.json_line(&Written {
            restored: restored.events,
            last_position: restored.last,
            last_recorded_at: restored.last_recorded_at,
        });
    }
    app.out.text(&format!(
        "{} events restored; the store ends with position {}",
        style::count(restored.events),
        style::count(restored.last.get())
    ))
}

async fn check(app: &mut App, backup: Backup) -> Result<()> {
    // It writes nothing, so an interrupted one may be left behind with the process.
    let checking = tokio::task::spawn_blocking(move || backup.check());
    let checked = app.interrupt.or(checking).await?;
    let checked = checked.map_err(|_| Error::new(Exit::Failed, "the check panicked"))??;
    let BackupContents { last, last_recorded_at, files, bytes, .. } = checked;
    if app.out.is_json() {
        return app.out.json_line(&Checked { last_position: last, last_recorded_at, files, bytes });
    }
    let (events, files) = (style::count(last.get()), style::count(files as u64));
    app.out.text(&format!("sound: {events} events in {files} files"))
}
