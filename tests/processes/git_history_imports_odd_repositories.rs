//! The `git_history` example on repositories with everything that git allows: it imports each of
//! them whole, a second run writes nothing, new commits add exactly their changes, and a history
//! that was rewritten is named and left alone. The repositories are made with git itself; the
//! example runs as a process of its own, on one redb store.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::example;
use seriatim::EventStore;
use tempfile::TempDir;

/// A repository and a store, both new.
struct Scene {
    folder: TempDir,
    /// Seconds since 1970 of the next commit.
    time: u64,
}

impl Scene {
    fn new() -> Self {
        let scene = Scene { folder: tempfile::tempdir().unwrap(), time: 1_700_000_000 };
        fs::create_dir(scene.repository()).unwrap();
        scene.git(&["init", "-q"]);
        scene.git(&["symbolic-ref", "HEAD", "refs/heads/main"]);
        scene
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn store(&self) -> String {
        format!("redb:{}", self.folder.path().join("store").display())
    }

    fn git(&self, arguments: &[&str]) -> String {
        let date = format!("{} +0000", self.time);
        let output = Command::new("git")
            .arg("-C")
            .arg(self.repository())
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com"])
            .args(["-c", "commit.gpgSign=false", "-c", "core.autocrlf=false"])
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_DATE", &date)
            .env("GIT_COMMITTER_DATE", &date)
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE")
            .env_remove("GIT_INDEX_FILE")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "git {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn write(&self, name: impl AsRef<OsStr>, content: impl AsRef<[u8]>) {
        let path = self.repository().join(Path::new(name.as_ref()));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.repository().join(name)).unwrap();
    }

    fn commit(&mut self, subject: &str) {
        self.time += 1_000;
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "--allow-empty-message", "-m", subject]);
    }

    /// Runs the example on this store in the repository's working tree, which nothing may depend
    /// on.
    fn run(&self) -> Ran {
        let mut command = Command::new(example("git_history"));
        command.args(["--store", &self.store()]).current_dir(self.repository());
        Ran { output: command.output().unwrap() }
    }

    /// Runs it, and asserts how many events it found and how many it wrote.
    #[track_caller]
    fn imports(&self, there: u64, new: u64) -> Ran {
        let ran = self.run();
        ran.ended_with(0);
        ran.says(&format!("{there} were there already, {new} are new\n"));
        ran.says("All sums agree.");
        ran
    }

    /// Each stored file, with its number of events.
    async fn stored(&self) -> Vec<(String, u64)> {
        let store = EventStore::open(self.store()).await.unwrap();
        let mut files = Vec::new();
        for key in store.keys("").collect().await.unwrap() {
            files.push((key.to_string(), store.latest_sequence(&key).await.unwrap().get()));
        }
        store.close().await.unwrap();
        files
    }
}

struct Ran {
    output: Output,
}

impl Ran {
    fn text(&self) -> String {
        let (out, err) = (&self.output.stdout, &self.output.stderr);
        format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
    }

    #[track_caller]
    fn ended_with(&self, code: i32) {
        assert_eq!(self.output.status.code(), Some(code), "{}", self.text());
    }

    #[track_caller]
    fn says(&self, wanted: &str) {
        assert!(self.text().contains(wanted), "does not say {wanted:?}:\n{}", self.text());
    }
}

fn run(arguments: &[&OsStr]) -> Ran {
    let output = Command::new(example("git_history")).args(arguments).output().unwrap();
    Ran { output }
}

