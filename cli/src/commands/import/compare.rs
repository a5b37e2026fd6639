//! What of a batch is in the store already, and whether it is the same.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use seriatim::driver::{Driver, Fetch, LogFetch};
use seriatim::{AggregateKey, KeyedEvent, Sequence, Timestamp};

use super::lines::Line;
use crate::exit::{Error, Exit, Result};

/// Aggregates whose latest sequence is remembered between batches.
const REMEMBERED: usize = 200_000;
/// Aggregates that are looked up at the same time.
const LOOK_UPS: usize = 16;

pub(super) struct Compare {
    driver: Arc<dyn Driver>,
    adjust_times: bool,
    latest: HashMap<AggregateKey, Sequence>,
    /// The time of the log's last event; later ones must not be before it.
    last_time: Option<Timestamp>,
}

impl Compare {
    pub(super) fn new(driver: Arc<dyn Driver>, adjust_times: bool) -> Result<Self> {
        let last_time = match driver.log() {
            None => None,
            Some(log) => {
                let page = log.log_page_now(LogFetch::ALL.backwards().limit(1))?;
                let last = page.events.first().map(|event| event.recorded_at);
                Some(last.unwrap_or(Timestamp::from_micros(i64::MIN)))
            }
        };
        Ok(Compare { driver, adjust_times, latest: HashMap::new(), last_time })
    }

    /// The events of the batch that are not in the store, in order.
    pub(super) async fn new_events(&mut self, lines: Vec<Line>) -> Result<Vec<KeyedEvent>> {
        let limits = self.driver.limits();
        let mut by_key: HashMap<AggregateKey, Vec<usize>> = HashMap::new();
        for (index, line) in lines.iter().enumerate() {
            let bytes = line.event.size_bytes();
            if bytes > limits.bytes_per_event.min(limits.bytes_per_put) {
                let max = limits.bytes_per_event.min(limits.bytes_per_put);
                return Err(at(line, format!("{bytes} bytes are over the store's {max} an event"))
                    .exit(Exit::BadInput));
            }
            by_key.entry(line.event.key.clone()).or_default().push(index);
        }
        let mut is_new = vec![false; lines.len()];
        let driver = &self.driver;
        let known: Vec<_> =
            by_key.into_iter().map(|(key, at)| (self.latest.get(&key).copied(), key, at)).collect();
        let aggregates: Vec<Aggregate> = stream::iter(known)
            .map(|(latest, key, at)| aggregate(driver, latest, key, at, &lines, self.adjust_times))
            .buffer_unordered(LOOK_UPS)
            .try_collect()
            .await?;
        if self.latest.len() + aggregates.len() > REMEMBERED {
            self.latest.clear();
        }
        for aggregate in aggregates {
            for index in aggregate.new {
                if let Some(is_new) = is_new.get_mut(index) {
                    *is_new = true;
                }
            }
            self.latest.insert(aggregate.key, aggregate.latest);
        }
        let mut events = Vec::new();
        for (line, is_new) in lines.into_iter().zip(is_new) {
            if is_new {
                self.check_time(&line)?;
                let mut event = line.event;
                event.position = None;
                // With `adjust_times` it may be before it; then the log keeps this one.
                event.recorded_at = self.last_time.unwrap_or(event.recorded_at);
                events.push(event);
            }
        }
        Ok(events)
    }

    fn check_time(&mut self, line: &Line) -> Result<()> {
        let Some(last) = self.last_time else { return Ok(()) };
        let time = line.event.recorded_at;
        if time < last && !self.adjust_times {
            let message = format!("its time {time} is before {last}, that of the event in front");
            return Err(at(line, message)
                .exit(Exit::Conflict)
                .hint("a log keeps times in order; --adjust-times lets it keep the later time"));
        }
        self.last_time = Some(last.max(time));
        Ok(())
    }
}

struct Aggregate {
    key: AggregateKey,
    /// After the batch.
    latest: Sequence,
    /// Which of the batch's lines are not in the store.
    new: Vec<usize>,
}

