//! A process that runs consumers is killed at any moment, again and again. No event is missed, and
//! one comes again only if it stands behind the checkpoint that was known before the kill; what
//! reactions append is there exactly once. `SERIATIM_KILL_ROUNDS` says how often; 10 times unless
//! told.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::logged::redb;
use crate::support::{DEADLINE, chance, event};
use seriatim::driver::redb::RedbDriver;
use seriatim::{Append, EventStore, NewEvent, Reaction};
use std::sync::Arc;

const CHILD: &str = "SERIATIM_CONSUMER_CHILD";
const WRITERS: u64 = 4;
/// Small enough that a kill finds much in redb, and much in the journal.
const CHECKPOINT_EVERY: usize = 16;

async fn open(directory: &Path) -> EventStore {
    let driver = RedbDriver::builder()
        .journal_file_bytes(256 << 10)
        .tail_bytes(64 << 10)
        .apply_after(Duration::from_millis(5))
        .open(directory)
        .unwrap();
    EventStore::builder().driver(Arc::new(driver)).open().await.unwrap()
}

fn echo(event: &seriatim::KeyedEvent) -> [Reaction; 2] {
    let target = |kind: &str| format!("{kind}/{}", event.sequence.get() % 7);
    let reaction = |kind: &str| {
        let echoed = NewEvent::new("Echoed", &event.position);
        Reaction::append(Append::to(target(kind)).event(echoed))
    };
    [reaction("echo"), reaction("shadow")]
}

/// Not a test of its own: the killed process runs it. The witness has a line for each event that
/// was handled, and one for each checkpoint that was known to be durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    let directory = Path::new(&directory);
    let store = open(directory).await;
    let witness = directory.join("witness");
    let mut witness = OpenOptions::new().append(true).create(true).open(witness).unwrap();
    let known = store.consumer("witness").position().await.unwrap();
    writeln!(witness, "from {}", known.unwrap_or_default()).unwrap();
    let consumer = store.consumer("witness").category("account").checkpoint_every(CHECKPOINT_EVERY);
    let watching = tokio::spawn(consumer.run(move |event| {
        let position = event.position.unwrap();
        let written = witness.write_all(format!("saw {position}\n").as_bytes());
        async move { written }
    }));
    let reactions = store.consumer("echo").category("account");
    let reactions = reactions.checkpoint_every(CHECKPOINT_EVERY);
    let reacting = tokio::spawn(reactions.react(|event| Vec::from(echo(event))));
    for writer in 0..WRITERS {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0.. {
                let append = Append::to(format!("account/{}", (writer + n) % 5)).event(event(n));
                store.append(append).await.unwrap();
                // Consumers keep up now and then, and lag behind now and then.
                if n % 50 < 25 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        });
    }
    let ended = tokio::select! { ended = watching => ended, ended = reacting => ended };
    panic!("a consumer ended: {ended:?}");
}

#[test]
fn nothing_is_missed_and_every_reaction_is_there_once() {
    let rounds = std::env::var("SERIATIM_KILL_ROUNDS").ok().and_then(|n| n.parse().ok());
    let mut random = chance();
    let directory = tempfile::tempdir().unwrap();
    let witness = directory.path().join("witness");
    for _ in 0..rounds.unwrap_or(10) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["consumers_survive_sigkill::child", "--exact", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Some more events, then a random moment.
        let wanted = lines(&witness) + 1 + random.usize(..300);
        let deadline = Instant::now() + DEADLINE * 2;
        while lines(&witness) < wanted {
            assert!(Instant::now() < deadline, "the consumer sees nothing");
            assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(check(directory.path(), &witness));
}

fn lines(witness: &Path) -> usize {
    fs::read(witness).map_or(0, |content| content.iter().filter(|byte| **byte == b'\n').count())
}

async fn check(directory: &Path, witness: &Path) {
    let store = EventStore::open(redb(directory)).await.unwrap();
    let last = store.log().unwrap().last_position().unwrap();
    // The rest is handled by consumers that nobody kills.
    let reactions =
        store.consumer("echo").category("account").react(|event| Vec::from(echo(event)));
    let handle = reactions.handle();
    let reacting = tokio::spawn(reactions);
    handle.wait_for(last, DEADLINE * 2).await.unwrap();
    handle.stop();
    reacting.await.unwrap().unwrap();
    let log = store.log().unwrap().read().collect().await.unwrap();
    for (event, position) in log.iter().zip(1..) {
        assert_eq!(event.position.unwrap(), position, "positions are not dense");
    }
    let accounts: Vec<_> = log.iter().filter(|event| event.key.category() == "account").collect();

    let mut found: HashMap<(String, u64), u64> = HashMap::new();
    for event in log.iter().filter(|event| event.event_type() == "Echoed") {
        let cause = event.json().unwrap();
        *found.entry((event.key.category().to_owned(), cause)).or_default() += 1;
    }
    for event in &accounts {
        for kind in ["echo", "shadow"] {
            let cause = (kind.to_owned(), event.position.unwrap().get());
            let times = found.remove(&cause);
            assert_eq!(times, Some(1), "{kind} of position {}", cause.1);
        }
    }
    assert!(found.is_empty(), "reactions to nothing: {found:?}");

    // What the consumer saw, life by life.
    let mut seen_all = 0;
    let mut life: Vec<u64> = Vec::new();
    let mut repeated = 0;
    let content = fs::read_to_string(witness).unwrap();
    // A kill may cut the last line of a life short, but it is one write.
    for line in content.lines() {
        let (what, position) = line.split_once(' ').unwrap();
        let position: u64 = position.parse().unwrap();
        match what {
            "from" => {
                let wanted = || accounts.iter().map(|event| event.position.unwrap().get());
                // It may stand behind events that nobody wants.
                let passed = wanted().find(|p| (seen_all + 1..=position).contains(p));
                assert_eq!(passed, None, "the checkpoint {position} passed an event never seen");
                let behind = wanted().filter(|p| (position + 1..=seen_all).contains(p)).count();
                // Those of two intervals, as one checkpoint may be on its way; and one that was
                // handled and not counted yet.
                assert!(behind <= 2 * CHECKPOINT_EVERY + 1, "{behind} behind the checkpoint");
                repeated += behind;
                life = accounts
                    .iter()
                    .map(|event| event.position.unwrap().get())
                    .filter(|p| *p > position)
                    .rev()
                    .collect();
            }
            _ => {
                assert_eq!(life.pop(), Some(position), "missed, repeated or out of order");
                seen_all = seen_all.max(position);
            }
        }
    }
    println!("{} events, {repeated} seen again, {} in the log", accounts.len(), log.len());
    store.close().await.unwrap();
}
