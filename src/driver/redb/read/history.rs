//! Reading: the tail first, then redb as it was committed last.
//!
//! An event leaves the tail only when a view of redb that shows it is in place. A reader that looks
//! at the tail first and takes the view afterwards therefore sees every event. It takes from the
//! tail what is in both. A page needs one look into the index, and one into the log for each run of
//! neighbouring events. No other aggregate's history is read, though its events may share a
//! segment.

use crate::driver::redb::core::Core;
use crate::driver::redb::read::history_page::HistoryPage;
use crate::driver::{DriverError, EventPage, Fetch};
use crate::event::AggregateKey;

const PAGE_EVENTS: usize = 1_000;

pub(in crate::driver::redb) fn page(
    core: &Core,
    key: &AggregateKey,
    fetch: Fetch,
) -> Result<EventPage, DriverError> {
    core.open()?;
    let Some((low, high)) = fetch.bounds() else { return Ok(EventPage::default()) };
    let (low, mut high) = (low.get(), high.get());
    let view = core.tail.aggregates.view(key, low, high);
    if let Some(visible) = view.visible {
        high = high.min(visible);
    }
    if low > high {
        return Ok(EventPage::default());
    }
    let wanted = fetch.limit.unwrap_or(usize::MAX).min(PAGE_EVENTS);
    let mut page = HistoryPage::new(key, wanted);
    let stored = (low, high.min(view.first.map_or(u64::MAX, |first| first - 1)));
    let all = match fetch.backwards {
        false => {
            from_redb(core, &mut page, stored, false)?
                && from_tail(&view, &mut page, (low, high), false)
        }
        true => {
            from_tail(&view, &mut page, (low, high), true)
                && from_redb(core, &mut page, stored, true)?
        }
    };
    Ok(EventPage::new(page.into_events(), !all))
}

/// Whether the page took all there is.
fn from_tail(
    view: &crate::driver::redb::journal::recent_aggregates::View,
    page: &mut HistoryPage<'_>,
    (low, high): (u64, u64),
    backwards: bool,
) -> bool {
    for event in view.events(low, high, backwards) {
        if page.is_full() {
            return false;
        }
        page.push(event);
    }
    true
}

/// Whether the page took all there is.
fn from_redb(
    core: &Core,
    page: &mut HistoryPage<'_>,
    (low, high): (u64, u64),
    backwards: bool,
) -> Result<bool, DriverError> {
    if low > high {
        return Ok(true);
    }
    if page.is_full() {
        return Ok(false);
    }
    let snapshot = core.snapshot()?;
    let (runs, all) = snapshot.runs(page.key(), (low, high), backwards, page.room())?;
    Ok(page.push_runs((&core.segments, &snapshot), &runs, backwards)? && all)
}

/// The aggregate's latest sequence.
pub(in crate::driver::redb) fn latest(core: &Core, key: &AggregateKey) -> Result<u64, DriverError> {
    core.open()?;
    match core.tail.aggregates.visible(key) {
        Some(visible) => Ok(visible),
        None => core.snapshot()?.latest_sequence(key),
    }
}
