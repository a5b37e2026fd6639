//! `compact` gives back what events.redb does not need. Killed, it loses nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{Folder, line};
#[cfg(target_os = "linux")]
use support::{interrupt, signal, wait_until};

/// A store whose file has an index that a rebuild left behind.
fn reindexed(events: u64) -> Folder {
    let folder = Folder::new();
    let data = format!("\"{}\"", "x".repeat(100));
    let lines: Vec<String> = (1..=events).map(|n| line(&format!("key/{n}"), 1, &data)).collect();
    let input = lines.join("\n");
    folder.run_with(&["import", "redb:data", "--create"], input.as_bytes()).ok();
    for _ in 0..3 {
        folder.run(&["reindex", "redb:data"]).ok();
    }
    folder
}

#[test]
fn the_file_is_smaller_and_says_the_same() {
    let folder = reindexed(3_000);
    let before = folder.run(&["export", "redb:data"]).ok().out;
    let size = || std::fs::metadata(folder.path("data/events.redb")).unwrap().len();
    let size_before = size();
    let said = folder.run(&["compact", "redb:data"]).ok().json();
    assert_eq!(said["bytes_before"].as_u64(), Some(size_before));
    assert_eq!(said["bytes_after"].as_u64(), Some(size()));
    assert_eq!(said["given_back"].as_u64(), Some(size_before - size()));
    assert!(size() < size_before * 3 / 4, "{said}");
    assert_eq!(folder.run(&["export", "redb:data"]).ok().out, before);
    folder.run(&["verify", "redb:data"]).ok();
    let again = folder.run(&["compact", "redb:data", "--table"]).ok().out;
    assert!(again.contains("events.redb has"), "{again}");
    folder.run(&["compact", "memory:"]).fails(10, &["only a redb store"]);
}

/// How many bytes the process has written.
#[cfg(target_os = "linux")]
fn written(child: &std::process::Child) -> u64 {
    let told = std::fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(target_os = "linux")]
#[test]
fn killed_or_interrupted_it_loses_nothing() {
    let folder = reindexed(20_000);
    let before = folder.run(&["export", "redb:data"]).ok().out;
    for (bytes, kill) in [(64 << 10, true), (1 << 20, true), (2 << 20, false), (4 << 20, true)] {
        let mut child = folder.start(&["compact", "redb:data"]);
        let mut ended = None;
        wait_until("so much is written", || {
            ended = child.try_wait().unwrap();
            written(&child) >= bytes || ended.is_some()
        });
        match kill {
            _ if ended.is_some() => {}
            true => signal(&child, "-KILL"),
            false => interrupt(&child),
        }
        let code = child.wait().unwrap().code();
        assert!(code.is_none() || code == Some(130) || code == Some(0), "{code:?}");
        folder.run(&["verify", "redb:data"]).ok();
        assert_eq!(folder.run(&["export", "redb:data"]).ok().out, before);
    }
    folder.run(&["compact", "redb:data"]).ok();
    folder.run(&["verify", "redb:data"]).ok();
    assert_eq!(folder.run(&["export", "redb:data"]).ok().out, before);
}
