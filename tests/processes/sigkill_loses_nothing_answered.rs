//! Killed at any moment, the process loses nothing that was answered. A real child process appends
//! from many writers on redb and says on its standard output what it was answered: the witness. It
//! is killed with `SIGKILL` at random moments, round after round on the same directory; after each,
//! every witnessed append is there, in place and once, and no aggregate has a gap.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{self, chance, within};
use seriatim::{Append, EventStore, KeyedEvent, NewEvent};
use uuid::Uuid;

const DIRECTORY: &str = "SERIATIM_TEST_WRITER_DIRECTORY";
const WITNESS: &str = "answered";
const ROUNDS: usize = 12;
const WRITERS: u64 = 24;
const OWN_AGGREGATES: u64 = 3;
const SHARED_AGGREGATES: u64 = 4;

fn url(directory: &Path) -> String {
    format!("redb:{}", directory.display())
}

/// One answered append, as the child told it.
struct Answered {
    key: String,
    first: u64,
    last: u64,
    position: u64,
    commit_id: Uuid,
}

/// The data of an event says which append it belongs to, and where in it.
fn data(commit_id: Uuid, index: u64) -> String {
    format!(r#"{{"commit":"{commit_id}","index":{index}}}"#)
}

/// Not a test by itself: the child process does this until it is killed.
#[test]
#[ignore = "the other test runs it, as a process of its own"]
fn writer_process() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        // Seats for some of the aggregates only, so that the others come and go meanwhile.
        let url = url(directory.as_ref());
        let store = EventStore::builder().url(url).max_resident(40).open().await.unwrap();
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| tokio::spawn(write(store.clone(), writer))).collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

async fn write(store: EventStore, writer: u64) {
    let mut own = HashMap::new();
    loop {
        let commit_id = Uuid::new_v4();
        let events = fastrand::u64(1..=4);
        let events = (0..events).map(|index| NewEvent::raw("Written", data(commit_id, index)));
        let appended = if fastrand::bool() {
            let key = format!("shared/{}", fastrand::u64(..SHARED_AGGREGATES));
            let append = Append::to(&key).events(events).commit_id(commit_id);
            (key, store.append(append).await.unwrap())
        } else {
            let key = format!("own/{writer}/{}", fastrand::u64(..OWN_AGGREGATES));
            let latest = match own.get(&key) {
                Some(latest) => *latest,
                None => store.latest_sequence(&key).await.unwrap(),
            };
            let append = Append::to(&key).events(events).expect(latest).commit_id(commit_id);
            let appended = store.append(append).await.unwrap();
            own.insert(key.clone(), appended.last);
            (key, appended)
        };
        let (key, appended) = appended;
        let position = appended.position.unwrap();
        // In one write: what another thread says never stands in the middle of it.
        let line = format!(
            "{WITNESS} {key} {} {} {position} {commit_id}\n",
            appended.first, appended.last
        );
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    }
}

/// Runs the child and kills it, after as many answers and then as long as chance will have it.
fn run_and_kill(directory: &Path, chance: &mut fastrand::Rng, witness: &mut Vec<Answered>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "sigkill_loses_nothing_answered::writer_process",
            "--ignored",
            "--nocapture",
        ])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let answers = Arc::new(AtomicUsize::new(0));
    // Every fourth child dies while it opens the store, or soon after.
    let enough = if chance.u8(..4) == 0 { 0 } else { chance.usize(1..400) };
    let moment = Duration::from_micros(chance.u64(..20_000));
    let killer = std::thread::spawn({
        let answers = answers.clone();
        move || {
            let wait = || answers.load(Ordering::Relaxed) >= enough;
            support::until_blocking("the child's answers", wait);
            std::thread::sleep(moment);
            child.kill().unwrap();
            child.wait().unwrap();
        }
    });
    let mut line = String::new();
    loop {
        line.clear();
        lines.read_line(&mut line).unwrap();
        // A line that the kill cut short counts as not said.
        if !line.ends_with('\n') {
            break;
        }
        if let Some(answered) = answered(&line) {
            witness.push(answered);
            answers.fetch_add(1, Ordering::Relaxed);
        }
    }
    killer.join().unwrap();
}

fn answered(line: &str) -> Option<Answered> {
    let mut words = line.split_whitespace();
    (words.next()? == WITNESS).then_some(())?;
    Some(Answered {
        key: words.next()?.to_owned(),
        first: words.next()?.parse().ok()?,
        last: words.next()?.parse().ok()?,
        position: words.next()?.parse().ok()?,
        commit_id: words.next()?.parse().ok()?,
    })
}

/// Reads the whole store. Its events without gaps: in each aggregate, in each append, in the log.
async fn read_whole(store: &EventStore) -> HashMap<String, Vec<KeyedEvent>> {
    let mut aggregates = HashMap::new();
    let mut commits = HashSet::new();
    let mut positions = Vec::new();
    for key in store.keys("").collect().await.unwrap() {
        let events = support::history(store, key.as_str()).await;
        for append in events.chunk_by(|a, b| a.commit_id == b.commit_id) {
            let commit_id = append[0].commit_id;
            assert!(commits.insert(commit_id), "{key}: {commit_id} stands at two places");
            for (index, event) in append.iter().enumerate() {
                assert_eq!(event.data.as_str(), data(commit_id, index as u64));
            }
        }
        positions.extend(events.iter().map(|event| event.position.unwrap().get()));
        aggregates.insert(key.as_str().to_owned(), events);
    }
    positions.sort_unstable();
    assert!(positions.iter().copied().eq(1..=positions.len() as u64), "the log has gaps");
    aggregates
}

fn assert_all_there(witness: &[Answered], stored: &HashMap<String, Vec<KeyedEvent>>) {
    for Answered { key, first, last, position, commit_id } in witness {
        for (offset, sequence) in (*first..=*last).enumerate() {
            let event = stored.get(key).and_then(|events| events.get(sequence as usize - 1));
            let event =
                event.unwrap_or_else(|| panic!("{key} at {sequence} was answered and lost"));
            assert_eq!(event.commit_id, *commit_id, "{key} at {sequence} is another's");
            assert_eq!(event.data.as_str(), data(*commit_id, offset as u64));
            assert_eq!(event.position.unwrap(), position + offset as u64);
        }
    }
}

#[tokio::test]
async fn everything_answered_survives_sigkill_at_any_moment() {
    let directory = tempfile::tempdir().unwrap();
    let mut chance = chance();
    let mut witness = Vec::new();
    for round in 1..=ROUNDS {
        run_and_kill(directory.path(), &mut chance, &mut witness);
        let store = within("opening", EventStore::open(url(directory.path()))).await.unwrap();
        let stored = read_whole(&store).await;
        assert_all_there(&witness, &stored);
        within("closing", store.close()).await.unwrap();
        let events: usize = stored.values().map(Vec::len).sum();
        println!("round {round}: {} appends witnessed, {events} events stored", witness.len());
    }
    assert!(!witness.is_empty());
}
