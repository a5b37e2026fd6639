//! Standard output is NDJSON and nothing else; a reader that goes away is no error; Ctrl-C ends a
//! command cleanly.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use support::{Folder, PATIENCE, Said, interrupt, line, wait_until};

/// More than pipes and buffers hold.
fn large_store(folder: &Folder) {
    let data = format!("\"{}\"", "x".repeat(1_000));
    let events: Vec<(&str, &str)> = vec![("T", data.as_str()); 1_000];
    let keys: Vec<String> = (0..4).map(|n| format!("a/{n}")).collect();
    let appends: Vec<(&str, &[(&str, &str)])> =
        keys.iter().map(|key| (key.as_str(), events.as_slice())).collect();
    folder.store("data", &appends);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Folder::new();
    large_store(&folder);
    for arguments in [
        &["export", "redb:data"][..],
        &["log", "redb:data"],
        &["log", "redb:data", "--table", "--full"],
        &["read", "redb:data", "a/1"],
    ] {
        let mut child = folder.start(arguments);
        let mut first = String::new();
        let mut out = BufReader::with_capacity(64, child.stdout.take().unwrap());
        out.read_line(&mut first).unwrap();
        drop(out);
        let said = Said::of(child.wait_with_output().unwrap()).ok();
        assert!(!first.is_empty() && said.err.is_empty(), "{arguments:?}: {}", said.err);
    }
    // The store was closed all the same.
    folder.run(&["verify", "redb:data"]).ok();
}

#[test]
fn a_standard_error_that_is_closed_is_no_panic() {
    let folder = Folder::new();
    folder.small_store("data");
    let mut command = std::process::Command::new("sh");
    let line = format!("{} export redb:data 2>&-", support::program().display());
    command.args(["-c", &line]).current_dir(folder.0.path());
    let said = Said::of(command.output().unwrap()).ok();
    assert_eq!(said.lines().len(), 5);
}

#[test]
fn a_full_device_is_an_error() {
    let folder = Folder::new();
    folder.small_store("data");
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else { return };
    let mut command = folder.command(&["export", "redb:data"]);
    command.stdout(full).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    Said::of(child.wait_with_output().unwrap()).fails(7, &["standard output", "No space left"]);
}

#[test]
fn following_shows_what_is_there_and_ends_with_ctrl_c() {
    let folder = Folder::new();
    folder.small_store("data");
    for format in [&["--json"][..], &["--table"]] {
        let arguments = [&["log", "redb:data", "--follow", "--from", "4"], format].concat();
        let mut child = folder.start(&arguments);
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut seen = String::new();
        // The last event there is: from here on it waits.
        while !seen.contains("Paid") {
            let read = out.read_line(&mut seen).unwrap();
            assert_ne!(read, 0, "{seen}");
        }
        interrupt(&child);
        out.read_to_string(&mut seen).unwrap();
        let said = Said::of(child.wait_with_output().unwrap()).ok();
        assert!(seen.contains("order/7") && !seen.contains("account"), "{seen}");
        assert!(said.err.contains("following"));
    }
    folder.run(&["verify", "redb:data"]).ok();
    let limited = folder.run(&["log", "redb:data", "--follow", "--limit", "2"]).ok();
    assert_eq!(limited.lines().len(), 2);
}

#[test]
fn an_interrupted_import_closes_the_store_and_says_how_to_go_on() {
    let folder = Folder::new();
    let lines: String = (1..=6_000).map(|n| line("a", n, "1") + "\n").collect();
    let mut child = folder.start(&["import", "redb:copy", "--create"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(lines.as_bytes()).unwrap();
    // The input stays open, so the command waits for more of it.
    wait_until("the store is made", || folder.path("copy/events.redb").exists());
    interrupt(&child);
    let said = Said::of(child.wait_with_output().unwrap());
    let said = said.fails(130, &["interrupted"]);
    drop(stdin);
    assert!(said.out.is_empty());

    let again = folder.run_with(&["import", "redb:copy"], lines.as_bytes()).ok().json();
    let count = |name: &str| again[name].as_u64().unwrap();
    assert_eq!(count("imported") + count("skipped"), 6_000);
    if count("skipped") > 0 {
        assert!(said.err.contains("run the same command again"), "{}", said.err);
    }
    let stats = folder.run(&["stats", "redb:copy"]).ok().json();
    assert_eq!(stats["events"], 6_000);
}

#[test]
fn an_interrupted_bench_ends_and_leaves_nothing() {
    let folder = Folder::new();
    let mut child = folder.start(&["bench", "--seconds", "600", "--writers", "2"]);
    let is_running = || {
        let names = std::fs::read_dir(folder.0.path()).unwrap();
        names.flatten().any(|name| name.path().join("events.redb").exists())
    };
    wait_until("the measurement runs", is_running);
    interrupt(&child);
    let began = std::time::Instant::now();
    let code = child.wait().unwrap().code();
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(code, Some(130));
    assert_eq!(std::fs::read_dir(folder.0.path()).unwrap().count(), 0);
}
