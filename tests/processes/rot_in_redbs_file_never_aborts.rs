//! Bits of redb's file rot, pages are lost or stand in the wrong place. redb panics on some of it,
//! and would end the process by panicking again while it cleans up. Whatever rotted: the process
//! lives, and opening answers `Damaged` or a store that answers. `SERIATIM_ROT_CASES` says how many
//! cases; 60 unless told. `SERIATIM_SEED` repeats what rots.

use std::process::{Command, Stdio};
use std::sync::Arc;

use futures::executor::block_on;
use seriatim::driver::redb::{RedbBuilder, RedbDriver};
use seriatim::driver::{Driver, DriverError, Fetch, LogStore, SnapshotStore};
use seriatim::{Position, Sequence};

use crate::support::chance;
use crate::support::puts::{all, key, log, put, small, unapplied};
use crate::support::sim_disk::SimDisk;

const CHILD: &str = "SERIATIM_ROT_CHILD";
const FILE: &str = "events.redb";
const PAGE: usize = 4096;
const KEYS: u64 = 400;

fn name(n: u64) -> String {
    format!("aggregate-with-a-rather-long-name-so-that-few-share-a-page/{n:05}")
}

/// A store of many pages, closed or killed with a journal that is not applied.
fn sound(closed: bool) -> SimDisk {
    let disk = SimDisk::new();
    let driver = small().tail_bytes(1 << 20).open_on(Arc::new(disk.clone())).unwrap();
    fill(&driver, 1);
    driver.verify().unwrap();
    fill(&driver, 2);
    block_on(driver.close()).unwrap();
    if closed {
        return disk;
    }
    let driver = unapplied().open_on(Arc::new(disk.clone())).unwrap();
    fill(&driver, 3);
    let left = disk.after_kill();
    drop(driver);
    left
}

fn fill(driver: &RedbDriver, sequence: u64) {
    for n in 0..KEYS {
        let key = key(&name(n));
        block_on(driver.put_events(put(&key, sequence, 1, (n % 7) as usize * 90))).unwrap();
        if n % 3 == 0 {
            block_on(driver.save_snapshot(&key, vec![b'x'; 200].into())).unwrap();
        }
        if n % 40 == 0 {
            block_on(driver.save_checkpoint(&format!("consumer-{n}"), vec![b'x'; 30].into()))
                .unwrap();
        }
    }
}

/// What rots, told so that it can be repeated.
fn rot(content: &mut [u8], random: &mut fastrand::Rng) -> String {
    let pages = content.len() / PAGE;
    let used: Vec<usize> = (0..pages)
        .filter(|page| content[page * PAGE..(page + 1) * PAGE].iter().any(|byte| *byte != 0))
        .collect();
    // The header often, which is one page among many.
    let page = if random.u8(..8) == 0 { 0 } else { used[random.usize(..used.len())] };
    let at = page * PAGE;
    match random.u8(..12) {
        0 => {
            content[at..at + PAGE].fill(0);
            format!("page {page} is zeros")
        }
        1 => {
            random.fill(&mut content[at..at + PAGE]);
            format!("page {page} is noise")
        }
        2 => {
            let other = used[random.usize(..used.len())];
            content.copy_within(other * PAGE..(other + 1) * PAGE, at);
            format!("page {page} is page {other}")
        }
        3 => {
            let from = at + random.usize(..PAGE);
            content[from..at + PAGE].fill(0);
            format!("page {page} is zeros from byte {from} on")
        }
        kind => {
            // Pages begin with what their numbers say of the rest.
            let within = if kind < 8 { random.usize(..64) } else { random.usize(..PAGE) };
            let bit = random.u8(..8);
            content[at + within] ^= 1 << bit;
            format!("bit {bit} of byte {within} of page {page}")
        }
    }
}

fn damaged<T>(what: &str, answer: Result<T, DriverError>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(DriverError::Damaged { message, .. }) => {
            assert!(!message.is_empty());
            None
        }
        Err(other) => panic!("{what}: {other:?}"),
    }
}

/// Asks everything of the driver.
fn use_it(driver: &RedbDriver) {
    for n in (0..KEYS).step_by(37) {
        let key = key(&name(n));
        let _ = block_on(driver.latest_sequence(&key));
        let _ = block_on(driver.check_sequence(&key, Sequence::new(1)));
        let _ = driver.fetch_page_now(&key, Fetch::ALL.backwards());
        let _ = all(driver, &key);
        let _ = block_on(driver.load_snapshot(&key));
        let _ = driver.log_page(Position::new(n + 1), 50);
    }
    let _ = log(driver);
    for n in (1..KEYS).step_by(61) {
        let key = key(&name(n));
        if let Ok(latest) = block_on(driver.latest_sequence(&key)) {
            let _ = block_on(driver.put_events(put(&key, latest.get() + 1, 1, 100)));
        }
        let _ = block_on(driver.save_snapshot(&key, vec![b'y'; 200].into()));
    }
    let _ = driver.verify();
    let _ = driver.reindex();
    let _ = driver.verify();
}

fn open(builder: RedbBuilder, disk: &SimDisk) -> Result<RedbDriver, DriverError> {
    builder.cache_bytes(0).segment_cache_bytes(0).open_on(Arc::new(disk.clone()))
}

/// Not a test of its own: what a process does that must live.
#[test]
fn child() {
    let Some(cases) = std::env::var(CHILD).ok().and_then(|cases| cases.parse::<u64>().ok()) else {
        return;
    };
    let mut random = chance();
    let (closed, killed) = (sound(true), sound(false));
    for case in 0..cases {
        let disk = if random.bool() { closed.after_kill() } else { killed.after_kill() };
        let mut content = disk.content(FILE);
        let what = rot(&mut content, &mut random);
        // The last line is what the process died of.
        println!("case {case}: {what}");
        disk.set_content(FILE, content);
        let rebuilt = disk.after_kill();
        if let Some(driver) = damaged(&what, open(small(), &disk)) {
            use_it(&driver);
            let _ = block_on(driver.close());
            damaged(&what, open(small(), &disk));
        }
        if let Some(driver) = damaged(&what, open(small().rebuild_index(), &rebuilt)) {
            use_it(&driver);
            drop(driver);
        }
    }
    println!("lived");
}

#[test]
fn the_process_lives() {
    let cases = std::env::var("SERIATIM_ROT_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases: u64 = cases.unwrap_or(60);
    let seed = chance().u64(..);
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["rot_in_redbs_file_never_aborts::child", "--exact", "--nocapture"])
        .env(CHILD, cases.to_string())
        .env("SERIATIM_SEED", seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stdout);
    let died = String::from_utf8_lossy(&child.stderr);
    let last: Vec<&str> = told.lines().rev().take(3).collect();
    let tail = died.len().saturating_sub(8_000);
    assert!(child.status.success(), "{}: {last:?}\n{}", child.status, &died[tail..]);
    assert!(told.contains("lived"), "{last:?}");
}
