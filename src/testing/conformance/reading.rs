//! Order, pages, keys.

use futures_util::StreamExt;

use super::harness::{CheckOutcome, Checked};
use super::support::{Bench, all, done, events, read, same, sequences, told, write};
use crate::driver::{Driver, Fetch};
use crate::event::{AggregateKey, Sequence};

const MANY: u64 = 10_000;

async fn write_many(driver: &dyn Driver, key: &AggregateKey, count: u64) -> Result<(), String> {
    let step = (driver.limits().events_per_put as u64).min(100);
    let mut first = 1;
    while first <= count {
        let events = events(key, first, step.min(count + 1 - first))?;
        first += events.len() as u64;
        write(driver, events).await?;
    }
    Ok(())
}

pub(super) async fn ten_thousand_events_in_order(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    let key = bench.key("")?;
    write_many(&*driver, &key, MANY).await?;
    let found = read(&*driver, &key, Fetch::ALL).await?;
    same("events forwards", &sequences(&found), &(1..=MANY).collect())?;
    for event in &found {
        let wanted = format!("{{\"n\":{}}}", event.sequence);
        same("the data at a sequence", &event.data.as_str(), &wanted.as_str())?;
    }
    let found = read(&*driver, &key, Fetch::ALL.backwards()).await?;
    same("events backwards", &sequences(&found), &(1..=MANY).rev().collect())?;
    let latest = driver.latest_sequence(&key).await.map_err(told("latest_sequence"))?;
    same("the latest sequence", &latest.get(), &MANY)?;
    let mut pages = driver.fetch_events(&key, Fetch::ALL);
    while let Some(page) = pages.next().await {
        same("whether a page is empty", &page.map_err(told("a page"))?.is_empty(), &false)?;
    }
    done(driver).await
}

pub(super) async fn pages_follow_one_another(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    let key = bench.key("")?;
    let count: u64 = 2_500;
    write_many(&*driver, &key, count).await?;
    let edges = [0, 1, 2, 999, 1_000, 1_001, count - 1, count, count + 1, u64::MAX];
    for after in edges {
        for limit in [None, Some(0), Some(1), Some(7), Some(1_000), Some(1_001), Some(5_000)] {
            for backwards in [false, true] {
                let fetch = Fetch { after: Some(Sequence::new(after)), backwards, limit };
                let wanted: Vec<u64> = match backwards {
                    false => {
                        (after.saturating_add(1)..=count).take(limit.unwrap_or(9_999)).collect()
                    }
                    true => {
                        let top = after.saturating_sub(1).min(count);
                        (1..=top).rev().take(limit.unwrap_or(9_999)).collect()
                    }
                };
                let found = sequences(&read(&*driver, &key, fetch).await?);
                same(&format!("{fetch:?} of {count} events"), &found, &wanted)?;
            }
        }
    }
    done(driver).await
}

pub(super) async fn odd_keys_are_kept_apart(bench: &Bench<'_>) -> Checked {
    let driver = bench.open().await?;
    let long = "k".repeat(AggregateKey::MAX_BYTES - bench.prefix().len());
    let almost = long.get(1..).unwrap_or_default();
    let names = [
        "",
        "a",
        "ab",
        "abc",
        "a/",
        "a//",
        "a/b",
        "a#b",
        "a?b",
        "a\\b",
        "a%b",
        "a%2Fb",
        "a%23b",
        "a b",
        " a",
        "a ",
        "a.b",
        "a\u{1f600}b",
        "\u{1f600}",
        "ä",
        "a\u{308}",
        "\u{10ffff}",
        "\u{a0}",
        "'\"`;--",
        "$a",
        "{a}",
        "[a]",
        "a:b",
        "a|b",
        "a\u{2028}b",
        "A",
        "a!",
        "a~",
        &long,
        almost,
    ];
    for (index, name) in names.iter().enumerate() {
        write(&*driver, events(&bench.key(name)?, 1, index as u64 + 1)?).await?;
    }
    for (index, name) in names.iter().enumerate() {
        let key = bench.key(name)?;
        let found = read(&*driver, &key, Fetch::ALL).await?;
        let wanted: Vec<u64> = (1..=index as u64 + 1).collect();
        same(&format!("events of {key:?}"), &sequences(&found), &wanted)?;
        same("the key of an event", &found.iter().all(|event| event.key == key), &true)?;
        let latest = driver.latest_sequence(&key).await.map_err(told("latest_sequence"))?;
        same(&format!("the latest sequence of {key:?}"), &latest.get(), &(index as u64 + 1))?;
    }
    done(driver).await
}

async fn list_keys(
    driver: &dyn Driver,
    prefix: &str,
    after: Option<AggregateKey>,
) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut pages = driver.keys(prefix, after.as_ref());
    while let Some(page) = pages.next().await {
        let page = page.map_err(told("a page of keys"))?;
        found.extend(page.into_iter().map(String::from));
    }
    Ok(found)
}

pub(super) async fn keys_are_listed_by_prefix(bench: &Bench<'_>) -> Checked {
    if !bench.harness.lists_keys() {
        return Ok(CheckOutcome::Skipped("the driver does not list keys"));
    }
    let driver = bench.open().await?;
    let mut names: Vec<String> = (0..2_345).map(|n| format!("/b/{n}")).collect();
    names.extend(["/a", "/b", "/b/", "/b0", "/c", "/ü", "/\u{1f600}"].map(str::to_owned));
    for name in &names {
        write(&*driver, events(&bench.key(name)?, 1, 2)?).await?;
    }
    for prefix in ["", "/", "/b", "/b/", "/b/1", "/b/2344", "/\u{1f600}", "/z", "/a\u{0}"] {
        let mut wanted: Vec<String> = names
            .iter()
            .filter(|name| name.starts_with(prefix))
            .map(|name| format!("{}{name}", bench.prefix()))
            .collect();
        wanted.sort();
        let whole = format!("{}{prefix}", bench.prefix());
        let listed = list_keys(&*driver, &whole, None).await?;
        let mut sorted = listed.clone();
        sorted.sort();
        same(&format!("keys with {prefix:?}, sorted"), &sorted, &wanted)?;
        if bench.harness.keys_in_byte_order() {
            same(&format!("keys with {prefix:?}"), &listed, &wanted)?;
        }
        for skip in [1, listed.len() / 2, listed.len()] {
            let Some(after) = skip.checked_sub(1).and_then(|index| listed.get(index)) else {
                continue;
            };
            let found = list_keys(&*driver, &whole, AggregateKey::new(after).ok()).await?;
            let rest = listed.get(skip..).unwrap_or_default().to_vec();
            same(&format!("keys with {prefix:?} after {after:?}"), &found, &rest)?;
        }
    }
    let nothing = all(driver.fetch_events(&bench.key("/none")?, Fetch::ALL)).await;
    same("events of a key never written", &nothing.map_err(told("reading"))?.len(), &0)?;
    done(driver).await
}
