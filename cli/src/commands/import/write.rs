//! New events on their way into the store.
//!
//! A store with a log takes puts one after another, so that its log has the input's order. Any other
//! takes those of different aggregates side by side. An append's events go together where the
//! store's limits allow it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use seriatim::driver::{Driver, DriverError, Fetch, Limits, Put};
use seriatim::{AggregateKey, KeyedEvent};

use crate::exit::{Error, Exit, Result};
use crate::interrupt::Interrupt;

/// Aggregates that are written at the same time where there is no order between them.
const SIDE_BY_SIDE: usize = 32;
/// Larger puts are not quicker, and take memory.
const PUT_BYTES: usize = 4 << 20;
/// How long a put that may succeed later is sent again.
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Writer {
    driver: Arc<dyn Driver>,
    interrupt: Interrupt,
    limits: Limits,
}

impl Writer {
    pub(super) fn new(driver: Arc<dyn Driver>, interrupt: Interrupt) -> Self {
        let mut limits = driver.limits();
        limits.bytes_per_put = limits.bytes_per_put.min(PUT_BYTES.max(limits.bytes_per_event));
        Writer { driver, interrupt, limits }
    }

    /// Writes the events, and counts those that are written even if a later one fails.
    pub(super) async fn write(&self, events: Vec<KeyedEvent>, written: &mut u64) -> Result<()> {
        let count = AtomicU64::new(0);
        let done = match self.driver.log() {
            Some(_) => self.put_all(events, &count).await,
            None => {
                let mut by_key: HashMap<AggregateKey, Vec<KeyedEvent>> = HashMap::new();
                for event in events {
                    by_key.entry(event.key.clone()).or_default().push(event);
                }
                stream::iter(by_key.into_values())
                    .map(|events| self.put_all(events, &count))
                    .buffer_unordered(SIDE_BY_SIDE)
                    .try_collect::<()>()
                    .await
            }
        };
        *written += count.into_inner();
        done
    }

