//! A directory that cannot hold the store, holds something else, or is open already: opening says
//! which and why, leaves everything as it was, and works as soon as the reason is gone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{append, assert_says, history};
use seriatim::driver::DriverError;
use seriatim::{EventStore, OpenError};

const DIRECTORY: &str = "SERIATIM_TEST_OPENER_DIRECTORY";

fn url(path: &Path) -> String {
    format!("redb:{}", path.display())
}

/// The files of a directory, byte for byte. The lock is not looked at: it says who tried last.
fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| name != "lock")
        .map(|(name, path)| (name, fs::read(path).unwrap_or_default()))
        .collect()
}

async fn refused(path: &Path) -> DriverError {
    match EventStore::open(url(path)).await {
        Err(error @ OpenError::Driver { .. }) => {
            assert_says(&error, &[&path.display().to_string()]);
            let OpenError::Driver { source, .. } = error else { unreachable!() };
            source
        }
        other => panic!("{}: {other:?}", path.display()),
    }
}

async fn write_and_close(path: &Path) {
    let store = EventStore::open(url(path)).await.unwrap();
    store.append(append("a")).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_file_where_a_directory_should_be() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store");
    fs::write(&file, "precious").unwrap();
    assert_says(&refused(&file).await, &["is a file", "needs a directory"]);
    assert_says(&refused(&file.join("below")).await, &["could not be made"]);
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    fs::remove_file(&file).unwrap();
    write_and_close(&file.join("below")).await;
}

#[tokio::test]
async fn a_place_where_nobody_can_make_a_directory() {
    let place = Path::new("/proc/seriatim");
    if !place.parent().is_some_and(Path::is_dir) {
        println!("skipped: this system has no /proc");
        return;
    }
    assert_says(&refused(place).await, &["could not be made"]);
}

#[tokio::test]
async fn a_format_of_another_version() {
    let directory = tempfile::tempdir().unwrap();
    let format = directory.path().join("format");
    for other in
        [&b"seriatim redb 2\n"[..], b"", b"seriatim redb 1", b"\xff\x00\n", b"notes of mine"]
    {
        fs::write(&format, other).unwrap();
        let before = contents(directory.path());
        let error = refused(directory.path()).await;
        assert!(matches!(error, DriverError::Damaged { .. }), "{error:?}");
        assert_says(&error, &["format", "this version knows", "seriatim redb 1"]);
        assert_eq!(contents(directory.path()), before, "something was written");
    }
    fs::write(&format, "seriatim redb 2\n").unwrap();
    assert_says(&refused(directory.path()).await, &["\"seriatim redb 2\""]);
    fs::remove_file(&format).unwrap();
    write_and_close(directory.path()).await;

    // Events whose format nobody wrote down are not guessed at.
    fs::remove_file(&format).unwrap();
    let before = contents(directory.path());
    let error = refused(directory.path()).await;
    assert!(matches!(error, DriverError::Damaged { .. }), "{error:?}");
    assert_eq!(contents(directory.path()), before, "something was written");
    fs::write(&format, "seriatim redb 1\n").unwrap();
    let store = EventStore::open(url(directory.path())).await.unwrap();
    assert_eq!(history(&store, "a").await.len(), 1);
    store.close().await.unwrap();
}

#[tokio::test]
async fn events_that_are_something_else() {
    let directory = tempfile::tempdir().unwrap();
    write_and_close(directory.path()).await;
    let events = directory.path().join("events.redb");
    let good = fs::read(&events).unwrap();
    for bad in [&b"not redb's"[..], &[0; 4_096], &[0xff; 65_536], &good[..100]] {
        fs::write(&events, bad).unwrap();
        let before = contents(directory.path());
        let error = refused(directory.path()).await;
        assert_says(&error, &["redb"]);
        assert_eq!(contents(directory.path()), before, "something was written");
    }
    fs::write(&events, good).unwrap();
    let store = EventStore::open(url(directory.path())).await.unwrap();
    assert_eq!(history(&store, "a").await.len(), 1);
    store.close().await.unwrap();
}

