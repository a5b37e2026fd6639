//! The repository, through the `git` command.
//!
//! Everything is asked in terms of one commit, found when the repository is opened, so that a branch that
//! moves meanwhile changes nothing. And it is asked in a way that answers the same tomorrow: what a change
//! counts would otherwise depend on the attributes in today's working tree, on replaced objects and on the
//! caller's settings, and an event that was stored could not be held against git any more.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Why git could not be asked, or what it said instead of an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    #[error("the git command could not be run: {0}")]
    Run(#[source] io::Error),
    #[error("{} is not a git repository: {message}", path.display())]
    NotARepository { path: PathBuf, message: String },
    #[error("{} has no commit where its HEAD is: there is no history to import", path.display())]
    NoCommit { path: PathBuf },
    #[error("git {command} failed: {message}")]
    Failed { command: String, message: String },
    #[error("git's answer is not understood, at {at:?}")]
    Garbled { at: String },
}

impl GitError {
    pub(crate) fn garbled(bytes: &[u8]) -> Self {
        GitError::Garbled { at: bytes.iter().take(80).copied().map(char::from).collect() }
    }
}

/// What each line-counting log is asked with, beside its format.
const COUNTED: [&str; 8] = [
    "log",
    "--no-color",
    "--encoding=UTF-8",
    "--no-renames",
    "--no-ext-diff",
    "--ignore-submodules=none",
    "--diff-algorithm=myers",
    "--numstat",
];

/// Set by git hooks, among others; the repository is the one that was named.
const FOREIGN_SETTINGS: [&str; 8] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_ATTR_SOURCE",
    "GIT_LITERAL_PATHSPECS",
    "GIT_DIFF_OPTS",
];

pub(crate) struct Repository {
    directory: PathBuf,
    empty_tree: String,
    head: String,
    /// Its history was cut off when it was cloned.
    pub(crate) is_shallow: bool,
    pub(crate) is_bare: bool,
}

impl Repository {
    /// The repository at `path`, or in a directory above it.
    pub(crate) fn open(path: &Path) -> Result<Self, GitError> {
        let asked = |arguments: &[&str]| {
            let mut command = git();
            command.arg("-C").arg(path).args(arguments);
            command.output().map_err(GitError::Run)
        };
        let found = asked(&["rev-parse", "--absolute-git-dir"])?;
        if !found.status.success() {
            return Err(GitError::NotARepository { path: path.into(), message: complaint(&found) });
        }
        let directory = line(&found.stdout);
        if directory.is_empty() {
            return Err(GitError::garbled(&found.stdout));
        }
        let is = |question| asked(&["rev-parse", question]).map(|said| said.stdout == b"true\n");
        let (is_shallow, is_bare) = (is("--is-shallow-repository")?, is("--is-bare-repository")?);
        let head = asked(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])?;
        if !head.status.success() {
            return Err(GitError::NoCommit { path: path.into() });
        }
        let empty_tree = asked(&["hash-object", "-t", "tree", "--stdin"])?;
        let text = |output: Output| String::from_utf8_lossy(line(&output.stdout)).into_owned();
        Ok(Repository {
            directory: path_of(directory),
            empty_tree: text(empty_tree),
            head: text(head),
            is_shallow,
            is_bare,
        })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The hash of the commit that the history ends with.
    pub(crate) fn head(&self) -> &str {
        &self.head
    }

    /// `git log` with the lines added to and removed from each file by each commit, merges without.
    pub(crate) fn counted_log<A: AsRef<OsStr>>(
        &self,
        format: &[&str],
        files: &[A],
    ) -> Result<Vec<u8>, GitError> {
        let end = [self.head.as_str(), "--"];
        let arguments = COUNTED.iter().chain(format).chain(&end);
        let files = files.iter().map(|file| file.as_ref().to_owned());
        self.ask(arguments.map(OsString::from).chain(files))
    }

    /// `git rev-list --count` of the whole history.
    pub(crate) fn count_commits(&self, which: &[&str]) -> Result<u64, GitError> {
        let end = [self.head.as_str()];
        let arguments = ["rev-list", "--count"].iter().chain(which).chain(&end);
        let said = self.ask(arguments.map(OsString::from))?;
        let number = std::str::from_utf8(line(&said)).ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| GitError::garbled(&said))
    }

    fn ask(&self, arguments: impl IntoIterator<Item = OsString>) -> Result<Vec<u8>, GitError> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let mut command = git();
        // Attributes are read from the working tree, or else from the index; neither is the caller's here.
        command.current_dir(&self.directory);
        command.env("GIT_DIR", &self.directory).env("GIT_WORK_TREE", &self.directory);
        command.env("GIT_INDEX_FILE", self.directory.join("index-of-nothing"));
        command.arg("--no-replace-objects");
        for setting in [
            &format!("attr.tree={}", self.empty_tree),
            "core.attributesFile=",
            "core.quotePath=true",
            "diff.relative=false",
            "log.showRoot=true",
            "log.showSignature=false",
        ] {
            command.arg("-c").arg(setting);
        }
        let output = command.args(&arguments).output().map_err(GitError::Run)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let command = arguments.first().map(|name| name.to_string_lossy().into_owned());
        Err(GitError::Failed { command: command.unwrap_or_default(), message: complaint(&output) })
    }
}

fn git() -> Command {
    let mut command = Command::new("git");
    for name in FOREIGN_SETTINGS {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").env("GIT_ATTR_NOSYSTEM", "1").stdin(Stdio::null());
    command
}

fn line(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

#[cfg(unix)]
fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(OsStr::from_bytes(bytes))
}

#[cfg(not(unix))]
fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}

/// The pathspec that means this name, whatever is in it.
pub(crate) fn pathspec(name: &[u8]) -> OsString {
    let mut pathspec = OsString::from(":(literal)");
    pathspec.push(path_of(name));
    pathspec
}

fn complaint(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    match said.trim() {
        "" => format!("it ended with {}", output.status),
        said => said.trim_start_matches("fatal: ").to_owned(),
    }
}
