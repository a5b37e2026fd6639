//! What a command ends with: its exit code, and the message that goes with it.
//!
//! The codes are a promise to scripts. [`Exit::ALL`] is the one list of them: `--help`, the man
//! page and the README say the same, and a test compares.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use seriatim::backup::BackupError;
use seriatim::driver::DriverError;
use seriatim::{AppendError, CloseError, OpenError, ReadError};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Success,
    Failed,
    Usage,
    NotFound,
    Conflict,
    Damaged,
    InUse,
    Io,
    Unavailable,
    Unknown,
    Unsupported,
    BadInput,
    Interrupted,
}

impl Exit {
    pub(crate) const ALL: [Exit; 13] = [
        Exit::Success,
        Exit::Failed,
        Exit::Usage,
        Exit::NotFound,
        Exit::Conflict,
        Exit::Damaged,
        Exit::InUse,
        Exit::Io,
        Exit::Unavailable,
        Exit::Unknown,
        Exit::Unsupported,
        Exit::BadInput,
        Exit::Interrupted,
    ];

    pub(crate) const fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::Conflict => 4,
            Exit::Damaged => 5,
            Exit::InUse => 6,
            Exit::Io => 7,
            Exit::Unavailable => 8,
            Exit::Unknown => 9,
            Exit::Unsupported => 10,
            Exit::BadInput => 11,
            Exit::Interrupted => 130,
        }
    }

    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Exit::Success => "success; also when the reader of a pipe went away",
            Exit::Failed => "the command failed for a reason that has no code of its own",
            Exit::Usage => "wrong arguments, or a store's URL that this build cannot open",
            Exit::NotFound => "there is no such store, aggregate, consumer or file",
            Exit::Conflict => {
                "the aggregate's latest sequence is another one, or other content is there"
            }
            Exit::Damaged => "the store is damaged, or a later version wrote it",
            Exit::InUse => "another process has the store open",
            Exit::Io => "a file could not be read or written: missing rights, a full disk …",
            Exit::Unavailable => "the engine did not answer or is overloaded; try again",
            Exit::Unknown => "it is not known whether the events were written; try again as told",
            Exit::Unsupported => "the store's driver cannot do this",
            Exit::BadInput => "the input holds something that is no event, or is over a limit",
            Exit::Interrupted => "interrupted by Ctrl-C",
        }
    }
}

