//! Reads the log: bytes in, commits out.
//!
//! Fields are separated by NUL, which no name and no message has. A commit begins with a mark that no
//! count of lines begins with; then its fields; then one entry per file it changed: `ADDED TAB REMOVED TAB
//! NAME`, with `-` for both counts of a binary file. In front of the first entry git puts a line break.

use crate::git::{GitError, Repository};

const MARK: &[u8] = b"commit:";
const FORMAT: &str = "--format=commit:%H%x00%P%x00%an%x00%ae%x00%at%x00%s";

/// A commit and what it did to each file.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) hash: String,
    /// Hashes of the commits it was made from; two and more for a merge.
    pub(crate) parents: Vec<String>,
    pub(crate) author: String,
    pub(crate) email: String,
    /// Seconds since 1970, as the author's machine told them.
    pub(crate) time: i64,
    pub(crate) subject: String,
    pub(crate) changes: Vec<Change>,
}

#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) name: Vec<u8>,
    /// None where git counts no lines, because the file is binary.
    pub(crate) lines: Option<Lines>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) added: u64,
    pub(crate) removed: u64,
}

/// All commits that the repository's history has, in git's order.
pub(crate) fn read(repository: &Repository) -> Result<Vec<Commit>, GitError> {
    parse(&repository.counted_log::<&str>(&["-z", FORMAT], &[])?)
}

fn parse(log: &[u8]) -> Result<Vec<Commit>, GitError> {
    let mut commits: Vec<Commit> = Vec::new();
    let mut tokens = log.split(|byte| *byte == 0);
    while let Some(token) = tokens.next() {
        if let Some(hash) = token.strip_prefix(MARK) {
            let mut field = || tokens.next().ok_or_else(|| GitError::garbled(token));
            commits.push(Commit {
                hash: text(hash),
                parents: text(field()?).split_whitespace().map(str::to_owned).collect(),
                author: text(field()?),
                email: text(field()?),
                time: number(field()?).unwrap_or_default(),
                subject: text(field()?),
                changes: Vec::new(),
            });
            continue;
        }
        let entry = token.strip_prefix(b"\n").unwrap_or(token);
        if entry.is_empty() {
            continue;
        }
        let change = change(entry).ok_or_else(|| GitError::garbled(entry))?;
        let commit = commits.last_mut().ok_or_else(|| GitError::garbled(entry))?;
        commit.changes.push(change);
    }
    Ok(commits)
}

fn change(entry: &[u8]) -> Option<Change> {
    let mut parts = entry.splitn(3, |byte| *byte == b'\t');
    let (added, removed, name) = (parts.next()?, parts.next()?, parts.next()?);
    let lines = match (added, removed) {
        (b"-", b"-") => None,
        _ => Some(Lines { added: number(added)?, removed: number(removed)? }),
    };
    (!name.is_empty()).then(|| Change { name: name.to_vec(), lines })
}

pub(crate) fn number<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Names and subjects are for people; what is not UTF-8 in them becomes a replacement character.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_with_and_without_changes() {
        let log = b"commit:c\0b x\0Ada\0a@b\x007\0subject\0commit:b\0\0Ada\0a@b\0-8\0\0\
            \n1\t2\ta\tb\nc\0-\t-\tbin\xff\0";
        let commits = parse(log).unwrap();
        let [merge, root] = commits.as_slice() else { panic!("{commits:?}") };
        assert_eq!((merge.parents.len(), merge.changes.len()), (2, 0));
        assert_eq!((root.parents.len(), root.time, root.subject.as_str()), (0, -8, ""));
        let [text, binary] = root.changes.as_slice() else { panic!("{root:?}") };
        assert_eq!(text.name, b"a\tb\nc");
        assert_eq!(text.lines, Some(Lines { added: 1, removed: 2 }));
        assert_eq!((binary.name.as_slice(), binary.lines), (b"bin\xff".as_slice(), None));
    }

    #[test]
    fn what_is_no_log_is_refused() {
        for garbage in [&b"1\t2\tname\0"[..], b"commit:c\0", b"commit:c\0\0\0\0\0\0x\ty\tz\0"] {
            assert!(matches!(parse(garbage), Err(GitError::Garbled { .. })), "{garbage:?}");
        }
    }
}
