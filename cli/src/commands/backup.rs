//! `backup`: what is new in the store's log, into a directory.

use serde::Serialize;
use seriatim::{Position, Timestamp};

use crate::app::App;
use crate::args::Backup;
use crate::exit::Result;
use crate::progress::{Progress, Unit};
use crate::style;
use crate::target::Wanted;

#[derive(Serialize)]
struct Added {
    added: u64,
    last_position: Position,
    last_recorded_at: Option<Timestamp>,
    files: usize,
    bytes: u64,
}

pub(crate) async fn run(app: &mut App, args: Backup) -> Result<()> {
    let done = app
        .with_store(&args.store, Wanted::Existing, async |app, store| {
            let progress = Progress::new(app.shows_progress(), "backup", Some(1), Unit::Events);
            let backup = store.backup(&args.target).on_progress(move |now| {
                progress.set_of(now.events, now.total);
            });
            // Open here alone, the store has no writers to leave room for.
            let backup = if app.is_through_door { backup } else { backup.at_full_speed() };
            Ok(app.interrupt.or(async { backup.await }).await??)
        })
        .await?;
    let contents = done.contents;
    if app.out.is_json() {
        return app.out.json_line(&Added {
            added: done.added,
            last_position: contents.last,
            last_recorded_at: contents.last_recorded_at,
            files: contents.files,
            bytes: contents.bytes,
        });
    }
    app.out.text(&format!(
        "{} events added; the backup ends with position {}",
        style::count(done.added),
        style::count(contents.last.get())
    ))
}
