//! Reading: the tail first, then redb as it was committed last.
//!
//! An event leaves the tail only when a view of redb that shows it is in place. A reader that looks
//! at the tail first and takes the view afterwards therefore sees every event. It takes from the
//! tail what is in both. A page needs one look into the index, and one into the log for each run of
//! neighbouring events. No other aggregate's history is read, though its events may share a
//! segment.

use crate::driver::redb::core::Core;
use crate::driver::redb::journal::recent_aggregates::{PageRange, View};
use crate::driver::redb::read::history_page::{HistoryPage, PAGE_BYTES};
use crate::driver::{DriverError, EventPage, Fetch};
use crate::event::{AggregateKey, Sequence};

const PAGE_EVENTS: usize = 1_000;

pub(in crate::driver::redb) fn page(
    core: &Core,
    key: &AggregateKey,
    fetch: Fetch,
) -> Result<EventPage, DriverError> {
    core.open()?;
    let Some((low, high)) = fetch.bounds() else { return Ok(EventPage::default()) };
    let (low, mut high) = (low.get(), high.get());
    let wanted = fetch.limit.unwrap_or(usize::MAX).min(PAGE_EVENTS);
    let backwards = fetch.backwards;
    let range = PageRange { low, high, backwards, events: wanted, bytes: PAGE_BYTES };
    let view = core.tail.aggregates.view(key, range);
    if let Some(visible) = view.visible {
        high = high.min(visible);
    }
    if low > high {
        return Ok(EventPage::default());
    }
    let mut page = HistoryPage::new(key, wanted, Sequence::new(low), backwards);
    let stored = (low, high.min(view.first.map_or(u64::MAX, |first| first - 1)));
    let all = match backwards {
        false => from_redb(core, &mut page, stored, false)? && from_tail(&view, &mut page)?,
        true => from_tail(&view, &mut page)? && from_redb(core, &mut page, stored, true)?,
    };
    Ok(EventPage::new(page.into_events(), !all))
}

/// Whether the page took all there is.
fn from_tail(view: &View, page: &mut HistoryPage<'_>) -> Result<bool, DriverError> {
    let (mut events, mut left) = (view.events(), view.len());
    while !page.is_full() {
        let Some(event) = events.next() else { return Ok(!view.is_cut) };
        page.push(event)?;
        left -= 1;
    }
    Ok(left == 0 && !view.is_cut)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::driver::redb::RedbDriver;
    use crate::driver::redb::samples::{counted_reads, sample_event};
    use crate::driver::{Driver, LogFetch, Put};
    use crate::event::{NewEvent, Timestamp};

    /// A driver that applies nothing by itself, with events in redb and many puts in the tail.
    fn driver(stored: u64, tailed: u64, data_bytes: usize) -> (TempDir, RedbDriver, AggregateKey) {
        let folder = tempfile::tempdir().unwrap();
        let builder =
            RedbDriver::builder().tail_bytes(1 << 30).apply_after(Duration::from_secs(3_600));
        let driver = builder.open(folder.path()).unwrap();
        let sample = sample_event();
        let put = |from: u64, events: u64, each: u64| {
            let (done, answers) = mpsc::channel();
            let text = format!("\"{}\"", "x".repeat(data_bytes));
            for first in (from..from + events).step_by(each as usize) {
                let events = (first..first + each).map(|sequence| {
                    let event = NewEvent::raw("Happened", text.clone()).check().unwrap();
                    let time = Timestamp::from_micros(1);
                    event.place(&sample.key, Sequence::new(sequence), sample.commit_id, time)
                });
                let put = Arc::new(Put::new(events.collect()).unwrap());
                let done = done.clone();
                let tell = Box::new(move |answer: Result<_, _>| done.send(answer).unwrap());
                assert!(driver.put_events_then(put, tell).is_ok());
            }
            drop(done);
            assert!(answers.iter().all(|answer| answer.is_ok()));
        };
        if stored > 0 {
            put(1, stored, stored.min(100));
            driver.verify().unwrap();
        }
        put(stored + 1, tailed, 1);
        counted_reads();
        (folder, driver, sample.key)
    }

    #[test]
    fn a_read_takes_no_more_of_a_long_tail_than_it_returns() {
        let (_folder, driver, key) = driver(0, 5_000, 10);
        for fetch in [Fetch::ALL.limit(1), Fetch::ALL.backwards().limit(1)] {
            let page = driver.fetch_page_now(&key, fetch).unwrap().unwrap();
            assert!(page.events.len() == 1 && page.more);
            let (pieces, bytes) = counted_reads();
            assert!(pieces == 1 && bytes < 200, "{fetch:?} took {pieces} pieces, {bytes} bytes");
        }
        for fetch in [LogFetch::ALL.limit(1), LogFetch::ALL.backwards().limit(1)] {
            let page = driver.log().unwrap().log_page_now(fetch).unwrap();
            assert_eq!(page.events.len(), 1);
            let (pieces, bytes) = counted_reads();
            assert!(pieces == 1 && bytes < 200, "{fetch:?} took {pieces} frames, {bytes} bytes");
        }
    }

    #[test]
    fn a_page_of_large_events_takes_no_more_of_the_tail_than_its_bytes() {
        const EVENT: usize = 60_000;
        let (_folder, driver, key) = driver(0, 300, EVENT);
        let most = PAGE_BYTES + 2 * EVENT;
        for fetch in [Fetch::ALL, Fetch::ALL.backwards()] {
            let page = driver.fetch_page_now(&key, fetch).unwrap().unwrap();
            let (pieces, bytes) = counted_reads();
            assert!(page.more && page.events.len() * EVENT >= PAGE_BYTES - EVENT);
            assert!(pieces < 20 && bytes < most, "{fetch:?} took {pieces} pieces, {bytes} bytes");
        }
        for fetch in [LogFetch::ALL, LogFetch::ALL.backwards()] {
            let page = driver.log().unwrap().log_page_now(fetch).unwrap();
            let (_, bytes) = counted_reads();
            assert!(
                page.events.len() * EVENT >= PAGE_BYTES - EVENT && bytes < most,
                "{bytes} bytes"
            );
        }
    }

    #[test]
    fn a_page_that_redb_fills_takes_nothing_of_the_tail() {
        let (_folder, driver, key) = driver(2_000, 1_000, 1_000);
        let page = driver.fetch_page_now(&key, Fetch::ALL).unwrap().unwrap();
        assert!(page.more && !page.events.is_empty());
        let (pieces, bytes) = counted_reads();
        assert!(pieces == 0 && bytes == 0, "took {pieces} pieces, {bytes} bytes");
        let page = driver.log().unwrap().log_page_now(LogFetch::ALL.limit(500)).unwrap();
        assert_eq!(page.events.len(), 500);
        let (pieces, bytes) = counted_reads();
        assert!(pieces == 0 && bytes == 0, "took {pieces} frames, {bytes} bytes");
    }
}
