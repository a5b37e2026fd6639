//! Power fails at any write or flush while checkpoints are saved beside puts and alone: the
//! checkpoint found after opening is the last one answered, or one sent after it; every answered
//! put is there, and positions stay dense. `SERIATIM_CRASH_CASES` and `SERIATIM_CRASH_SEED` as in
//! `redb_survives_power_loss`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::executor::block_on;
use seriatim::driver::redb::RedbDriver;
use seriatim::driver::{Driver, LogFetch, LogStore};

use crate::support::puts::{assert_dense, key, put, small};
use crate::support::sim_disk::{Random, SimDisk};

const NAMES: u64 = 3;
const ROUNDS: u64 = 4;

fn name(n: u64) -> String {
    format!("consumer/{n}")
}

/// A checkpoint says its number, and is padded so that files full of checkpoints only are met too.
fn checkpoint(number: u64) -> Bytes {
    format!("{number:>width$}", width = 10 + (number as usize % 4) * 200).into()
}

fn number(checkpoint: &[u8]) -> u64 {
    std::str::from_utf8(checkpoint).unwrap().trim().parse().unwrap()
}

#[derive(Default)]
struct Witness {
    /// By name: the last number answered, and the last one sent.
    answered: [AtomicU64; NAMES as usize],
    sent: [AtomicU64; NAMES as usize],
    /// Events of the one aggregate: answered, and sent.
    events: AtomicU64,
    events_sent: AtomicU64,
}

#[test]
fn answered_checkpoints_survive() {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<u64>().ok());
    let seeds: Vec<u64> = match number("SERIATIM_CRASH_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("SERIATIM_CRASH_CASES").unwrap_or(60)).collect(),
    };
    for seed in seeds {
        eprintln!("seed {seed}");
        case(seed);
    }
}

fn case(seed: u64) {
    let mut random = Random::new(seed);
    let mut disk = SimDisk::new();
    let witness = Witness::default();
    for _ in 0..ROUNDS {
        let much = random.one_in(2);
        let options = small().tail_bytes(if much { 512 << 10 } else { 8 << 10 });
        match options.open_on(Arc::new(disk.clone())) {
            Err(error) => assert!(disk.has_failed(), "opening failed with the power on: {error}"),
            Ok(driver) => {
                check(&driver, &witness);
                disk.fail_power_after(1 + random.below(300));
                live(&driver, &witness, &mut random, &disk);
                let _ = block_on(driver.close());
            }
        }
        disk = disk.after_power_loss(&mut random);
    }
    let driver = small().open_on(Arc::new(disk.clone())).unwrap();
    check(&driver, &witness);
    driver.verify().unwrap();
    block_on(driver.close()).unwrap();
    // A clean closing keeps them as well.
    let driver = small().open_on(Arc::new(disk)).unwrap();
    check(&driver, &witness);
}

fn live(driver: &RedbDriver, witness: &Witness, random: &mut Random, disk: &SimDisk) {
    // Some lives have no put at all: their frames take no position.
    let quiet = random.one_in(3);
    let rounds = 50 + random.below(400);
    std::thread::scope(|scope| {
        for n in 0..NAMES {
            let (answered, sent) = (&witness.answered[n as usize], &witness.sent[n as usize]);
            scope.spawn(move || {
                for _ in 0..rounds {
                    let next = sent.fetch_add(1, Ordering::SeqCst) + 1;
                    match block_on(driver.save_checkpoint(&name(n), checkpoint(next))) {
                        Ok(()) => answered.store(next, Ordering::SeqCst),
                        Err(_) if disk.has_failed() => return,
                        Err(error) => panic!("refused with the power on: {error}"),
                    }
                    let saved = block_on(driver.load_checkpoint(&name(n)));
                    if let Ok(saved) = saved {
                        assert_eq!(number(&saved.unwrap()), next);
                    }
                }
            });
        }
        if !quiet {
            scope.spawn(|| {
                for _ in 0..rounds {
                    let key = key("a");
                    let next = witness.events.load(Ordering::SeqCst) + 1;
                    witness.events_sent.store(next, Ordering::SeqCst);
                    match block_on(driver.put_events(put(&key, next, 1, 100))) {
                        Ok(receipt) => {
                            assert_eq!(receipt.first_position.unwrap(), next);
                            witness.events.store(next, Ordering::SeqCst);
                        }
                        Err(_) if disk.has_failed() => return,
                        Err(error) => panic!("refused with the power on: {error}"),
                    }
                }
            });
        }
    });
}

fn check(driver: &RedbDriver, witness: &Witness) {
    for n in 0..NAMES {
        let found = block_on(driver.load_checkpoint(&name(n))).unwrap();
        let found = found.map_or(0, |found| number(&found));
        let answered = witness.answered[n as usize].load(Ordering::SeqCst);
        let sent = witness.sent[n as usize].load(Ordering::SeqCst);
        assert!((answered..=sent).contains(&found), "{found}: {answered} answered, {sent} sent");
        witness.answered[n as usize].store(found, Ordering::SeqCst);
    }
    let (answered, sent) = (&witness.events, &witness.events_sent);
    let found = driver.last_position().unwrap().get();
    let (low, high) = (answered.load(Ordering::SeqCst), sent.load(Ordering::SeqCst));
    assert!((low..=high).contains(&found), "{found} events: {low} answered, {high} sent");
    answered.store(found, Ordering::SeqCst);
    let mut events = Vec::new();
    while (events.len() as u64) < found {
        let from = LogFetch::ALL.from(events.len() as u64 + 1);
        let page = driver.log_page_now(from).unwrap();
        assert!(!page.events.is_empty());
        events.extend(page.events);
    }
    assert_dense(&events);
    for (event, position) in events.iter().zip(1..) {
        assert_eq!(event.position.unwrap(), position);
    }
}
