//! What the command line's tests share: the program, stores in directories, and events in them.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]
#![allow(clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use seriatim::driver::redb::RedbDriver;
use seriatim::driver::{Driver, Put};
use seriatim::{Append, EventStore, KeyedEvent, NewEvent};
use tempfile::TempDir;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_seriatim"))
}

/// What a run of the program said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn of(output: Output) -> Self {
        let said = Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            err: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        };
        assert!(!said.err.contains("panicked"), "{}", said.err);
        said
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self
    }

    /// The code, and what standard error must say.
    #[track_caller]
    pub fn fails(self, code: i32, told: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(self.err.lines().any(|line| line.starts_with("error: ")), "{}", self.err);
        for told in told {
            assert!(self.err.contains(told), "{told:?} is not in {:?}", self.err);
        }
        self
    }

    pub fn lines(&self) -> Vec<serde_json::Value> {
        self.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let mut lines = self.lines();
        assert_eq!(lines.len(), 1, "{}", self.out);
        lines.remove(0)
    }
}

/// An empty folder to work in.
pub struct Folder(pub TempDir);

impl Folder {
    pub fn new() -> Self {
        Folder(tempfile::tempdir().expect("a temporary directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        Said::of(self.command(arguments).output().expect("the program starts"))
    }

    /// Runs with this on standard input.
    pub fn run_with(&self, arguments: &[&str], input: &[u8]) -> Said {
        let mut child = self.start(arguments);
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = input.to_vec();
        let feeding = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let said = Said::of(child.wait_with_output().expect("the program ends"));
        feeding.join().expect("fed");
        said
    }

    /// Starts with pipes on all sides.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the program starts")
    }

    /// A store in `name` with these appends: key, then type and data of each event.
    pub fn store(&self, name: &str, appends: &[(&str, &[(&str, &str)])]) {
        let url = format!("redb:{}", self.path(name).display());
        block_on(async {
            let store = EventStore::open(&url).await.expect("opened");
            for (key, events) in appends {
                let events =
                    events.iter().map(|(kind, data)| NewEvent::raw(kind, data.to_string()));
                store.append(Append::to(*key).events(events)).await.expect("appended");
            }
            store.close().await.expect("closed");
        });
    }

    /// A store in `name` with exactly these events, one put each.
    pub fn store_of(&self, name: &str, events: &[KeyedEvent]) {
        let driver = RedbDriver::open(self.path(name)).expect("opened");
        block_on(async {
            for event in events {
                let put = Put::new(vec![event.clone()]).expect("a put");
                driver.put_events(Arc::new(put)).await.expect("put");
            }
            driver.close().await.expect("closed");
        });
    }

    /// Three aggregates, five events.
    pub fn small_store(&self, name: &str) {
        self.store(
            name,
            &[
                ("account/1", &[("Opened", r#"{"owner":"Ada"}"#)]),
                ("account/2", &[("Opened", r#"{"owner": "Bob"}"#)]),
                ("account/1", &[("Deposited", r#"{"amount":50.10}"#)]),
                ("order/7", &[("Placed", r#"{"n":9007199254740993}"#), ("Paid", "[1, 2]")]),
            ],
        );
    }
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Sends Ctrl-C's signal.
pub fn interrupt(child: &Child) {
    signal(child, "-INT");
}

pub fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(sent.expect("kill starts").success());
}

/// Waits for the condition, up to [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, mut is_met: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_met() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("read")
}

/// One exported line.
pub fn line(key: &str, sequence: u64, data: &str) -> String {
    let commit = format!("0190163d-8694-739b-aea5-{sequence:012x}");
    let time = format!("2026-11-27T06:00:00.{sequence:06}Z");
    format!(
        r#"{{"key":"{key}","sequence":{sequence},"type":"T","data":{data},"version":1,"commit_id":"{commit}","recorded_at":"{time}"}}"#
    )
}
