//! Conflicts, races, all or nothing, gaps.

use futures_util::future::join_all;

use super::harness::{CheckOutcome, Checked};
use super::support::{Bench, conflicts, done, events, put_of, read, same, sequences, told, write};
use crate::driver::{DriverError, Fetch};
use crate::event::Sequence;

pub(super) async fn stale_put_conflicts(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    let key = bench.key("")?;
    write(&*driver, events(&key, 1, 3)?).await?;
    for first in 1..=3 {
        let stale = driver.put_events(put_of(events(&key, first, 1)?)?).await;
        conflicts(&format!("a put at sequence {first} of 3"), stale)?;
    }
    same("events", &sequences(&read(&*driver, &key, Fetch::ALL).await?), &vec![1, 2, 3])?;
    done(driver).await
}

pub(super) async fn put_past_the_end_is_refused(bench: &Bench<'_>) -> Checked {
    if !bench.harness.refuses_gaps() {
        return Ok(CheckOutcome::Skipped(
            "the engine cannot see a gap; the store never sends such a put",
        ));
    }
    let driver = bench.open().await?;
    let key = bench.key("")?;
    for (there, first) in [(0, 2), (1, 3), (1, 1_000)] {
        if there == 1 && first == 3 {
            write(&*driver, events(&key, 1, 1)?).await?;
        }
        match driver.put_events(put_of(events(&key, first, 1)?)?).await {
            Err(DriverError::Gap { latest, .. }) if latest.get() == there => {}
            other => {
                return Err(format!("a put at {first} behind {there}: {other:?}, not a gap"));
            }
        }
    }
    same("events", &sequences(&read(&*driver, &key, Fetch::ALL).await?), &vec![1])?;
    done(driver).await
}

pub(super) async fn one_of_two_racing_puts_wins(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    let key = bench.key("")?;
    for round in 1..=100 {
        let racing = [put_of(events(&key, round, 1)?)?, put_of(events(&key, round, 1)?)?];
        let answers = join_all(racing.iter().map(|put| driver.put_events(put.clone()))).await;
        let winners: Vec<usize> = (0..2).filter(|index| answers[*index].is_ok()).collect();
        same("winners of a race", &winners.len(), &1)?;
        for answer in answers {
            if let Err(error) = answer {
                conflicts::<()>("the loser of a race", Err(error))?;
            }
        }
        let fetch = Fetch::ALL.after(Sequence::new(round - 1));
        let found = read(&*driver, &key, fetch).await?;
        let found: Vec<_> = found.iter().map(|event| event.commit_id).collect();
        let wanted: Vec<_> =
            winners.iter().flat_map(|index| racing[*index].events()).map(|e| e.commit_id).collect();
        same("whose the event is", &found, &wanted)?;
    }
    done(driver).await
}

pub(super) async fn put_is_all_or_nothing(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    let (key, other) = (bench.key("a")?, bench.key("b")?);
    let count = (driver.limits().events_per_put as u64).min(50);
    write(&*driver, events(&key, 1, count)?).await?;
    write(&*driver, events(&other, 1, 1)?).await?;
    // Overlaps at the beginning, in the middle, and with its last event only, where a put can.
    for first in [1, count / 2 + 1, count] {
        let overlapping = driver.put_events(put_of(events(&key, first, count)?)?).await;
        conflicts(&format!("{count} events from {first} on, behind {count}"), overlapping)?;
        let found = sequences(&read(&*driver, &key, Fetch::ALL).await?);
        same("events", &found, &(1..=count).collect())?;
    }
    let mut both = events(&bench.key("c")?, 1, count.min(5))?;
    both.extend(events(&other, 1, 1)?);
    if driver.limits().aggregates_per_put > 1 {
        let put = driver.put_events(put_of(both)?).await;
        conflicts("a put over two aggregates whose last event collides", put)?;
        let found = sequences(&read(&*driver, &bench.key("c")?, Fetch::ALL).await?);
        same("events of the aggregate that did not collide", &found, &Vec::new())?;
    }
    write(&*driver, events(&key, count + 1, count)?).await?;
    let found = sequences(&read(&*driver, &key, Fetch::ALL).await?);
    same("events", &found, &(1..=2 * count).collect())?;
    done(driver).await
}

pub(super) async fn put_sent_twice_is_written_once(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    let key = bench.key("")?;
    let put = put_of(events(&key, 1, 2)?)?;
    driver.put_events(put.clone()).await.map_err(told("a put"))?;
    for behind in [false, true] {
        if behind {
            write(&*driver, events(&key, 3, 1)?).await?;
        }
        match driver.put_events(put.clone()).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(format!("the same put again: {error}")),
        }
    }
    same("events", &sequences(&read(&*driver, &key, Fetch::ALL).await?), &vec![1, 2, 3])?;
    done(driver).await
}

pub(super) async fn keys_do_not_share_sequences(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    let keys = ["a", "b", "ab", "a/b"].map(|name| bench.key(name));
    for (index, key) in keys.iter().enumerate() {
        let count = index as u64 + 1;
        write(&*driver, events(key.as_ref()?, 1, count)?).await?;
    }
    for (index, key) in keys.iter().enumerate() {
        let found = sequences(&read(&*driver, key.as_ref()?, Fetch::ALL).await?);
        same("events of one key", &found, &(1..=index as u64 + 1).collect())?;
    }
    done(driver).await
}
