//! Power fails at any write or flush, with everything unflushed lost, torn or reordered: every
//! answered put is there after opening, in place, once; nothing a reader saw is taken back; the
//! rest is there whole or not at all.
//!
//! `SERIATIM_CRASH_CASES` sets how many seeded cases run; a failure prints the seed, and
//! `SERIATIM_CRASH_SEED` runs it alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use seriatim::driver::redb::{Durability, RedbDriver};
use seriatim::driver::{Driver, DriverError, Put};
use seriatim::{AggregateKey, KeyedEvent, Position};
use uuid::Uuid;

use crate::support::puts::{all, assert_dense, key, log, put, small};
use crate::support::sim_disk::{Random, SimDisk};

const KEYS: u64 = 5;
const ROUNDS: u64 = 3;

/// What the world outside the store knows.
#[derive(Default)]
struct Witness {
    /// By commit id: the put's events, and where the answer said they stand.
    answered: HashMap<Uuid, (Arc<Put>, Position)>,
    /// Puts that were sent and not answered with `Ok`.
    unsure: HashMap<Uuid, Arc<Put>>,
    /// Per key, how many events a reader has seen; and how many in the log.
    seen: BTreeMap<AggregateKey, u64>,
    seen_log: u64,
}

/// A put's commit id and what became of it.
type Answered = (Uuid, Result<Position, DriverError>);

/// How large everything is.
#[derive(Clone, Copy, Debug)]
enum Scale {
    /// Journal files of 64 KiB, switched all the time.
    Small,
    /// Journal files of several MiB, filled ahead step by step while frames go into them.
    Large,
}

#[test]
fn every_answered_put_survives_power_loss() {
    run(Durability::Flushed, Scale::Small, 60);
}

#[test]
fn written_durability_loses_only_the_end() {
    run(Durability::Written, Scale::Small, 60);
}

#[test]
fn every_answered_put_survives_power_loss_in_large_journal_files() {
    run(Durability::Flushed, Scale::Large, 8);
}

#[test]
fn written_durability_loses_only_the_end_of_large_journal_files() {
    run(Durability::Written, Scale::Large, 8);
}

fn run(durability: Durability, scale: Scale, cases: u64) {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<u64>().ok());
    let seeds: Vec<u64> = match number("SERIATIM_CRASH_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("SERIATIM_CRASH_CASES").unwrap_or(cases)).collect(),
    };
    let mut furthest = 0;
    for &seed in &seeds {
        eprintln!("{durability:?}, {scale:?}, seed {seed}");
        furthest = furthest.max(case(seed, durability, scale));
    }
    let filled_at_first = match scale {
        Scale::Small => 0,
        Scale::Large => 512 << 10,
    };
    assert!(seeds.len() == 1 || furthest > filled_at_first, "frames came to {furthest} only");
}

/// The greatest offset of a frame in a file of the journal.
fn furthest_frame(disk: &SimDisk) -> usize {
    let names = disk.names().into_iter().filter(|name| name.starts_with("journal/"));
    let last = |content: Vec<u8>| {
        let mut sectors = (0..content.len()).step_by(512).rev();
        sectors.find(|at| content[*at..].starts_with(&[0xfe, b'S', b'J', 0]))
    };
    names.filter_map(|name| last(disk.content(&name))).max().unwrap_or(0)
}

/// Answers with the greatest offset of a frame.
fn case(seed: u64, durability: Durability, scale: Scale) -> usize {
    let mut random = Random::new(seed);
    let mut disk = SimDisk::new();
    let mut witness = Witness::default();
    let mut furthest = 0;
    for _ in 0..ROUNDS {
        // Every second life the power may fail while opening, as often as it likes.
        if random.one_in(2) {
            disk.fail_power_after(1 + random.below(40));
        }
        // Much in the tail, in several journal files; or little, which waits for redb all the time.
        let much = random.one_in(2);
        let options = small().tail_bytes(if much { 512 << 10 } else { 16 << 10 });
        let options = match scale {
            Scale::Small => options,
            // More than the journal uses of a file, or less.
            Scale::Large => {
                let file = if random.one_in(2) { 2 << 20 } else { 6 << 20 };
                options.journal_file_bytes(file).tail_bytes(if much { 16 << 20 } else { 512 << 10 })
            }
        };
        let opened = options.durability(durability).open_on(Arc::new(disk.clone()));
        match opened {
            Err(error) => {
                assert!(disk.has_failed(), "opening failed with the power on: {error}");
            }
            Ok(driver) => {
                if !disk.has_failed() {
                    check(&driver, &mut witness, durability);
                    if !disk.has_failed() {
                        let most = match scale {
                            Scale::Small => 400,
                            Scale::Large => 800,
                        };
                        let ahead = if random.one_in(4) { 4 } else { most };
                        disk.fail_power_after(1 + random.below(ahead));
                    }
                }
                let long = match (scale, much) {
                    (Scale::Small, false) => 2_000,
                    (Scale::Small, true) => 4_000,
                    (Scale::Large, _) => 24_000,
                };
                live(&driver, &mut witness, &mut random, &disk, (much, long));
                furthest = furthest.max(furthest_frame(&disk));
                let _ = block_on(driver.close());
            }
        }
        disk = disk.after_power_loss(&mut random);
    }
    let driver = small().durability(durability).open_on(Arc::new(disk.clone())).unwrap();
    check(&driver, &mut witness, durability);
    driver.verify().unwrap();
    block_on(driver.close()).unwrap();
    furthest
}

