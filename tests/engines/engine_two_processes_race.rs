//! Two processes, each with its own store, race on the same aggregates of one engine. Then each
//! repeats what the other one wrote.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::support::engines::{Engine, block_on, seconds};
use futures::future::join_all;
use libtest_mimic::Failed;
use seriatim::{Append, AppendError, EventStore, NewEvent};
use uuid::Uuid;

const WRITERS: usize = 32;
const KEYS: usize = 10;
/// Events of an aggregate whose commit ids are remembered: all of the race.
const REMEMBERED: usize = 1_000_000;
/// Tells a process that it is one of the two, and where the store is.
pub const ROLE: &str = "SERIATIM_RACE_URL";

/// One append that was answered: its commit id, its aggregate, its first and its last sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answered {
    commit_id: Uuid,
    key: usize,
    first: u64,
    last: u64,
}

impl Answered {
    fn line(&self) -> String {
        format!("{} {} {} {}", self.commit_id, self.key, self.first, self.last)
    }

    fn read(line: &str) -> Self {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap();
        let commit_id = word().parse().unwrap();
        let mut number = || word().parse().unwrap();
        Answered { commit_id, key: number() as usize, first: number(), last: number() }
    }
}

fn append(commit_id: Uuid, key: usize, events: u64) -> Append {
    // The same id always comes with the same content.
    let event = |n| NewEvent::new("Raced", &(commit_id, n));
    Append::to(format!("race/{key}").as_str()).events((0..events).map(event)).commit_id(commit_id)
}

/// Half of a writer's appends expect nothing, half the latest sequence it knows of.
async fn write(store: EventStore, end: Instant) -> (Vec<Answered>, u64) {
    let mut latest = [0; KEYS];
    let (mut answered, mut conflicts) = (Vec::new(), 0);
    while Instant::now() < end {
        let (key, commit_id) = (fastrand::usize(..KEYS), Uuid::new_v4());
        let mut append = append(commit_id, key, fastrand::u64(1..=3));
        let exact = fastrand::bool();
        if exact {
            append = append.expect(latest[key]);
        }
        match store.append(append).await {
            Ok(appended) => {
                latest[key] = appended.last.get();
                let (first, last) = (appended.first.get(), appended.last.get());
                answered.push(Answered { commit_id, key, first, last });
            }
            Err(AppendError::Conflict { actual, .. }) => {
                assert!(exact, "an append that expects nothing conflicts with nothing");
                assert!(actual.get() > latest[key], "{actual} is no conflict with {}", latest[key]);
                latest[key] = actual.get();
                conflicts += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    (answered, conflicts)
}

/// One of the two processes: races, tells, and repeats what it is told.
pub fn child(url: &str) {
    let racing = async {
        let store = EventStore::builder().url(url).commit_id_window(REMEMBERED);
        let store = store.open().await.unwrap();
        let end = Instant::now() + seconds(3);
        let writers = (0..WRITERS).map(|_| tokio::spawn(write(store.clone(), end)));
        let mut conflicts = 0;
        for writer in join_all(writers).await {
            let (answered, conflicted) = writer.unwrap();
            conflicts += conflicted;
            answered.iter().for_each(|one| println!("{}", one.line()));
        }
        println!("conflicts {conflicts}");
        let lines: Vec<String> = std::io::stdin().lock().lines().map(Result::unwrap).collect();
        for line in lines {
            let told = Answered::read(&line);
            let events = told.last - told.first + 1;
            let again = store.append(append(told.commit_id, told.key, events)).await.unwrap();
            let (first, last) = (again.first.get(), again.last.get());
            assert!(again.repeated, "{line} was written again, from {first} on");
            assert_eq!((first, last), (told.first, told.last), "{line}");
        }
        store.close().await.unwrap();
    };
    block_on(racing);
}

fn start(url: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .env(ROLE, url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What the process says of its race.
fn heard(child: &mut Child) -> (Vec<Answered>, u64) {
    let mut answered = Vec::new();
    for line in std::io::BufReader::new(child.stdout.as_mut().unwrap()).lines() {
        let line = line.unwrap();
        match line.strip_prefix("conflicts ") {
            Some(conflicts) => return (answered, conflicts.parse().unwrap()),
            None => answered.push(Answered::read(&line)),
        }
    }
    panic!("a process died in the race");
}

pub fn two_processes_race(engine: Engine) -> Result<(), Failed> {
    let url = engine.fresh_url();
    // Both find everything made.
    let made = async { EventStore::open(&url).await.unwrap().close().await.unwrap() };
    block_on(made);
    let mut children = [start(&url), start(&url)];
    let told = children.each_mut().map(heard);
    let [(one, one_conflicts), (other, other_conflicts)] = &told;
    println!(
        "{engine}: {} and {} appends, {one_conflicts} and {other_conflicts} conflicts",
        one.len(),
        other.len()
    );
    for (child, of_the_other) in children.iter_mut().zip([other, one]) {
        let mut stdin = child.stdin.take().unwrap();
        for answered in of_the_other {
            writeln!(stdin, "{}", answered.line()).unwrap();
        }
    }
    for child in &mut children {
        assert!(child.wait().unwrap().success(), "a process failed");
    }

    let mut wanted: HashMap<Uuid, Answered> = HashMap::new();
    for answered in one.iter().chain(other) {
        wanted.insert(answered.commit_id, answered.clone());
    }
    assert_eq!(wanted.len(), one.len() + other.len());
    let mut found = HashMap::new();
    block_on(async {
        let store = EventStore::open(&url).await.unwrap();
        for key in 0..KEYS {
            let events = store.read(format!("race/{key}").as_str()).collect().await.unwrap();
            for (index, event) in events.iter().enumerate() {
                assert_eq!(event.sequence.get(), index as u64 + 1, "race/{key} has a gap");
            }
            for append in events.chunk_by(|a, b| a.commit_id == b.commit_id) {
                let (first, last) =
                    (append[0].sequence.get(), append[append.len() - 1].sequence.get());
                let commit_id = append[0].commit_id;
                let before = found.insert(commit_id, Answered { commit_id, key, first, last });
                assert_eq!(before, None, "an append stands twice");
            }
        }
        store.close().await.unwrap();
    });
    assert_eq!(found, wanted, "what is there, and what was answered");
    Ok(())
}
