//! `reindex`: the index of a redb store, made again from its log.

use serde::Serialize;
use seriatim::Position;
use seriatim::driver::redb::RedbBuilder;
use seriatim::driver::{Driver, LogStore};

use crate::app::App;
use crate::args::StoreOnly;
use crate::exit::Result;
use crate::style;
use crate::target::{Target, Wanted};

#[derive(Serialize)]
struct Reindexed {
    events: u64,
}

pub(crate) async fn run(app: &mut App, args: StoreOnly) -> Result<()> {
    let target = Target::parse(&args.store)?;
    // While opening, because a store may not open with the index that it has. The new index is one
    // transaction: the end of the process leaves the old one.
    let rebuild = |builder: RedbBuilder| builder.rebuild_index();
    let (driver, _steps) = target.open_redb_with(app, Wanted::Existing, rebuild).await?;
    let events = driver.last_position().map(Position::get);
    let closed = driver.close().await;
    let events = events?;
    closed?;
    if app.out.is_json() {
        return app.out.json_line(&Reindexed { events });
    }
    app.out.text(&format!("the index holds {} events", style::count(events)))
}