/// Not a test by itself: a process that opens the directory it is told, and says what came of it.
#[test]
#[ignore = "other tests run it, as a process of its own"]
fn opener_process() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    match futures::executor::block_on(EventStore::open(url(directory.as_ref()))) {
        Ok(store) => {
            futures::executor::block_on(store.close()).unwrap();
            println!("opened");
        }
        Err(error) => println!("refused: {error}"),
    }
}

/// What another process says when it opens the directory.
fn opened_by(mut command: Command, directory: &Path) -> String {
    command.args([
        "--exact",
        "bad_directories_are_refused::opener_process",
        "--ignored",
        "--nocapture",
    ]);
    let output = command.env(DIRECTORY, directory).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_directory_that_is_open_already_names_its_holder() {
    let directory = tempfile::tempdir().unwrap();
    let store = EventStore::open(url(directory.path())).await.unwrap();
    store.append(append("a")).await.unwrap();
    let holder = format!("process {}", std::process::id());

    let same_process = refused(directory.path()).await;
    assert_says(&same_process, &["open already", &holder]);
    let other = Command::new(std::env::current_exe().unwrap());
    let other_process = opened_by(other, directory.path());
    assert!(other_process.contains("refused"), "{other_process}");
    assert!(other_process.contains("open already"), "{other_process}");
    assert!(other_process.contains(&holder), "{other_process}");

    // The holder is none the worse for it.
    assert_eq!(store.append(append("a")).await.unwrap().last, 2);
    store.close().await.unwrap();
    let other = Command::new(std::env::current_exe().unwrap());
    assert!(opened_by(other, directory.path()).contains("opened"));
}

#[cfg(unix)]
mod without_permission {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Whether this process is bound by permissions at all: the superuser is not.
    fn is_bound(read_only: &Path) -> bool {
        match fs::write(read_only.join("probe"), "") {
            Ok(()) => fs::remove_file(read_only.join("probe")).is_err(),
            Err(_) => true,
        }
    }

    /// A command that runs this test's program as somebody whom permissions bind.
    fn somebody(program: &Path, read_only: &Path) -> Option<Command> {
        if is_bound(read_only) {
            return Some(Command::new(program));
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        let available = Command::new("setpriv").arg("--version").output().is_ok();
        available.then(|| {
            command.arg(program);
            command
        })
    }

    /// A copy of this test's program where everybody may run it.
    fn program_for_everybody(directory: &Path) -> PathBuf {
        set_mode(directory, 0o755);
        let program = directory.join("program");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        set_mode(&program, 0o755);
        program
    }

    #[tokio::test]
    async fn is_refused() {
        let base = tempfile::tempdir().unwrap();
        let program = program_for_everybody(base.path());
        let empty = base.path().join("empty");
        fs::create_dir(&empty).unwrap();
        let full = base.path().join("full");
        write_and_close(&full).await;
        for directory in [&empty, &full] {
            set_mode(directory, 0o555);
        }
        let before = [contents(&empty), contents(&full)];

        for (directory, says) in [
            (empty.join("below"), "could not be made"),
            (empty.clone(), "could not be locked"),
            (full.clone(), "could not be locked"),
        ] {
            let Some(command) = somebody(&program, &empty) else {
                println!("skipped: permissions do not bind this user, and there is no setpriv");
                return;
            };
            let said = opened_by(command, &directory);
            assert!(said.contains("refused"), "{said}");
            for words in [says, &directory.display().to_string(), "Permission denied"] {
                assert!(said.contains(words), "{said:?} does not say {words:?}");
            }
        }
        assert_eq!([contents(&empty), contents(&full)], before, "something was written");

        for directory in [&empty, &full] {
            set_mode(directory, 0o755);
        }
        let store = EventStore::open(url(&full)).await.unwrap();
        assert_eq!(history(&store, "a").await.len(), 1);
        store.close().await.unwrap();
    }
}
