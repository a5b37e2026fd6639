//! The log and its checkpoints, where the driver has them.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::harness::{CheckOutcome, Checked};
use super::support::{Bench, done, events, same, told, write};
use crate::driver::{Driver, DriverError, LogFetch, LogStore, MAX_CHECKPOINT_NAME_BYTES};
use crate::event::{KeyedEvent, Position};

/// Why a check is left out of the report.
pub(super) const NO_LOG: &str = "the driver has no log";

fn log(driver: &dyn Driver) -> Result<&dyn LogStore, String> {
    driver.log().ok_or_else(|| "the driver had a log, and has none now".to_owned())
}

/// Everything from this fetch on, page by page.
fn walk(log: &dyn LogStore, mut fetch: LogFetch) -> Result<Vec<KeyedEvent>, String> {
    let mut all: Vec<KeyedEvent> = Vec::new();
    loop {
        let page =
            log.log_page_now(fetch).map_err(told(format!("a page of the log ({fetch:?})")))?;
        let Some(last) = page.events.last().and_then(|event| event.position) else {
            return Ok(all);
        };
        all.extend(page.events);
        if fetch.backwards && last.get() <= 1 {
            return Ok(all);
        }
        fetch = fetch.from(if fetch.backwards { last.previous() } else { last.plus(1) });
    }
}

fn positions(events: &[KeyedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.position.unwrap_or_default().get()).collect()
}

pub(super) async fn the_log_is_dense_and_in_commit_order(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    if driver.log().is_none() {
        driver.close().await.map_err(told("close"))?;
        return Ok(CheckOutcome::Skipped(NO_LOG));
    }
    let before = log(&*driver)?.last_position().map_err(told("last_position"))?;
    let mut wanted: Vec<KeyedEvent> = Vec::new();
    for step in 0..40u64 {
        let key = bench.key(&format!("{}", step % 7))?;
        let first = 1 + (step / 7) * 3;
        let written = events(&key, first, 3)?;
        let receipt = write(&*driver, written.clone()).await?;
        let position = before.plus(wanted.len() as u64 + 1);
        same("the position a put was given", &receipt.first_position, &Some(position))?;
        wanted.extend(written);
    }
    let last = before.plus(wanted.len() as u64);
    for round in ["as written", "opened again"] {
        let driver = match round {
            "as written" => driver.clone(),
            _ => {
                driver.close().await.map_err(told("close"))?;
                bench.open().await?
            }
        };
        let log = log(&*driver)?;
        same("the last position", &log.last_position().map_err(told("last_position"))?, &last)?;
        let found = walk(log, LogFetch::ALL.from(before.plus(1)))?;
        let dense: Vec<u64> = (before.get() + 1..=last.get()).collect();
        same("positions forwards", &positions(&found), &dense)?;
        for (found, wanted) in found.iter().zip(&wanted) {
            let found = (&found.key, found.sequence, &found.data, found.commit_id);
            let wanted = (&wanted.key, wanted.sequence, &wanted.data, wanted.commit_id);
            same(&format!("an event of the log, {round}"), &found, &wanted)?;
        }
        if !found.is_sorted_by_key(|event| event.recorded_at) {
            return Err("recorded-at decreases along positions".to_owned());
        }
        let mut back = walk(log, LogFetch::ALL.backwards())?;
        back.truncate(wanted.len());
        back.reverse();
        same("the log backwards", &back, &found)?;
        let few = log.log_page_now(LogFetch::ALL.from(before.plus(5)).limit(2));
        let few = few.map_err(told("a page"))?.events;
        same("a limited page", &positions(&few), &vec![before.get() + 5, before.get() + 6])?;
        let none = log.log_page_now(LogFetch::ALL.from(last.plus(1))).map_err(told("a page"))?;
        same("events behind the last", &none.events.len(), &0)?;
        if round == "opened again" {
            return done(driver).await;
        }
    }
    Ok(CheckOutcome::Passed)
}

pub(super) async fn the_bell_is_rung_when_events_can_be_read(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    let Some(log) = driver.log() else {
        driver.close().await.map_err(told("close"))?;
        return Ok(CheckOutcome::Skipped(NO_LOG));
    };
    let deadline = Duration::from_secs(30);
    let mut listener = log.bell().listen();
    let key = bench.key("")?;
    for sequence in 1..=20 {
        listener.begin();
        let receipt = write(&*driver, events(&key, sequence, 1)?).await?;
        let position = receipt.first_position.unwrap_or_default();
        let rung = timeout(deadline, listener.rung()).await;
        same("whether the bell was rung", &rung, &Ok(true))?;
        let page = log.log_page_now(LogFetch::ALL.from(position)).map_err(told("a page"))?;
        same("what can be read at the ring", &positions(&page.events), &vec![position.get()])?;
    }
    listener.begin();
    driver.close().await.map_err(told("close"))?;
    if timeout(deadline, listener.rung()).await.is_err() {
        return Err("the bell is not rung when the driver closes".to_owned());
    }
    match log.log_page_now(LogFetch::ALL) {
        Err(DriverError::Closed) => {}
        other => return Err(format!("a page after closing: {other:?}")),
    }
    match log.save_checkpoint("closed", Bytes::new()).await {
        Err(DriverError::Closed) => Ok(CheckOutcome::Passed),
        other => Err(format!("a checkpoint after closing: {other:?}")),
    }
}

pub(super) async fn checkpoints_are_kept_and_take_no_position(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    if driver.log().is_none() {
        driver.close().await.map_err(told("close"))?;
        return Ok(CheckOutcome::Skipped(NO_LOG));
    }
    let names = [bench.prefix().to_owned(), format!("{}/☂", bench.prefix())];
    let before = log(&*driver)?.last_position().map_err(told("last_position"))?;
    for name in &names {
        let found = log(&*driver)?.load_checkpoint(name).await.map_err(told("load"))?;
        same("a checkpoint that was never saved", &found, &None)?;
        for content in ["first", "", "last"] {
            let content = Bytes::copy_from_slice(format!("{name} {content}").as_bytes());
            let saved = log(&*driver)?.save_checkpoint(name, content.clone()).await;
            saved.map_err(told("save"))?;
            let found = log(&*driver)?.load_checkpoint(name).await.map_err(told("load"))?;
            same("a checkpoint just saved", &found, &Some(content))?;
        }
    }
    let key = bench.key("")?;
    let receipt = write(&*driver, events(&key, 1, 1)?).await?;
    same("the next position", &receipt.first_position, &Some(Position::new(before.get() + 1)))?;
    for name in [String::new(), "x".repeat(MAX_CHECKPOINT_NAME_BYTES + 1)] {
        if log(&*driver)?.save_checkpoint(&name, Bytes::new()).await.is_ok() {
            return Err(format!("a name of {} bytes was taken", name.len()));
        }
    }
    driver.close().await.map_err(told("close"))?;
    let driver = bench.open().await?;
    for name in &names {
        let found = log(&*driver)?.load_checkpoint(name).await.map_err(told("load"))?;
        same("a checkpoint after reopening", &found, &Some(format!("{name} last").into()))?;
    }
    done(driver).await
}