/// The list of exit codes for `--help` and the man page.
pub(crate) fn exit_codes() -> String {
    let mut text = String::from("Exit codes:\n");
    for exit in Exit::ALL {
        text += &format!("  {:>3}  {}\n", exit.code(), exit.meaning());
    }
    text.trim_end().to_owned()
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Error {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// The reader of standard output went away, which is no failure.
    pub(crate) is_broken_pipe: bool,
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Error { exit, message: message.into(), hint: None, is_broken_pipe: false }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Error::new(Exit::Usage, message)
    }

    pub(crate) fn bad_input(message: impl Into<String>) -> Self {
        Error::new(Exit::BadInput, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Error::new(Exit::NotFound, message)
    }

    pub(crate) fn interrupted() -> Self {
        Error::new(Exit::Interrupted, "interrupted")
    }

    /// The failure of a file's operation; `what` names the file.
    pub(crate) fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::Io,
        };
        Error::new(exit, format!("{what}: {error}"))
    }

    /// A failure to write to standard output.
    pub(crate) fn output(error: &io::Error) -> Self {
        let mut failure = Error::new(Exit::Io, format!("standard output: {error}"));
        failure.is_broken_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        failure
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure; the message begins with what it is about.
    pub(crate) fn about(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

fn driver_exit(error: &DriverError) -> Exit {
    match error {
        DriverError::Conflict { .. } | DriverError::Gap { .. } => Exit::Conflict,
        DriverError::LimitExceeded(_) => Exit::BadInput,
        DriverError::Unsupported { .. } => Exit::Unsupported,
        DriverError::Damaged { .. } => Exit::Damaged,
        DriverError::Unknown { .. } => Exit::Unknown,
        DriverError::Unavailable { .. } => Exit::Unavailable,
        _ if io_cause(error).is_some() => Exit::Io,
        _ => Exit::Failed,
    }
}

/// The operating system's error behind a driver's.
pub(crate) fn io_cause(error: &DriverError) -> Option<&io::Error> {
    let (DriverError::Failed { source, .. }
    | DriverError::Unavailable { source, .. }
    | DriverError::Unknown { source, .. }) = error
    else {
        return None;
    };
    let mut cause: Option<&(dyn StdError + 'static)> = source.as_deref().map(|e| e as _);
    while let Some(found) = cause {
        if let Some(io) = found.downcast_ref() {
            return Some(io);
        }
        cause = found.source();
    }
    None
}

impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        Error::new(driver_exit(&error), error.to_string())
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        let exit = match &error {
            ReadError::InvalidKey(_) => Exit::Usage,
            ReadError::Driver(source) => driver_exit(source),
            ReadError::Timeout { .. } => Exit::Unavailable,
            ReadError::NoLog(_) => Exit::Unsupported,
            _ => Exit::Failed,
        };
        Error::new(exit, error.to_string())
    }
}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        let exit = match &error {
            AppendError::Conflict { .. } | AppendError::CommitIdReused { .. } => Exit::Conflict,
            AppendError::InvalidKey(_) | AppendError::Empty { .. } => Exit::Usage,
            AppendError::InvalidEvent { .. } | AppendError::TooLarge { .. } => Exit::BadInput,
            AppendError::Indeterminate { .. } => Exit::Unknown,
            AppendError::Driver { source, .. } => driver_exit(source),
            AppendError::Timeout { .. } | AppendError::Busy { .. } => Exit::Unavailable,
            _ => Exit::Failed,
        };
        let failure = Error::new(exit, error.to_string());
        match &error {
            AppendError::Indeterminate { commit_id, .. } => failure.hint(format!(
                "run the same command with --commit-id {commit_id}: it is written once, or found"
            )),
            AppendError::Conflict { actual, .. } => failure
                .hint(format!("read what is new, decide again, and append with --expect {actual}")),
            _ => failure,
        }
    }
}

impl From<BackupError> for Error {
    fn from(error: BackupError) -> Self {
        let exit = match &error {
            BackupError::Io { path, source } => return Error::io(path.display(), source),
            BackupError::NoBackup { .. } => Exit::NotFound,
            BackupError::NotEmpty { .. }
            | BackupError::OtherStore { .. }
            | BackupError::OtherEvents { .. } => Exit::Conflict,
            BackupError::InUse { .. } => Exit::InUse,
            BackupError::Damaged { .. } => Exit::Damaged,
            BackupError::EndsBefore { .. } => Exit::Usage,
            BackupError::Driver(source) => driver_exit(source),
            BackupError::NoLog(_) => Exit::Unsupported,
            BackupError::Read(source) => return Error::from(source.clone()),
            _ => Exit::Failed,
        };
        let message = error.to_string();
        match error {
            BackupError::NotEmpty { .. } | BackupError::OtherStore { .. } => {
                Error::new(exit, message).hint("name another directory for this store's backup")
            }
            BackupError::OtherEvents { .. } => {
                Error::new(exit, message).hint("restore into a store that is absent or empty")
            }
            BackupError::Damaged { .. } => Error::new(exit, message)
                .hint("use another copy of the backup, or begin one in another directory"),
            BackupError::NoLog(_) => Error::new(exit, message)
                .hint("for a store without a log use `seriatim export` and `seriatim import`"),
            _ => Error::new(exit, message),
        }
    }
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        let exit = match &error {
            OpenError::UnknownScheme { .. } => Exit::Usage,
            OpenError::Driver { source, .. } => driver_exit(source),
            _ => Exit::Failed,
        };
        Error::new(exit, error.to_string())
    }
}

impl From<CloseError> for Error {
    fn from(error: CloseError) -> Self {
        let exit = match &error {
            CloseError::Driver(source) => driver_exit(source),
            _ => Exit::Failed,
        };
        Error::new(exit, error.to_string())
    }
}
