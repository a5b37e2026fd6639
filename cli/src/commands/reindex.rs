//! `reindex`: the index of a redb store, made again from its log.

use serde::Serialize;
use seriatim::driver::Driver;

use crate::app::App;
use crate::args::StoreOnly;
use crate::exit::{Error, Exit, Result};
use crate::progress::{Progress, Unit};
use crate::style;
use crate::target::{Target, Wanted};

#[derive(Serialize)]
struct Reindexed {
    events: u64,
}

pub(crate) async fn run(app: &mut App, args: StoreOnly) -> Result<()> {
    let target = Target::parse(&args.store)?;
    let (driver, steps) = target.open_redb_with(app, Wanted::Existing, |builder| builder).await?;
    steps.show(Progress::new(app.shows_progress(), "reindexing", Some(1), Unit::Events));
    let reindexing = driver.clone();
    let reindexed = tokio::task::spawn_blocking(move || reindexing.reindex());
    let reindexed = app.interrupt.or(reindexed).await;
    steps.end();
    // The new index is one transaction: the end of the process leaves the old one.
    let reindexed = reindexed?.map_err(|_| Error::new(Exit::Failed, "redb panicked"))?;
    let closed = driver.close().await;
    let events = reindexed?;
    closed?;
    if app.out.is_json() {
        return app.out.json_line(&Reindexed { events });
    }
    app.out.text(&format!("the index holds {} events", style::count(events)))
}
