//! The driver under a store, with injected faults.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use uuid::Uuid;

use super::harness::Checked;
use super::support::{Bench, PASSED, same, sequences};
use crate::append::{Append, Expected};
use crate::driver::DriverError;
use crate::error::AppendError;
use crate::event::{AggregateKey, NewEvent};
use crate::store::EventStore;
use crate::testing::faulty_driver::{FaultyDriver, PutFault, ReadFault};

/// So many sendings of a put fit before its deadline.
const ATTEMPTS: u32 = 3;

struct Faulted {
    store: EventStore,
    faults: Arc<FaultyDriver>,
    key: AggregateKey,
    /// The time for one sending of a put.
    attempt: Duration,
}

impl Faulted {
    async fn open(bench: &Bench<'_>) -> Result<Self, String> {
        let attempt = bench.harness.put_attempt();
        let faults = FaultyDriver::around_shared(bench.open().await?);
        let store = EventStore::builder()
            .driver(faults.clone())
            .put_attempt_timeout(attempt)
            .put_deadline(attempt * ATTEMPTS)
            .open()
            .await
            .map_err(|e| format!("a store over the driver did not open: {e}"))?;
        Ok(Faulted { store, faults, key: bench.key("")?, attempt })
    }

    fn one(&self, expected: impl Into<Expected>) -> Append {
        Append::to(&self.key).expect(expected).event(NewEvent::raw("Tested", "{}"))
    }

    async fn append(&self, expected: impl Into<Expected>) -> Result<u64, AppendError> {
        self.store.append(self.one(expected)).await.map(|appended| appended.last.get())
    }

    async fn has(&self, count: u64) -> Result<(), String> {
        let events = self.store.read(&self.key).collect().await.map_err(|e| e.to_string())?;
        same("events", &sequences(&events), &(1..=count).collect())
    }

    async fn close(self) -> Checked {
        self.store.close().await.map_err(|e| format!("the store did not close: {e}"))?;
        PASSED
    }
}

fn said<T>(what: &str, answer: Result<T, AppendError>) -> Result<T, String> {
    answer.map_err(|error| format!("{what}: {error}"))
}

fn conflict(what: &str, actual: u64, seen: Result<u64, AppendError>) -> Result<(), String> {
    match seen {
        Err(AppendError::Conflict { actual: found, .. }) if found.get() == actual => Ok(()),
        other => Err(format!("{what}: {other:?}, not a conflict at {actual}")),
    }
}

pub(super) async fn stale_append_conflicts(bench: &Bench<'_>) -> Checked {
    let under = Faulted::open(bench).await?;
    for expected in 0..3 {
        said("an append", under.append(expected).await)?;
    }
    under.faults.take_counts();
    for expected in 0..3 {
        conflict("a stale append", 3, under.append(expected).await)?;
    }
    same("driver calls for stale appends", &under.faults.counts().total(), &0)?;
    under.has(3).await?;
    under.close().await
}

pub(super) async fn append_past_the_end_is_refused(bench: &Bench<'_>) -> Checked {
    let under = Faulted::open(bench).await?;
    conflict("an append to nothing that expects 5", 0, under.append(5).await)?;
    said("an append", under.append(Expected::NoEvents).await)?;
    conflict("an append that expects 2 of 1", 1, under.append(2).await)?;
    under.has(1).await?;
    under.close().await
}

pub(super) async fn one_of_two_racing_appends_wins(bench: &Bench<'_>) -> Checked {
    let under = Faulted::open(bench).await?;
    for round in 0..50 {
        let answers = join_all([under.append(round), under.append(round)]).await;
        let won = answers.iter().filter(|answer| answer.is_ok()).count();
        same("winners of a race", &won, &1)?;
        for lost in answers.into_iter().filter(Result::is_err) {
            conflict("the loser of a race", round + 1, lost)?;
        }
    }
    under.has(50).await?;
    under.close().await
}

