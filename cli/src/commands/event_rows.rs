//! Events as rows: what `read` and `log` show.

use std::borrow::Cow;

use comfy_table::Cell;
use seriatim::KeyedEvent;

use crate::app::App;
use crate::exit::Result;
use crate::output::Listing;
use crate::style;

/// Longer data is cut in a table, unless the user wants all of it.
const SHOWN_CHARACTERS: usize = 400;

/// What stands in front of the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The sequence: the events are one aggregate's.
    Sequence,
    /// Position, key and sequence: the events are the log's.
    Log,
}

pub(crate) struct EventRows {
    listing: Listing,
    place: Place,
    full: bool,
    is_cut: bool,
    pub(crate) events: u64,
}

impl EventRows {
    pub(crate) fn new(place: Place, full: bool) -> Self {
        let header: &[&str] = match place {
            Place::Sequence => &["SEQUENCE", "TIME (UTC)", "TYPE", "DATA"],
            Place::Log => &["POSITION", "TIME (UTC)", "KEY", "SEQUENCE", "TYPE", "DATA"],
        };
        EventRows { listing: Listing::new(header), place, full, is_cut: false, events: 0 }
    }

    pub(crate) fn add(&mut self, app: &mut App, event: &KeyedEvent) -> Result<()> {
        self.events += 1;
        let EventRows { listing, place, full, is_cut, .. } = self;
        listing.row(&mut app.out, event, || {
            let text = event.data.as_str();
            let data = if *full { Cow::Borrowed(text) } else { cut(text) };
            *is_cut |= matches!(data, Cow::Owned(_));
            let mut cells: Vec<Cell> = Vec::with_capacity(6);
            match place {
                Place::Sequence => cells.push(style::number(event.sequence)),
                Place::Log => {
                    cells.push(style::number(event.position.map_or(0, |p| p.get())));
                }
            }
            cells.push(style::dim(style::time(event.recorded_at)));
            if *place == Place::Log {
                cells.push(style::key(event.key.as_str()));
                cells.push(style::number(event.sequence));
            }
            cells.push(style::event_type(event.event_type()));
            cells.push(style::plain(data));
            cells
        })
    }

    /// Shows what there is so far.
    pub(crate) fn show(&mut self, app: &mut App) -> Result<()> {
        self.listing.show(&mut app.out)
    }

    pub(crate) fn finish(mut self, app: &mut App) -> Result<()> {
        self.show(app)?;
        if self.is_cut {
            app.note("long data is cut; --full or --json shows all of it");
        }
        Ok(())
    }
}

fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        None => Cow::Borrowed(text),
        Some((at, _)) => {
            let kept = text.get(..at).unwrap_or_default();
            Cow::Owned(format!("{kept}… ({})", style::bytes(text.len() as u64)))
        }
    }
}