async fn aggregate(
    driver: &Arc<dyn Driver>,
    latest: Option<Sequence>,
    key: AggregateKey,
    indexes: Vec<usize>,
    lines: &[Line],
    adjust_times: bool,
) -> Result<Aggregate> {
    let latest = match latest {
        Some(latest) => latest,
        None => driver.latest_sequence(&key).await?,
    };
    let mut next = latest.next();
    let mut new: Vec<usize> = Vec::new();
    let mut there: Vec<&Line> = Vec::new();
    for index in indexes {
        let Some(line) = lines.get(index) else { continue };
        let sequence = line.event.sequence;
        if sequence <= latest {
            there.push(line);
        } else if sequence == next {
            new.push(index);
            next = next.next();
        } else if sequence > next {
            let message =
                format!("it does not follow {}, the latest in the store", next.previous());
            return Err(at(line, message)
                .exit(Exit::BadInput)
                .hint("events in between are missing in the input, or come later in it"));
        } else {
            // Twice in this batch.
            let offset = sequence.get() - latest.next().get();
            let before = usize::try_from(offset).ok().and_then(|offset| new.get(offset));
            if let Some(before) = before.and_then(|index| lines.get(*index)) {
                same(&before.event, line, adjust_times)?;
            }
        }
    }
    compare(driver, &key, there, adjust_times).await?;
    Ok(Aggregate { key, latest: next.previous(), new })
}

/// Whether the store has the same events.
async fn compare(
    driver: &Arc<dyn Driver>,
    key: &AggregateKey,
    mut there: Vec<&Line>,
    adjust_times: bool,
) -> Result<()> {
    there.sort_by_key(|line| line.event.sequence);
    let Some(last) = there.last().map(|line| line.event.sequence.get()) else { return Ok(()) };
    let mut wanted = there.into_iter().peekable();
    while let Some(first) = wanted.peek().map(|line| line.event.sequence) {
        // Without a limit a page would hold much of what later batches ask for.
        let events = usize::try_from(last - first.get() + 1).unwrap_or(usize::MAX);
        let mut pages = driver.fetch_events(key, Fetch::ALL.after(first.previous()).limit(events));
        let mut expected = first;
        'pages: while let Some(page) = pages.next().await {
            for stored in page? {
                while let Some(line) = wanted.next_if(|l| l.event.sequence == stored.sequence) {
                    same(&stored, line, adjust_times)?;
                }
                expected = stored.sequence.next();
                // Far away ones are read from where they stand.
                match wanted.peek() {
                    None => return Ok(()),
                    Some(line) if line.event.sequence > expected.plus(1_000) => break 'pages,
                    Some(_) => {}
                }
            }
        }
        if let Some(line) = wanted.peek().filter(|line| line.event.sequence == first) {
            let message = format!("the store does not have it, but later ones ({expected})");
            return Err(at(line, message).exit(Exit::Damaged));
        }
    }
    Ok(())
}

/// Refuses a line that says something else than the store.
pub(super) fn same(stored: &KeyedEvent, line: &Line, adjust_times: bool) -> Result<()> {
    let event = &line.event;
    let is_same_time = stored.recorded_at == event.recorded_at
        || adjust_times && stored.recorded_at > event.recorded_at;
    let different = [
        ("type", stored.event_type() != event.event_type()),
        ("data", stored.data != event.data),
        ("version", stored.version != event.version),
        ("metadata", stored.metadata != event.metadata),
        ("commit id", stored.commit_id != event.commit_id),
        ("event id", stored.event_id() != event.event_id()),
        ("time", !is_same_time),
    ];
    let different: Vec<&str> =
        different.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
    match different.is_empty() {
        true => Ok(()),
        false => {
            let names = different.join(", ");
            let message = format!("the store has another event there: {names} differ");
            Err(at(line, message).exit(Exit::Conflict))
        }
    }
}

/// A failure that names the event and its line.
pub(super) fn at(line: &Line, message: impl std::fmt::Display) -> Named {
    let (key, sequence) = (&line.event.key, line.event.sequence);
    Named(format!("line {}, {key} at sequence {sequence}: {message}", line.number))
}

pub(super) struct Named(String);

impl Named {
    pub(super) fn exit(self, exit: Exit) -> Error {
        Error::new(exit, self.0)
    }
}