pub(super) async fn lost_answer_is_found_out(bench: &Bench<'_>) -> Checked {
    let under = Faulted::open(bench).await?;
    for expected in 0..3 {
        under.faults.next_put(PutFault::WrittenThenTimeout);
        said("an append whose first answer is lost", under.append(expected).await)?;
    }
    under.has(3).await?;
    under.close().await
}

pub(super) async fn late_write_is_not_doubled(bench: &Bench<'_>) -> Checked {
    let under = Faulted::open(bench).await?;
    said("an append", under.append(Expected::NoEvents).await)?;
    let late = under.faults.next_put_lands_late();
    // Every further sending is lost as well, so that the deadline passes.
    under.faults.every_nth_put(1, PutFault::TimeoutOnly);
    let commit_id = Uuid::new_v4();
    match under.store.append(under.one(1).commit_id(commit_id)).await {
        Err(AppendError::Indeterminate { commit_id: named, .. }) if named == commit_id => {}
        other => return Err(format!("an append lost until its deadline: {other:?}")),
    }
    under.faults.every_nth_put(0, PutFault::TimeoutOnly);
    late.land().await.map_err(|e| format!("a late write: {e}"))?;
    let again =
        said("its repetition", under.store.append(under.one(1).commit_id(commit_id)).await)?;
    same("where the repetition was found", &again.last.get(), &2)?;
    said("an append behind it", under.append(2).await)?;
    under.has(3).await?;
    under.close().await
}

pub(super) async fn failure_before_the_write_is_told(bench: &Bench<'_>) -> Checked {
    let under = Faulted::open(bench).await?;
    under.faults.next_put(PutFault::Fails(DriverError::failed("on demand")));
    match under.append(Expected::NoEvents).await {
        Err(AppendError::Driver { .. }) => {}
        other => return Err(format!("an append whose put failed: {other:?}")),
    }
    under.has(0).await?;
    said("the next append", under.append(Expected::NoEvents).await)?;
    under.has(1).await?;
    under.close().await
}

pub(super) async fn slow_put_is_awaited(bench: &Bench<'_>) -> Checked {
    let under = Faulted::open(bench).await?;
    under.faults.next_put(PutFault::Slow(under.attempt / 4));
    said("an append whose put is slow", under.append(Expected::NoEvents).await)?;
    // Slower than one sending may take: it is sent again while the first is still on its way.
    under.faults.next_put(PutFault::Slow(under.attempt * 2));
    said("an append whose put is too slow", under.append(1).await)?;
    under.has(2).await?;
    under.close().await
}

pub(super) async fn hanging_put_is_given_up(bench: &Bench<'_>) -> Checked {
    let under = Faulted::open(bench).await?;
    under.faults.every_nth_put(1, PutFault::Hangs);
    match under.append(Expected::NoEvents).await {
        Err(AppendError::Indeterminate { .. }) => {}
        other => return Err(format!("an append whose put hangs: {other:?}")),
    }
    under.faults.every_nth_put(0, PutFault::Hangs);
    said("the next append", under.append(Expected::NoEvents).await)?;
    under.has(1).await?;
    under.close().await
}

pub(super) async fn unreadable_page_ends_the_read(bench: &Bench<'_>) -> Checked {
    let under = Faulted::open(bench).await?;
    let step = under.store.mailroom().driver.limits().events_per_put.min(100);
    let mut count = 0;
    while count < 3_000 {
        let events = (0..step).map(|_| NewEvent::raw("Tested", "{}"));
        let append = Append::to(&under.key).expect(count).events(events);
        count = said("an append", under.store.append(append).await)?.last.get();
    }
    under.faults.next_fetch(1, ReadFault::Fails(DriverError::failed("on demand")));
    let mut read = under.store.read(&under.key);
    let (mut seen, mut failed) = (0, false);
    while let Some(event) = read.next().await {
        match event {
            Ok(event) => {
                same("the next sequence", &event.sequence.get(), &(seen + 1))?;
                seen += 1;
            }
            Err(_) => failed = true,
        }
    }
    same("whether the reader was told", &failed, &true)?;
    same("whether the reader saw a page, and not all", &(seen > 0 && seen < count), &true)?;
    under.has(count).await?;
    under.close().await
}
