//! `compact`: what events.redb does not need is given back.

use serde::Serialize;

use crate::app::App;
use crate::args::Compact;
use crate::exit::{Exit, Result};
use crate::style;
use crate::target::Target;

#[derive(Serialize)]
struct GivenBack {
    bytes_before: u64,
    bytes_after: u64,
    given_back: u64,
}

pub(crate) async fn run(app: &mut App, args: Compact) -> Result<()> {
    let target = Target::parse(&args.store)?;
    let compacted = target.compact_redb(app).await.map_err(|error| match error.exit {
        Exit::InUse => {
            error.hint("a store is compacted while no process has it open: end that one")
        }
        Exit::Interrupted => error.hint(
            "nothing is lost; the next opening repairs the file, which takes as long as reading it",
        ),
        _ => error,
    })?;
    let (bytes_before, bytes_after) = (compacted.bytes_before, compacted.bytes_after);
    let given_back = bytes_before.saturating_sub(bytes_after);
    if app.out.is_json() {
        return app.out.json_line(&GivenBack { bytes_before, bytes_after, given_back });
    }
    let now = style::bytes(bytes_after);
    app.out.text(&match given_back {
        0 => format!("nothing to give back: events.redb has {now}"),
        _ => format!("{} given back: events.redb has {now}", style::bytes(given_back)),
    })
}
