//! `log`: the events of the whole store in commit order.

use futures_util::FutureExt;
use seriatim::{EventStore, KeyedEvent, Position};

use super::event_rows::{EventRows, Place};
use crate::app::App;
use crate::args::{Bound, Log};
use crate::exit::{Error, Exit, Result};
use crate::target::Wanted;

pub(crate) async fn run(app: &mut App, args: Log) -> Result<()> {
    let url = args.store.clone();
    app.with_store(&url, Wanted::Existing, async |app, store| {
        let mut rows = EventRows::new(Place::Log, args.full);
        let shown = match args.follow {
            true => follow(app, store, &args, &mut rows).await,
            false => show(app, store, &args, &mut rows).await,
        };
        if rows.events == 0 && shown.is_ok() && !args.follow {
            app.note("no event there");
        }
        // Rows that were read before a failure, or before Ctrl-C, are shown.
        rows.finish(app)?;
        shown
    })
    .await
}

async fn show(app: &mut App, store: &EventStore, args: &Log, rows: &mut EventRows) -> Result<()> {
    let log = store.log().map_err(|e| Error::new(Exit::Unsupported, e.to_string()))?;
    let mut read = log.read();
    if args.backwards {
        read = read.backwards();
    }
    // Reading backwards begins at the end that the user named.
    let (begin, end) = match args.backwards {
        true => (args.to, args.from),
        false => (args.from, args.to),
    };
    read = match begin {
        None => read,
        Some(Bound::Position(position)) => read.from(position),
        Some(Bound::Time(time)) => read.from_time(time),
    };
    if let Some(category) = &args.category {
        read = read.category(category);
    }
    if let Some(prefix) = &args.prefix {
        read = read.prefix(prefix);
    }
    if !args.types.is_empty() {
        read = read.event_types(&args.types);
    }
    if let Some(limit) = args.limit {
        read = read.limit(limit);
    }
    loop {
        app.interrupt.check()?;
        let Some(event) = app.interrupt.or(read.next()).await? else { return Ok(()) };
        let event = event?;
        if is_behind(&event, end, args.backwards) {
            return Ok(());
        }
        rows.add(app, &event)?;
    }
}

/// Whether the event stands outside of what the user wants, in the direction of reading.
fn is_behind(event: &KeyedEvent, end: Option<Bound>, backwards: bool) -> bool {
    match (end, backwards) {
        (None, _) => false,
        (Some(Bound::Position(end)), false) => event.position > Some(end),
        (Some(Bound::Position(end)), true) => event.position < Some(end),
        (Some(Bound::Time(end)), false) => event.recorded_at > end,
        (Some(Bound::Time(end)), true) => event.recorded_at < end,
    }
}

async fn follow(app: &mut App, store: &EventStore, args: &Log, rows: &mut EventRows) -> Result<()> {
    let log = store.log().map_err(|e| Error::new(Exit::Unsupported, e.to_string()))?;
    let mut events = store.subscribe();
    events = match args.from {
        None => events.from_start(),
        Some(Bound::Position(position)) => events.from(position),
        Some(Bound::Time(time)) => events.from(log.position_at(time)?.max(Position::new(1))),
    };
    if let Some(category) = &args.category {
        events = events.category(category);
    }
    if let Some(prefix) = &args.prefix {
        events = events.prefix(prefix);
    }
    if !args.types.is_empty() {
        events = events.event_types(&args.types);
    }
    app.note(match app.is_through_door {
        true => "following; Ctrl-C ends it",
        false => {
            "following; Ctrl-C ends it (until then no other process can open a store on this disk)"
        }
    });
    let mut left = args.limit.unwrap_or(usize::MAX);
    while left > 0 {
        let event = match events.next().now_or_never() {
            Some(event) => event,
            None => {
                // Nothing more for the moment: what was read must not wait for company.
                rows.show(app)?;
                match app.interrupt.or(events.next()).await {
                    Ok(event) => event,
                    // Following has no other end.
                    Err(_interrupted) => return Ok(()),
                }
            }
        };
        if app.interrupt.is_requested() {
            return Ok(());
        }
        let Some(event) = event else { return Ok(()) };
        rows.add(app, &event?)?;
        left -= 1;
    }
    Ok(())
}
