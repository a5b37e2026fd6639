//! A process that appends from many threads is killed at any moment, again and again: every append
//! it had an answer for is there. The child writes each answer to a witness file of its own before
//! it goes on.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use seriatim::AggregateKey;
use seriatim::driver::Driver;
use seriatim::driver::redb::{Durability, RedbDriver};

use crate::support::puts::{all, assert_dense, key, put, small};
use crate::support::sim_disk::Random;

const THREADS: u64 = 8;
const CHILD: &str = "SERIATIM_SIGKILL_CHILD";

fn key_of(n: u64) -> AggregateKey {
    key(&format!("account/{n}"))
}

fn durability(name: &str) -> Durability {
    if name == "written" { Durability::Written } else { Durability::Flushed }
}

/// Not a test of its own: what the killed process runs.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let (name, directory) = arguments.split_once(':').unwrap();
    let driver = small().durability(durability(name)).open(directory).unwrap();
    let witness = OpenOptions::new()
        .append(true)
        .create(true)
        .open(Path::new(directory).join("witness"))
        .unwrap();
    let (driver, witness) = (&driver, &Mutex::new(witness));
    std::thread::scope(|scope| {
        for n in 0..THREADS {
            scope.spawn(move || {
                let mut next = block_on(driver.latest_sequence(&key_of(n))).unwrap().get() + 1;
                loop {
                    let count = 1 + next % 3;
                    let sent = put(&key_of(n), next, count, 100);
                    let id = sent.events()[0].commit_id;
                    let receipt = block_on(driver.put_events(sent)).unwrap();
                    let position = receipt.first_position.unwrap();
                    let line = format!("{n} {next} {count} {id} {position}\n");
                    witness.lock().unwrap().write_all(line.as_bytes()).unwrap();
                    next += count;
                }
            });
        }
    });
}

#[test]
fn every_answered_append_is_there_after_a_kill() {
    kill_often("flushed");
}

#[test]
fn written_durability_survives_a_kill_too() {
    kill_often("written");
}

fn kill_often(name: &str) {
    let rounds = std::env::var("SERIATIM_KILL_ROUNDS").ok().and_then(|n| n.parse().ok());
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let witness = directory.path().join("witness");
    for _ in 0..rounds.unwrap_or(6) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["redb_survives_sigkill::child", "--exact", "--nocapture"])
            .env(CHILD, format!("{name}:{}", directory.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Some more answers, then a random moment.
        let wanted = lines(&witness) + 1 + random.below(400) as usize;
        let deadline = Instant::now() + Duration::from_secs(60);
        while lines(&witness) < wanted {
            assert!(Instant::now() < deadline, "the child answers nothing");
            assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        check(directory.path(), &witness, durability(name));
    }
}

fn lines(witness: &Path) -> usize {
    fs::read(witness).map_or(0, |content| content.iter().filter(|byte| **byte == b'\n').count())
}

fn check(directory: &Path, witness: &Path, durability: Durability) {
    let driver: Arc<RedbDriver> = Arc::new(small().durability(durability).open(directory).unwrap());
    let mut stored = HashMap::new();
    for n in 0..THREADS {
        let events = all(&*driver, &key_of(n)).unwrap();
        assert_dense(&events);
        for event in events {
            stored.insert((n, event.sequence.get()), event);
        }
    }
    for line in fs::read_to_string(witness).unwrap().lines() {
        let mut fields = line.split(' ');
        let mut number = || fields.next().unwrap();
        let (n, first, count): (u64, u64, u64) =
            (number().parse().unwrap(), number().parse().unwrap(), number().parse().unwrap());
        let (id, position) = (number().to_owned(), number().parse::<u64>().unwrap());
        for step in 0..count {
            let event = stored.get(&(n, first + step)).expect("an answered append is gone");
            assert_eq!(event.commit_id.to_string(), id);
            assert_eq!(event.position.unwrap().get(), position + step);
        }
    }
    driver.verify().unwrap();
    block_on(driver.close()).unwrap();
}
