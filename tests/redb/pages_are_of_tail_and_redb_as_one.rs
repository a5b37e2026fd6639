//! Pages read the same whatever of them is in the tail and in redb.

use futures::executor::block_on;
use seriatim::driver::{Driver, Fetch, LogFetch};
use seriatim::{KeyedEvent, Position, Sequence};

use crate::support::puts::{key, put, unapplied};

fn numbers(events: &[KeyedEvent]) -> Vec<(u64, u64)> {
    let position = |event: &KeyedEvent| event.position.map_or(0, Position::get);
    events.iter().map(|event| (event.sequence.get(), position(event))).collect()
}

#[test]
fn every_page_has_what_was_asked_for() {
    // Puts of "a", each followed by one of "b"; so many of them are in redb.
    const PUTS: [u64; 8] = [1, 3, 1, 2, 5, 1, 1, 4];
    for applied in 0..=PUTS.len() {
        let folder = tempfile::tempdir().unwrap();
        let driver = unapplied().open(folder.path()).unwrap();
        let (a, b) = (key("a"), key("b"));
        let (mut history, mut next, mut position) = (Vec::new(), 1, 1);
        for (number, events) in PUTS.into_iter().enumerate() {
            if number == applied {
                driver.verify().unwrap();
            }
            block_on(driver.put_events(put(&a, next, events, 10))).unwrap();
            block_on(driver.put_events(put(&b, number as u64 + 1, 1, 10))).unwrap();
            history.extend((next..next + events).zip(position..));
            next += events;
            position += events + 1;
        }
        if applied == PUTS.len() {
            driver.verify().unwrap();
        }
        let log: Vec<u64> = (1..position).collect();
        for from in 0..=next {
            for limit in [1, 2, 3, 7, 100] {
                for backwards in [false, true] {
                    let mut fetch = Fetch::ALL.limit(limit);
                    if from > 0 {
                        fetch = fetch.after(Sequence::new(from));
                    }
                    fetch = if backwards { fetch.backwards() } else { fetch };
                    let Some((low, high)) = fetch.bounds() else { continue };
                    let inside = low.get()..=high.get();
                    let mut expected = history.clone();
                    expected.retain(|(sequence, _)| inside.contains(sequence));
                    if backwards {
                        expected.reverse();
                    }
                    let more = expected.len() > limit;
                    expected.truncate(limit);
                    let page = driver.fetch_page_now(&a, fetch).unwrap().unwrap();
                    let context = format!("{applied} applied, {fetch:?}");
                    assert_eq!(numbers(&page.events), expected, "{context}");
                    assert!(page.more || !more, "{context}");
                }
            }
        }
        for from in 1..=position + 1 {
            for limit in [1, 2, 3, 7, 100] {
                let fetch = LogFetch::ALL.from(from).limit(limit);
                let page = |fetch| driver.log().unwrap().log_page_now(fetch).unwrap().events;
                let found = |fetch| numbers(&page(fetch)).into_iter().map(|(_, at)| at);
                let behind = log.iter().copied().filter(|at| *at >= from).take(limit);
                assert!(found(fetch).eq(behind), "{applied} applied, {fetch:?}");
                let fetch = fetch.backwards();
                let before = log.iter().copied().rev().filter(|at| *at <= from).take(limit);
                assert!(found(fetch).eq(before), "{applied} applied, {fetch:?}");
            }
        }
        block_on(driver.close()).unwrap();
    }
}

#[test]
fn the_last_page_of_an_aggregate_that_only_redb_knows_is_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let a = key("a");
    let driver = unapplied().open(folder.path()).unwrap();
    block_on(driver.put_events(put(&a, 1, 5, 10))).unwrap();
    block_on(driver.close()).unwrap();
    let driver = unapplied().open(folder.path()).unwrap();
    for fetch in [Fetch::ALL, Fetch::ALL.backwards(), Fetch::ALL.after(Sequence::new(5))] {
        let page = driver.fetch_page_now(&a, fetch).unwrap().unwrap();
        assert!(!page.more, "{fetch:?}");
    }
    assert!(!driver.fetch_page_now(&key("none"), Fetch::ALL).unwrap().unwrap().more);
    block_on(driver.close()).unwrap();
}
