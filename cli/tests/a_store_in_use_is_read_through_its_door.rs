//! Every command that only reads works on a store that another process has open with a door, while
//! that process appends. Commands that write are refused, and the process is named. A process that
//! is killed leaves nothing in the way.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use seriatim::{Append, EventStore, NewEvent};

use support::{Folder, block_on, signal, wait_until};

/// Not a test of its own: the process that has the store open, when it is told where.
#[test]
fn owner_process() {
    let Ok(directory) = std::env::var("SERIATIM_TEST_OWNER") else { return };
    block_on(async {
        let builder = EventStore::builder().url(format!("redb:{directory}"));
        let builder = match std::env::var("SERIATIM_TEST_DOOR").is_ok() {
            true => builder.serve_local(),
            false => builder,
        };
        let store = builder.open().await.unwrap();
        let run = store.consumer("letters").run(|_| async { Ok::<_, std::io::Error>(()) });
        let handle = run.handle();
        let running = tokio::spawn(run);
        let append = async |key: String| {
            let event = NewEvent::raw("Ticked", r#"{"exact": 1.10}"#);
            store.append(Append::to(key).event(event)).await.unwrap();
        };
        for n in 0..100 {
            append(format!("tick/{}", n % 10)).await;
        }
        handle.wait_for(100, support::PATIENCE).await.unwrap();
        handle.stop();
        running.await.unwrap().unwrap();
        println!("ready");
        let asked = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let end = asked.clone();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read(&mut [0]);
            end.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let mut n = 100;
        while !asked.load(std::sync::atomic::Ordering::Relaxed) {
            append(format!("tick/{}", n % 10)).await;
            n += 1;
        }
        store.close().await.unwrap();
        println!("appended {n}");
    });
}

struct Owner(Child, BufReader<std::process::ChildStdout>);

impl Owner {
    fn start(folder: &Folder, has_door: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "owner_process", "--nocapture"])
            .env("SERIATIM_TEST_OWNER", folder.path("data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if has_door {
            command.env("SERIATIM_TEST_DOOR", "1");
        }
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while line.trim() != "ready" {
            line.clear();
            assert!(out.read_line(&mut line).unwrap() > 0, "the owner did not start");
        }
        Owner(child, out)
    }

    fn id(&self) -> String {
        format!("process {}", self.0.id())
    }

    /// Ends it cleanly, and answers how many events it appended.
    fn end(mut self) -> u64 {
        drop(self.0.stdin.take());
        let mut said = String::new();
        self.1.read_to_string(&mut said).unwrap();
        assert!(self.0.wait().unwrap().success(), "{said}");
        let said = said.lines().find_map(|line| line.strip_prefix("appended "));
        said.unwrap().parse().unwrap()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Owner {
    fn kill(&mut self) {
        signal(&self.0, "-KILL");
        self.0.wait().unwrap();
    }
}

#[test]
fn each_command_that_reads_works_while_the_owner_appends() {
    let folder = Folder::new();
    let owner = Owner::start(&folder, true);
    let keys = folder.run(&["keys", "redb:data"]).ok();
    assert_eq!(keys.lines().len(), 10);
    assert!(keys.err.contains(&owner.id()), "{}", keys.err);
    let read = folder.run(&["read", "redb:data", "tick/3", "--limit", "4"]).ok();
    assert!(read.lines().len() == 4 && read.out.contains(r#""data":{"exact": 1.10}"#));
    let log = folder.run(&["log", "redb:data", "--limit", "100"]).ok().lines();
    assert_eq!((log.len(), log[99]["position"].as_u64()), (100, Some(100)));
    let follow = folder.run(&["log", "redb:data", "--follow", "--limit", "150"]).ok().lines();
    assert_eq!((follow.len(), follow[149]["position"].as_u64()), (150, Some(150)));
    let stats = folder.run(&["stats", "redb:data"]).ok().json();
    assert!(stats["events"].as_u64() >= Some(150) && stats["journal_files"].as_u64() > Some(0));
    assert!(folder.run(&["stats", "redb:data", "--table"]).ok().out.contains("free"));
    let verified = folder.run(&["verify", "redb:data"]).ok().json();
    assert!(verified["events"].as_u64() >= Some(150), "{verified}");
    let consumers = folder.run(&["consumers", "redb:data"]).ok().json();
    assert_eq!((&consumers["name"], &consumers["position"]), (&"letters".into(), &100.into()));
    let backup = folder.run(&["backup", "redb:data", "backup"]).ok().json();
    let last = backup["last_position"].as_u64().unwrap();
    assert!(last >= 150, "{backup}");
    let exported = folder.run(&["export", "redb:data"]).ok().lines().len() as u64;
    assert!(exported >= last);

    let appended = owner.end();
    assert!(appended >= exported && !folder.path("data/door").exists());
    let after = folder.run(&["stats", "redb:data"]).ok();
    assert_eq!(after.json()["events"].as_u64(), Some(appended));
    assert!(!after.err.contains("door"), "{}", after.err);
    folder.run(&["restore", "backup", "redb:restored"]).ok();
    let restored = folder.run(&["log", "redb:restored"]).ok().out;
    let limit = last.to_string();
    assert_eq!(restored, folder.run(&["log", "redb:data", "--limit", &limit]).ok().out);
}

#[test]
fn what_writes_is_refused_and_the_process_is_named() {
    let folder = Folder::new();
    let owner = Owner::start(&folder, true);
    let id = owner.id();
    for command in [
        &["append", "redb:data", "a", "T"][..],
        &["import", "redb:data"],
        &["reindex", "redb:data"],
        &["compact", "redb:data"],
    ] {
        folder.run(command).fails(6, &["in use by", &id]);
    }
    owner.end();
}

#[test]
fn without_a_door_the_message_says_how_to_get_one() {
    let folder = Folder::new();
    let owner = Owner::start(&folder, false);
    for command in [&["keys", "redb:data"][..], &["verify", "redb:data"], &["stats", "redb:data"]] {
        folder.run(command).fails(6, &["in use by", &owner.id(), "serve_local()"]);
    }
    owner.end();
}

#[test]
fn a_killed_owner_ends_what_follows_it_and_leaves_nothing_in_the_way() {
    let folder = Folder::new();
    let mut owner = Owner::start(&folder, true);
    let mut following = folder.start(&["log", "redb:data", "--follow"]);
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    for _ in 0..120 {
        lines.next().unwrap().unwrap();
    }
    owner.kill();
    // What was sent may come yet; then it ends with a message, and not by waiting.
    lines.by_ref().for_each(|line| drop(line.unwrap()));
    let mut said = String::new();
    following.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let code = following.wait().unwrap().code();
    assert!(code == Some(8) && said.contains("error: "), "{code:?} {said}");
    assert!(folder.path("data/door").exists(), "a killed process removes nothing");
    let stats = folder.run(&["stats", "redb:data"]).ok().json();
    assert!(stats["events"].as_u64() >= Some(120));

    // The next owner replaces it.
    let owner = Owner::start(&folder, true);
    wait_until("the new door", || folder.run(&["keys", "redb:data"]).code == 0);
    owner.end();
    assert!(!folder.path("data/door").exists());
}
