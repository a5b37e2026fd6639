//! A process that takes backups while it appends is killed at any moment, again and again. The
//! target is then a sound, dense prefix of whole appends with all that an earlier backup said it
//! has, and the next backup goes on. `SERIATIM_KILL_ROUNDS` says how often; 10 times unless told.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use seriatim::backup::{BackupError, Restore};
use seriatim::driver::memory::MemoryDriver;
use seriatim::{Append, EventStore};
use std::sync::Arc;

use crate::support::logged::redb;
use crate::support::{chance, event};

const CHILD: &str = "SERIATIM_BACKUP_CHILD";
const SAID: &str = "backed up";

fn backup(store: &EventStore, directory: &Path) -> seriatim::backup::Backup {
    // Some appends a file, so that a kill often finds a backup half done.
    store.backup(directory.join("backup")).file_bytes(2_000).at_full_speed()
}

/// Not a test of its own: what the killed process runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    let directory = Path::new(&directory);
    let store = EventStore::open(&redb(&directory.join("data"))).await.unwrap();
    for writer in 0..4 {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0.. {
                let append = Append::to(format!("account/{}", (writer + n) % 5));
                store.append(append.events([event(n), event(n), event(n)])).await.unwrap();
                // Slower than a backup, or none would end.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    loop {
        let done = backup(&store, directory).await.unwrap();
        println!("{SAID} {}", done.contents.last);
    }
}

#[test]
fn a_backup_goes_on_after_every_kill() {
    let rounds = std::env::var("SERIATIM_KILL_ROUNDS").ok().and_then(|n| n.parse().ok());
    let mut random = chance();
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut known = 0;
    for round in 1..=rounds.unwrap_or(10) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["backup_survives_sigkill::child", "--exact", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut backups = 1 + random.u64(..4);
        while backups > 0 {
            let line = lines.next().expect("the child ended by itself").unwrap();
            if let Some((_, last)) = line.split_once(SAID) {
                known = known.max(last.trim().parse().unwrap());
                backups -= 1;
            }
        }
        // Into the next backup: a moment of chance, in turns of the scheduler.
        (0..random.u64(..30_000)).for_each(|_| std::thread::yield_now());
        child.kill().unwrap();
        child.wait().unwrap();
        let restored = runtime.block_on(check(&directory.path().join("backup"), known));
        println!("round {round}: {restored} events, {known} were told");
    }
    runtime.block_on(async {
        let store = EventStore::open(&redb(&directory.path().join("data"))).await.unwrap();
        backup(&store, directory.path()).await.unwrap();
        let last = store.log().unwrap().last_position().unwrap();
        assert_eq!(check(&directory.path().join("backup"), known).await, last.get());
        store.close().await.unwrap();
    });
}

/// Restores, and answers how many events there are.
async fn check(target: &Path, known: u64) -> u64 {
    let restore = Restore::from_dir(target);
    let contents = match restore.check() {
        Err(BackupError::NoBackup { .. }) if known == 0 => return 0,
        checked => checked.unwrap(),
    };
    assert!(contents.last.get() >= known, "{contents:?} lacks what was told, {known}");
    let driver = Arc::new(MemoryDriver::new());
    restore.into_driver(&*driver).await.unwrap();
    let store = EventStore::builder().driver(driver).open().await.unwrap();
    let events = store.log().unwrap().read().collect().await.unwrap();
    assert!(events.iter().zip(1..).all(|(event, n)| event.position.unwrap() == n));
    assert!(events.chunk_by(|a, b| a.commit_id == b.commit_id).all(|a| a.len() == 3), "torn");
    events.len() as u64
}
