//! What the command line says, checked.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
A git repository's history as events: each file is an aggregate, each commit that changed it an event.
What is in the store already is not written again. Then the store is asked for the busiest files, one
file's history and the count per author, and every sum is held against git's own.

Usage: git_history [REPOSITORY] [OPTIONS]

Arguments:
  REPOSITORY       A git repository, bare or not [default: the current directory's]

Options:
  --store URL      memory:, redb:DIRECTORY or whatever else this build opens; a store of its own
                   [default: redb in a temporary folder, removed at the end]
  --importers N    Importers at work at the same time, 1 to 4096 [default: 64]
  --file PATH      Whose history to show, named from the repository's root [default: the busiest]
  -h, --help       This text

The exit code is 0 if all sums agree, 1 if not or if the history was rewritten since it was stored, 2 if
there is nothing to work on: a wrong call, no repository, no commit, a store that does not open.
";

const MAX_IMPORTERS: usize = 4096;

pub(crate) enum Command {
    Run(Options),
    Help,
}

pub(crate) struct Options {
    pub(crate) repository: PathBuf,
    pub(crate) store: Option<String>,
    pub(crate) importers: usize,
    /// A path, in whatever bytes the shell gave.
    pub(crate) file: Option<OsString>,
}

/// What is wrong with the call, in words for who made it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongCall(String);

impl From<lexopt::Error> for WrongCall {
    fn from(error: lexopt::Error) -> Self {
        WrongCall(error.to_string())
    }
}

/// Reads the arguments; the first one is the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, WrongCall> {
    let mut parser = lexopt::Parser::from_iter(arguments);
    let mut repository = None;
    let mut options =
        Options { repository: PathBuf::from("."), store: None, importers: 64, file: None };
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("store") => options.store = Some(parser.value()?.string()?),
            Long("file") => options.file = Some(parser.value()?),
            Long("importers") => options.importers = importers(&parser.value()?.string()?)?,
            Value(path) if repository.is_none() => repository = Some(PathBuf::from(path)),
            unknown => return Err(unknown.unexpected().into()),
        }
    }
    options.repository = repository.unwrap_or(options.repository);
    Ok(Command::Run(options))
}

fn importers(text: &str) -> Result<usize, WrongCall> {
    let number = text.parse().ok().filter(|number| (1..=MAX_IMPORTERS).contains(number));
    number.ok_or_else(|| WrongCall(format!("--importers {text}: must be 1 to {MAX_IMPORTERS}")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parsed(line: &str) -> Result<Command, WrongCall> {
        parse(std::iter::once("git_history").chain(line.split_whitespace()).map(OsString::from))
    }

    #[test]
    fn without_arguments_it_is_the_repository_of_the_current_directory() {
        let Ok(Command::Run(options)) = parsed("") else { panic!("refused") };
        assert_eq!(options.repository, Path::new("."));
        assert_eq!((options.store, options.file), (None, None));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, named) in [
            ("one two", "two"),
            ("--importers 0", "--importers 0: must be 1 to"),
            ("--importers many", "--importers many"),
            ("--store", "--store"),
            ("--stores x", "--stores"),
        ] {
            match parsed(line) {
                Err(error) => assert!(error.to_string().contains(named), "{line:?}: {error}"),
                Ok(_) => panic!("{line:?} was taken"),
            }
        }
    }
}
