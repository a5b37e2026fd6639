//! `import`: exported events into a store, byte for byte.
//!
//! ```text
//! input ─▶ lines: parsed and checked, on a thread ─▶ [sorted: by time, where the input has no
//!                                                     positions and the store has a log]
//!       ─▶ batches ─▶ compare: what is there is the same ─▶ write: the rest, in order
//! ```
//!
//! What must stay true:
//!
//! - An event is written only behind the sequence before it.
//! - An event that is there is compared, so running an import again resumes it.
//! - Memory holds a few batches, however long the input.

mod compare;
mod lines;
mod sorted;
#[cfg(test)]
mod tests;
mod write;

use serde::Serialize;
use seriatim::driver::Driver;
use seriatim::driver::redb::Durability;

use crate::app::App;
use crate::args::Import;
use crate::exit::{Error, Result};
use crate::progress::{Progress, Unit, say};
use crate::style;
use crate::target::{Target, Wanted};

use compare::Compare;
use lines::Input;
use write::Writer;

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Imported {
    /// Events that were written.
    imported: u64,
    /// Events that were there already, the same.
    skipped: u64,
}

pub(crate) async fn run(app: &mut App, args: Import) -> Result<()> {
    let input = Input::open(args.file.as_deref())?;
    let wanted = Wanted::Creatable { create: args.create };
    let target = Target::parse(&args.store)?;
    let driver = match &target {
        // What a loss of power takes back is the end, and running the import again brings it. The
        // close at the end of a whole import makes all of it durable.
        Target::Redb { durability: None, .. } => {
            let written = target.open_redb_with(app, wanted, |b| b.durability(Durability::Written));
            let driver: std::sync::Arc<dyn Driver> = written.await?.0;
            driver
        }
        _ => target.open_driver(app, wanted).await?,
    };
    let mut imported = Imported::default();
    let done = import(app, &driver, input, &args, &mut imported).await;
    let closed = driver.close().await;
    if let Err(error) = done.and(closed.map_err(Error::from)) {
        if imported.imported + imported.skipped > 0 && !error.is_broken_pipe {
            say(&format!(
                "{} events are imported, {} were there; run the same command again to go on",
                style::count(imported.imported),
                style::count(imported.skipped)
            ));
        }
        return Err(error);
    }
    if app.out.is_json() {
        return app.out.json_line(&imported);
    }
    app.out.text(&format!(
        "{} events imported, {} were there already",
        style::count(imported.imported),
        style::count(imported.skipped)
    ))
}

async fn import(
    app: &mut App,
    driver: &std::sync::Arc<dyn Driver>,
    input: Input,
    args: &Import,
    imported: &mut Imported,
) -> Result<()> {
    if input.is_terminal() {
        app.note("reading events from the terminal; Ctrl-D ends them");
    }
    let unit = if input.bytes().is_some() { Unit::Bytes } else { Unit::Events };
    let progress = Progress::new(app.shows_progress(), "importing", input.bytes(), unit);
    progress.message("reading".to_owned());
    progress.show();
    let has_log = driver.log().is_some();
    let mut batches = input.read(has_log);
    let mut compare = Compare::new(driver.clone(), args.adjust_times)?;
    let writer = Writer::new(driver.clone(), app.interrupt.clone());
    while let Some(batch) = app.interrupt.or(batches.recv()).await? {
        let batch = batch?;
        let (events, bytes) = (batch.lines.len() as u64, batch.bytes_read);
        let new = app.interrupt.or(compare.new_events(batch.lines)).await??;
        imported.skipped += events - new.len() as u64;
        writer.write(new, &mut imported.imported).await?;
        match unit {
            Unit::Bytes => progress.set(bytes),
            _ => progress.add(events),
        }
        progress.message(format!(
            "{} written, {} were there",
            style::count(imported.imported),
            style::count(imported.skipped)
        ));
    }
    Ok(())
}