/// Writers and a reader, until the power is gone or they have had enough.
fn live(
    driver: &RedbDriver,
    witness: &mut Witness,
    random: &mut Random,
    disk: &SimDisk,
    (much, long): (bool, usize),
) {
    let mut next: Vec<u64> = (0..KEYS)
        .map(|n| block_on(driver.latest_sequence(&key_of(n))).map_or(0, |s| s.get()) + 1)
        .collect();
    let answers: Arc<Mutex<Vec<Answered>>> = Arc::default();
    let stop = AtomicBool::new(false);
    let waiting = Arc::new(AtomicU64::new(0));
    let (seen, seen_log) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| watch(driver, &stop));
        let puts = 20 + random.below(150);
        for _ in 0..puts {
            if disk.has_failed() {
                break;
            }
            let n = random.below(KEYS);
            let count = if random.one_in(5) { 1 + random.below(20) } else { 1 };
            let filler = if random.one_in(if much { 2 } else { 10 }) { long } else { 60 };
            let sent = put(&key_of(n), next[n as usize], count, filler);
            next[n as usize] += count;
            let commit_id = sent.events()[0].commit_id;
            witness.unsure.insert(commit_id, sent.clone());
            let (answers, done) = (answers.clone(), waiting.clone());
            waiting.fetch_add(1, Ordering::AcqRel);
            let taken = driver.put_events_then(
                sent,
                Box::new(move |answer| {
                    let position = answer.map(|receipt| receipt.first_position.unwrap());
                    answers.lock().unwrap().push((commit_id, position));
                    done.fetch_sub(1, Ordering::AcqRel);
                }),
            );
            assert!(taken.is_ok());
            if random.one_in(3) {
                while waiting.load(Ordering::Acquire) > 0 {
                    std::thread::yield_now();
                }
            }
        }
        while waiting.load(Ordering::Acquire) > 0 {
            std::thread::yield_now();
        }
        stop.store(true, Ordering::Release);
        reader.join().unwrap()
    });
    for (commit_id, answer) in answers.lock().unwrap().drain(..) {
        match answer {
            Ok(position) => {
                let sent = witness.unsure.remove(&commit_id).unwrap();
                witness.answered.insert(commit_id, (sent, position));
            }
            Err(error) if error.may_have_been_written() => {}
            Err(_) => {
                // Surely not written: it must not turn up.
                witness.unsure.remove(&commit_id);
            }
        }
    }
    for (key, count) in seen {
        let most = witness.seen.entry(key).or_default();
        *most = (*most).max(count);
    }
    witness.seen_log = witness.seen_log.max(seen_log);
}

fn key_of(n: u64) -> AggregateKey {
    key(&format!("account/{n}"))
}

/// Reads all the while: no hole, no repeat, nothing goes away.
fn watch(driver: &RedbDriver, stop: &AtomicBool) -> (BTreeMap<AggregateKey, u64>, u64) {
    let mut seen = BTreeMap::new();
    let mut seen_log = 0;
    while !stop.load(Ordering::Acquire) {
        for n in 0..KEYS {
            let Ok(events) = all(driver, &key_of(n)) else { return (seen, seen_log) };
            assert_dense(&events);
            let before = seen.insert(key_of(n), events.len() as u64);
            assert!(before.unwrap_or(0) <= events.len() as u64, "events went away");
        }
        let Ok(events) = log(driver) else { return (seen, seen_log) };
        assert_positions(&events);
        assert!(seen_log <= events.len() as u64, "events went away");
        seen_log = events.len() as u64;
    }
    (seen, seen_log)
}

fn assert_positions(events: &[KeyedEvent]) {
    for (event, position) in events.iter().zip(1..) {
        assert_eq!(event.position, Some(Position::new(position)));
    }
}

/// Compares the store with what the witness knows.
fn check(driver: &RedbDriver, witness: &mut Witness, durability: Durability) {
    let Ok(events) = log(driver) else { return };
    assert_positions(&events);
    let mut by_key: BTreeMap<AggregateKey, Vec<KeyedEvent>> = BTreeMap::new();
    for event in &events {
        by_key.entry(event.key.clone()).or_default().push(event.clone());
    }
    for n in 0..KEYS {
        let expected = by_key.remove(&key_of(n)).unwrap_or_default();
        assert_dense(&expected);
        let Ok(read) = all(driver, &key_of(n)) else { return };
        assert_eq!(read, expected, "the log and the index tell different stories");
        if durability == Durability::Flushed {
            let seen = witness.seen.get(&key_of(n)).copied().unwrap_or(0);
            assert!(expected.len() as u64 >= seen, "a crash took back what a reader had seen");
        }
    }
    assert!(by_key.is_empty());
    let mut stored: HashMap<Uuid, Vec<&KeyedEvent>> = HashMap::new();
    for event in &events {
        stored.entry(event.commit_id).or_default().push(event);
    }
    if durability == Durability::Written {
        // The lost events were the last ones, and are forgotten now.
        witness.answered.retain(|id, (_, position)| {
            let kept = stored.contains_key(id);
            assert!(kept || position.get() > events.len() as u64, "a put vanished from the middle");
            kept
        });
        witness.seen.clear();
        witness.seen_log = 0;
    }
    assert!(events.len() as u64 >= witness.seen_log, "a crash took back what a reader had seen");
    for (id, (sent, position)) in &witness.answered {
        let found = stored.remove(id).expect("an answered put is gone");
        assert_same(sent, &found);
        assert_eq!(found[0].position, Some(*position), "an answered put has moved");
    }
    for (id, found) in stored {
        let sent = witness.unsure.get(&id).expect("a put that was surely not written is there");
        assert_same(sent, &found);
    }
}

fn assert_same(sent: &Put, found: &[&KeyedEvent]) {
    assert_eq!(sent.events().len(), found.len(), "a put is there in part, or twice");
    for (sent, found) in sent.events().iter().zip(found) {
        assert_eq!(
            (&sent.key, sent.sequence, &sent.data),
            (&found.key, found.sequence, &found.data)
        );
    }
}
