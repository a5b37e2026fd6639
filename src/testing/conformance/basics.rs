//! Start, stop, write, read.

use super::harness::Checked;
use super::support::{
    Bench, all, conflicts, done, events, put_of, read, same, sequences, told, write,
};
use crate::driver::{DriverError, Fetch};
use crate::event::Sequence;

pub(super) async fn starts_and_stops(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    driver.close().await.map_err(told("closing"))?;
    driver.close().await.map_err(told("closing a second time"))?;
    done(bench.open().await?).await
}

pub(super) async fn writes_and_reads(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    let key = bench.key("")?;
    same("events before the first put", &read(&*driver, &key, Fetch::ALL).await?, &Vec::new())?;
    let before = driver.check_sequence(&key, Sequence::FIRST).await.map_err(told("checking"))?;
    same("sequence 1 before the first put", &before, &false)?;
    let written = events(&key, 1, 3)?;
    write(&*driver, written.clone()).await?;
    let found = read(&*driver, &key, Fetch::ALL).await?;
    same("sequences", &sequences(&found), &vec![1, 2, 3])?;
    for (found, written) in found.iter().zip(&written) {
        same("data", &found.data, &written.data)?;
        same("commit id", &found.commit_id, &written.commit_id)?;
    }
    for (sequence, there) in [(0, false), (1, true), (3, true), (4, false)] {
        let found = driver.check_sequence(&key, Sequence::new(sequence)).await;
        let found = found.map_err(told("checking"))?;
        same(&format!("whether sequence {sequence} is there"), &found, &there)?;
    }
    done(driver).await
}

pub(super) async fn appends_and_reads_250_rounds(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    let key = bench.key("")?;
    for round in 1..=250 {
        write(&*driver, events(&key, round, 1)?).await?;
        let fetch = Fetch::ALL.after(Sequence::new(round - 1));
        let found = read(&*driver, &key, fetch).await?;
        same("the event just written", &sequences(&found), &vec![round])?;
    }
    let all: Vec<u64> = (1..=250).collect();
    same("all events", &sequences(&read(&*driver, &key, Fetch::ALL).await?), &all)?;
    done(driver).await
}

pub(super) async fn reopens_and_reads(bench: &Bench<'_>) -> Checked {
    let key = bench.key("")?;
    let driver = bench.open().await?;
    write(&*driver, events(&key, 1, 5)?).await?;
    let before = read(&*driver, &key, Fetch::ALL).await?;
    done(driver).await?;
    let driver = bench.open().await?;
    same("events after reopening", &read(&*driver, &key, Fetch::ALL).await?, &before)?;
    let again = driver.put_events(put_of(events(&key, 5, 1)?)?).await;
    conflicts("a put at a sequence written before reopening", again)?;
    write(&*driver, events(&key, 6, 1)?).await?;
    done(driver).await
}

pub(super) async fn is_closed_after_close(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    let key = bench.key("")?;
    write(&*driver, events(&key, 1, 1)?).await?;
    driver.close().await.map_err(told("closing"))?;
    let closed = |what: &str, seen: Option<DriverError>| match seen {
        Some(DriverError::Closed) => Ok(()),
        other => Err(format!("{what} after close: {other:?}, not Closed")),
    };
    closed("put_events", driver.put_events(put_of(events(&key, 2, 1)?)?).await.err())?;
    closed("check_sequence", driver.check_sequence(&key, Sequence::FIRST).await.err())?;
    closed("latest_sequence", driver.latest_sequence(&key).await.err())?;
    closed("fetch_events", all(driver.fetch_events(&key, Fetch::ALL)).await.err())?;
    if let Some(page) = driver.fetch_page_now(&key, Fetch::ALL) {
        closed("fetch_page_now", page.err())?;
    }
    done(driver).await
}

pub(super) async fn knows_the_latest_sequence(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    let key = bench.key("")?;
    let mut latest = 0;
    for count in [0, 1, 1, 2, 5, 30] {
        if count > 0 {
            write(&*driver, events(&key, latest + 1, count)?).await?;
        }
        latest += count;
        let found = driver.latest_sequence(&key).await.map_err(told("latest_sequence"))?;
        same("the latest sequence", &found.get(), &latest)?;
    }
    done(driver).await
}
