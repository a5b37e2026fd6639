//! Import into a store without a log, as engines are: here a map that loses answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use seriatim::driver::{
    Driver, DriverError, EventPage, EventPages, Fetch, Limits, Put, PutReceipt, async_trait, paged,
};
use seriatim::{AggregateKey, KeyedEvent, Sequence};

use super::compare::Compare;
use super::lines::{Line, parse};
use super::write::Writer;
use crate::exit::Exit;
use crate::interrupt::Interrupt;

/// An engine: one aggregate a put, ten events a put, no log.
#[derive(Default)]
struct Engine {
    stored: Arc<Mutex<BTreeMap<AggregateKey, Vec<KeyedEvent>>>>,
    puts: AtomicU64,
    /// Every so many puts one is written, but the answer is lost.
    lost_answers: u64,
    largest_put: AtomicU64,
}

impl Engine {
    fn new(lost_answers: u64) -> Arc<Self> {
        Arc::new(Engine { lost_answers, ..Engine::default() })
    }

    fn all(&self) -> Vec<KeyedEvent> {
        self.stored.lock().unwrap().values().flatten().cloned().collect()
    }
}

#[async_trait]
impl Driver for Engine {
    async fn check_sequence(&self, k: &AggregateKey, s: Sequence) -> Result<bool, DriverError> {
        let stored = self.stored.lock().unwrap();
        Ok(stored.get(k).is_some_and(|events| events.iter().any(|event| event.sequence == s)))
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        let (stored, key) = (self.stored.clone(), key.clone());
        paged(fetch, move |fetch| {
            let Some((low, high)) = fetch.bounds() else { return Ok(EventPage::default()) };
            let stored = stored.lock().unwrap();
            let events = stored.get(&key).into_iter().flatten();
            let wanted = events.filter(|e| low <= e.sequence && e.sequence <= high).cloned();
            // Small pages, so that streams of several are met.
            let limit = fetch.limit.unwrap_or(usize::MAX).min(7);
            Ok(EventPage::new(wanted.take(limit).collect(), true))
        })
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        let number = self.puts.fetch_add(1, Ordering::Relaxed);
        self.largest_put.fetch_max(put.events().len() as u64, Ordering::Relaxed);
        self.limits().check(&put)?;
        let mut stored = self.stored.lock().unwrap();
        for event in put.events() {
            let events = stored.entry(event.key.clone()).or_default();
            if events.iter().any(|there| there.sequence == event.sequence) {
                let (key, sequence) = (event.key.clone(), event.sequence);
                return Err(DriverError::Conflict { key, sequence });
            }
            // No engine sees a gap; whoever puts must not leave one.
            assert_eq!(event.sequence.get(), events.len() as u64 + 1);
            events.push(event.clone());
        }
        match self.lost_answers > 0 && number.is_multiple_of(self.lost_answers) {
            true => Err(DriverError::unknown("the answer was lost")),
            false => Ok(PutReceipt::default()),
        }
    }

    async fn close(&self) -> Result<(), DriverError> {
        Ok(())
    }

    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.events_per_put = 10;
        limits
    }
}

/// Interleaved appends of three events each over three aggregates.
fn lines(events: u64) -> Vec<Line> {
    let line = |n: u64| {
        let (append, key) = (n / 3, n / 3 % 3);
        let sequence = append / 3 * 3 + n % 3 + 1;
        format!(
            "{{\"key\":\"a/{key}\",\"sequence\":{sequence},\"type\":\"T\",\"data\":{n},\
             \"commit_id\":\"0190163d-8694-739b-aea5-{append:012x}\",\
             \"recorded_at\":\"2026-11-27T06:00:00.{n:06}Z\"}}"
        )
    };
    (0..events).map(|n| Line { number: n + 1, event: parse(line(n).as_bytes()).unwrap() }).collect()
}

async fn import(engine: &Arc<Engine>, lines: Vec<Line>) -> crate::exit::Result<u64> {
    let driver: Arc<dyn Driver> = engine.clone();
    let mut compare = Compare::new(driver.clone(), false)?;
    let writer = Writer::new(driver, Interrupt::default());
    let mut written = 0;
    for batch in batches(lines) {
        let new = compare.new_events(batch).await?;
        writer.write(new, &mut written).await?;
    }
    Ok(written)
}

/// Batches end with an append, as those of `lines` do.
fn batches(lines: Vec<Line>) -> Vec<Vec<Line>> {
    let mut batches: Vec<Vec<Line>> = Vec::new();
    for line in lines {
        match batches.last_mut() {
            Some(batch) if batch.len() < 48 => batch.push(line),
            _ => batches.push(vec![line]),
        }
    }
    batches
}

#[tokio::test(start_paused = true)]
async fn an_engine_gets_every_event_as_it_was_within_its_limits() {
    for lost_answers in [0, 1, 4] {
        let engine = Engine::new(lost_answers);
        assert_eq!(import(&engine, lines(500)).await.unwrap(), 500);
        let mut stored = engine.all();
        stored.sort_by_key(|event| event.recorded_at);
        let expected: Vec<KeyedEvent> = lines(500).into_iter().map(|line| line.event).collect();
        assert!(stored == expected, "{lost_answers}");
        // Appends of three events stay whole in puts of ten.
        assert_eq!(engine.largest_put.load(Ordering::Relaxed), 9);

        let puts = engine.puts.load(Ordering::Relaxed);
        assert_eq!(import(&engine, lines(500)).await.unwrap(), 0, "all is there");
        assert_eq!(engine.puts.load(Ordering::Relaxed), puts);
    }
}

#[tokio::test]
async fn a_writer_that_was_quicker_is_a_conflict() {
    let engine = Engine::new(0);
    let driver: Arc<dyn Driver> = engine.clone();
    let mut compare = Compare::new(driver.clone(), false).unwrap();
    let new = compare.new_events(lines(9)).await.unwrap();
    // Somebody else writes between the look and the put.
    let mut other = new.first().unwrap().clone();
    other.version = 7;
    engine.put_events(Arc::new(Put::new(vec![other]).unwrap())).await.unwrap();
    let mut written = 0;
    let writer = Writer::new(driver, Interrupt::default());
    let error = writer.write(new, &mut written).await.unwrap_err();
    assert_eq!(error.exit, Exit::Conflict);
    assert!(error.message.contains("a/0"), "{}", error.message);
}