/// A history with all that is odd; how many events it makes. One commit is a merge, one changes
/// nothing.
fn odd(scene: &mut Scene) -> u64 {
    let not_utf8 = OsStr::from_bytes(b"caf\xe9.txt");
    scene.write("plain.txt", "one\ntwo\n");
    scene.write("with\ttab\nand \"quotes\" 100%.txt", "odd\n");
    scene.write(not_utf8, "latin\n");
    scene.write("picture.bin", [0, 159, 146, 150, 0]);
    scene.write("日本/語.txt", "text\n");
    scene.commit("five files");
    let mut events = 5;
    let long: String = ["n".repeat(200), "o".repeat(200), "p".repeat(200)].join("/");
    scene.write(format!("{long}a"), "a\n");
    scene.write(format!("{long}b"), "b\n");
    scene.commit("names that differ where a key has no room");
    events += 2;
    scene.commit("");
    scene.git(&["mv", "plain.txt", "renamed.txt"]);
    scene.commit("a rename is two changes");
    events += 2;
    scene.remove("picture.bin");
    scene.commit("deleted");
    scene.write("picture.bin", [1, 0, 2]);
    scene.commit("added again");
    events += 2;
    scene.git(&["checkout", "-q", "-b", "side"]);
    scene.write("side.txt", "side\n");
    scene.commit("on a side branch");
    scene.git(&["checkout", "-q", "main"]);
    scene.write("renamed.txt", "one\ntwo\nthree\n");
    scene.commit("on the main branch");
    scene.git(&["merge", "-q", "--no-ff", "-m", "a merge", "side"]);
    events += 2;
    scene.remove("renamed.txt");
    scene.write("renamed.txt/is a folder now", "x\n");
    scene.commit("a folder where a file was");
    scene.remove("side.txt");
    std::os::unix::fs::symlink("nowhere", scene.repository().join("side.txt")).unwrap();
    scene.commit("a link where a file was");
    events + 3
}

#[test]
fn a_second_run_writes_nothing() {
    let mut scene = Scene::new();
    scene.git(&["config", "diff.renames", "copies"]);
    let events = odd(&mut scene);
    let first = scene.imports(0, events);
    first.says("1 are merges");
    first.says("1 others changed no file");
    scene.imports(events, 0);

    let stored = tokio::runtime::Runtime::new().unwrap().block_on(scene.stored());
    assert_eq!(stored.iter().map(|(_, events)| events).sum::<u64>(), events);
    let stored: BTreeSet<_> = stored.into_iter().collect();
    for (name, events) in [
        ("file/plain.txt", 2),
        ("file/renamed.txt", 3),
        ("file/renamed.txt/is a folder now", 1),
        ("file/with%09tab%0Aand \"quotes\" 100%25.txt", 1),
        ("file/caf%E9.txt", 1),
        ("file/picture.bin", 3),
        ("file/日本/語.txt", 1),
        ("file/side.txt", 2),
    ] {
        assert!(stored.contains(&(name.to_owned(), events)), "{name} {events}: {stored:?}");
    }
    assert_eq!(stored.iter().filter(|(name, _)| name.contains("%~")).count(), 2, "{stored:?}");
}

#[test]
fn one_file_is_shown_by_its_name_in_bytes_or_as_it_is_printed() {
    let mut scene = Scene::new();
    odd(&mut scene);
    let (repository, store) = (scene.repository(), scene.store());
    let asked = |file: &OsStr| {
        run(&[repository.as_os_str(), "--store".as_ref(), store.as_ref(), "--file".as_ref(), file])
    };
    for name in [&b"caf\xe9.txt"[..], b"caf%E9.txt", b"./caf\xe9.txt"] {
        let ran = asked(OsStr::from_bytes(name));
        ran.ended_with(0);
        ran.says("The history of caf%E9.txt\n");
    }
    // A folder has the name now; its files are not the file's.
    let ran = asked("renamed.txt".as_ref());
    ran.ended_with(0);
    ran.says("on the main branch");
    let ran = asked("nobody".as_ref());
    ran.ended_with(2);
    ran.says("no such file");
}

#[test]
fn new_commits_add_exactly_their_changes() {
    let mut scene = Scene::new();
    let events = odd(&mut scene);
    // A branch from long ago, with dates between those of the commits that are stored already.
    scene.git(&["branch", "old", "main~5"]);
    scene.imports(0, events);

    scene.write("new.txt", "new\n");
    scene.write("picture.bin", [0, 9]);
    scene.commit("two files");
    let ran = scene.imports(events, 2);
    ran.says("picture.bin");

    let now = scene.time;
    scene.git(&["checkout", "-q", "old"]);
    scene.time = 1_700_000_500;
    scene.write("picture.bin", [0, 8]);
    scene.write("日本/語.txt", "text\nmore\n");
    scene.commit("between the others");
    scene.time = now + 1_000;
    scene.git(&["checkout", "-q", "main"]);
    scene.git(&["merge", "-q", "-s", "ours", "-m", "an old branch", "old"]);
    scene.imports(events + 2, 2);

    // Attributes speak of the commits before them too; what is stored must still agree.
    scene.write(".gitattributes", "*.txt -diff\n");
    scene.commit("attributes");
    scene.imports(events + 4, 1);
    // As a submodule has it: the repository says where its working tree is.
    scene.git(&["config", "core.worktree", &scene.repository().display().to_string()]);
    scene.imports(events + 5, 0);
    scene.remove(".gitattributes");
    scene.imports(events + 5, 0);
}