    async fn put_all(&self, events: Vec<KeyedEvent>, count: &AtomicU64) -> Result<()> {
        for events in into_puts(events, &self.limits) {
            self.interrupt.check()?;
            let events_in_put = events.len() as u64;
            let put =
                Put::new(events).map_err(|error| Error::new(Exit::BadInput, error.to_string()))?;
            self.put(Arc::new(put)).await?;
            count.fetch_add(events_in_put, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Sends the put until its outcome is known. A put never changes, so sending it again is safe.
    async fn put(&self, put: Arc<Put>) -> Result<()> {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut may_be_written = false;
        loop {
            let error = match self.driver.put_events(put.clone()).await {
                Ok(_receipt) => return Ok(()),
                Err(error) => error,
            };
            if error.is_conflict() && may_be_written && self.is_there(&put).await? {
                return Ok(());
            }
            may_be_written |= error.may_have_been_written();
            if !error.is_retryable() || began.elapsed() >= PATIENCE {
                return Err(refused(&put, error));
            }
            self.interrupt.or(tokio::time::sleep(pause)).await?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether an earlier sending of the put was written after all.
    async fn is_there(&self, put: &Put) -> Result<bool> {
        for events in put.aggregates() {
            let Some(first) = events.first() else { continue };
            let fetch = Fetch::ALL.after(first.sequence.previous()).limit(events.len());
            let stored: Vec<Vec<KeyedEvent>> =
                self.driver.fetch_events(&first.key, fetch).try_collect().await?;
            let mut stored = stored.into_iter().flatten().map(|mut event| {
                event.position = None;
                event
            });
            if !events.iter().all(|event| stored.next().as_ref() == Some(event)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn refused(put: &Put, error: DriverError) -> Error {
    let first = put.events().first();
    let place = first.map(|event| format!("{} at sequence {}", event.key, event.sequence));
    let is_conflict = error.is_conflict();
    let failure = Error::from(error).about(place.unwrap_or_default());
    match is_conflict {
        true => failure.hint("somebody else writes to this store; import into one that is at rest"),
        false => failure,
    }
}

/// Puts within the limits, in order. An aggregate's events are adjacent in a put, as `Put` wants it.
fn into_puts(events: Vec<KeyedEvent>, limits: &Limits) -> Vec<Vec<KeyedEvent>> {
    let mut puts = Vec::new();
    let mut put = Open::default();
    let mut rest = events.into_iter().peekable();
    while let Some(first) = rest.next() {
        let mut append = vec![first];
        while let Some(event) = rest.next_if(|event| {
            append.first().is_some_and(|f| f.commit_id == event.commit_id && f.key == event.key)
        }) {
            append.push(event);
        }
        if !put.takes(&append, limits) {
            puts.extend(put.end());
        }
        for event in append {
            // An append that no put can hold is split.
            if !put.takes(std::slice::from_ref(&event), limits) {
                puts.extend(put.end());
            }
            put.push(event);
        }
    }
    puts.extend(put.end());
    puts
}

/// A put that is being filled.
#[derive(Default)]
struct Open {
    events: Vec<KeyedEvent>,
    keys: std::collections::HashSet<AggregateKey>,
    bytes: usize,
}

impl Open {
    /// Whether these events of one aggregate fit, too.
    fn takes(&self, more: &[KeyedEvent], limits: &Limits) -> bool {
        let Some(first) = more.first() else { return true };
        let is_adjacent = self.events.last().is_some_and(|last| last.key == first.key);
        let has_key_room = match is_adjacent {
            true => true,
            false => !self.keys.contains(&first.key) && self.keys.len() < limits.aggregates_per_put,
        };
        let bytes: usize = more.iter().map(KeyedEvent::size_bytes).sum();
        has_key_room
            && self.events.len() + more.len() <= limits.events_per_put
            && self.bytes + bytes <= limits.bytes_per_put
    }

    fn push(&mut self, event: KeyedEvent) {
        self.bytes += event.size_bytes();
        if self.events.last().is_none_or(|last| last.key != event.key) {
            self.keys.insert(event.key.clone());
        }
        self.events.push(event);
    }

    fn end(&mut self) -> Option<Vec<KeyedEvent>> {
        let ended = std::mem::take(self);
        (!ended.events.is_empty()).then_some(ended.events)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::lines::parse;
    use super::*;

    fn event(key: &str, sequence: u64, commit: u8) -> KeyedEvent {
        let line = format!(
            "{{\"key\":\"{key}\",\"sequence\":{sequence},\"type\":\"T\",\"data\":1,\
             \"commit_id\":\"0190163d-8694-739b-aea5-966c26f8ad{commit:02x}\",\
             \"recorded_at\":\"2026-11-27T06:00:00Z\"}}"
        );
        parse(line.as_bytes()).unwrap()
    }

    fn shape(puts: &[Vec<KeyedEvent>]) -> Vec<Vec<(&str, u64)>> {
        puts.iter()
            .map(|put| put.iter().map(|e| (e.key.as_str(), e.sequence.get())).collect())
            .collect()
    }

    #[test]
    fn a_put_ends_where_a_limit_or_an_aggregate_that_comes_back_ends_it() {
        let mut limits = Limits::default();
        limits.aggregates_per_put = 2;
        limits.events_per_put = 3;
        let events = vec![
            event("a", 1, 1),
            event("b", 1, 2),
            event("a", 2, 3),
            event("a", 3, 4),
            event("a", 4, 4),
            event("c", 1, 5),
            event("d", 1, 6),
        ];
        let puts = into_puts(events, &limits);
        let expected: Vec<Vec<(&str, u64)>> = vec![
            vec![("a", 1), ("b", 1)],
            vec![("a", 2), ("a", 3), ("a", 4)],
            vec![("c", 1), ("d", 1)],
        ];
        assert_eq!(shape(&puts), expected);
    }

    #[test]
    fn an_append_stays_whole_unless_no_put_can_hold_it() {
        let mut limits = Limits::default();
        limits.events_per_put = 3;
        let events: Vec<_> = [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (7, 3), (8, 3)]
            .map(|(sequence, commit)| event("a", sequence, commit))
            .into();
        let sizes: Vec<usize> = into_puts(events, &limits).iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 2, 3, 1]);
    }
}