#[tokio::test]
async fn a_rewritten_history_is_named_and_nothing_is_written() {
    let mut scene = Scene::new();
    let events = odd(&mut scene);
    scene.write("kept.txt", "kept\n");
    scene.write("amended.txt", "before\n");
    scene.commit("to be amended");
    scene.imports(0, events + 2);
    let before = scene.stored().await;

    scene.write("amended.txt", "after\n");
    scene.write("added.txt", "added\n");
    scene.git(&["add", "-A"]);
    scene.git(&["commit", "-q", "--amend", "-m", "amended"]);
    let ran = scene.run();
    ran.ended_with(1);
    ran.says("another history than git; nothing was written. Files that differ: 2\n");
    ran.says("\n  amended.txt: change 1 is stored as of commit ");
    ran.says("\n  kept.txt: change 1 is stored as of commit ");
    assert_eq!(scene.stored().await, before);

    scene.git(&["reset", "-q", "--hard", "HEAD~1"]);
    let ran = scene.run();
    ran.ended_with(1);
    ran.says("\n  amended.txt: not in git's history");
    assert_eq!(scene.stored().await, before);
}

#[test]
fn where_there_is_nothing_to_import_it_says_so() {
    let scene = Scene::new();
    let ran = scene.run();
    ran.ended_with(2);
    ran.says("no commit");

    let nowhere = scene.folder.path().join("nowhere");
    let ran = run(&[nowhere.as_os_str()]);
    ran.ended_with(2);
    ran.says("is not a git repository");
    fs::create_dir(&nowhere).unwrap();
    fs::write(nowhere.join(".git"), "not a repository").unwrap();
    run(&[nowhere.as_os_str()]).ended_with(2);
    run(&["--importers".as_ref(), "0".as_ref()]).ended_with(2);
}

#[test]
fn commits_without_any_file_are_a_history() {
    let mut scene = Scene::new();
    scene.commit("empty");
    scene.imports(0, 0).says("1 others changed no file");
}

#[test]
fn bare_and_shallow_clones_are_repositories() {
    let mut scene = Scene::new();
    let events = odd(&mut scene);
    let (bare, shallow) = (scene.folder.path().join("bare"), scene.folder.path().join("shallow"));
    let from = scene.repository().display().to_string();
    scene.git(&["clone", "-q", "--bare", &from, bare.to_str().unwrap()]);
    let url = format!("file://{from}");
    scene.git(&["clone", "-q", "--depth", "2", &url, shallow.to_str().unwrap()]);

    scene.imports(0, events);
    let store = OsString::from(scene.store());
    let ran = run(&[bare.as_os_str(), "--store".as_ref(), &store]);
    ran.ended_with(0);
    ran.says("(bare)");
    ran.says(&format!("{events} were there already, 0 are new\n"));

    let ran = run(&[shallow.as_os_str()]);
    ran.ended_with(0);
    ran.says("a shallow clone");
    ran.says("removed at the end");
    ran.says("All sums agree.");
}

#[test]
fn authors_are_who_they_say_whatever_the_mailmap_says() {
    let mut scene = Scene::new();
    scene.write("a", "1\n");
    scene.write(".mailmap", "Somebody <else@example.com> <ada@example.com>\n");
    scene.commit("one");
    scene.git(&["config", "user.useConfigOnly", "true"]);
    scene.write("a", "1\n2\n");
    scene.time += 1_000;
    scene.git(&[
        "commit",
        "-q",
        "-a",
        "-m",
        "50% \u{1b}[31mred",
        "--author",
        "Böb <b@example.com>",
    ]);
    let ran = scene.imports(0, 3);
    ran.says("Ada <ada@example.com>");
    ran.says("Böb <b@example.com>");
    assert!(!ran.text().contains('\u{1b}'), "{}", ran.text());
}
