//! The directory of a store: made, told apart from others, and locked.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::driver::DriverError;
use crate::sync_directory::sync_directory;

const FORMAT: &str = "seriatim redb 1\n";

/// How long a holder of the lock may take to let go before it is an error. A driver that was
/// dropped without being closed still applies its tail, and a process that is starting a child
/// shares its locks with it for a moment.
const LET_GO: Duration = Duration::from_millis(500);

/// A directory that this process holds the lock of, until dropped.
pub(in crate::driver::redb) struct Directory {
    /// Absolute, without links: a change of the working directory or of a link changes nothing.
    path: PathBuf,
    lock: File,
}

impl Directory {
    pub(in crate::driver::redb) fn open(path: &Path) -> Result<Self, DriverError> {
        let failed = |what: &str, error: std::io::Error| {
            DriverError::failed(format!("{}: {what}: {error}", path.display())).caused_by(error)
        };
        if path.exists() && !path.is_dir() {
            return Err(DriverError::failed(format!(
                "{}: is a file; a store needs a directory",
                path.display()
            )));
        }
        make_directory(path).map_err(|e| failed("the directory could not be made", e))?;
        let path = &path
            .canonicalize()
            .map_err(|e| failed("the directory could not be found again", e))?;
        let lock = lock(path).map_err(|error| match error {
            Locked::Held(holder) => DriverError::failed(format!(
                "{}: the store is open already, by {holder}",
                path.display()
            )),
            Locked::Io(error) => failed("the directory could not be locked", error),
        })?;
        let directory = Directory { path: path.clone(), lock };
        directory.check_format().map_err(|error| match error {
            Format::Unknown(found) => DriverError::damaged(format!(
                "{}: the store's format is {found:?}; this version knows {:?}",
                path.display(),
                FORMAT.trim_end()
            )),
            Format::Io(error) => failed("the store's format could not be read or written", error),
        })?;
        Ok(directory)
    }

    pub(in crate::driver::redb) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails if the path no longer leads to the directory that was locked: it was moved, removed or
    /// replaced, and what stands there now may be another store's. Windows forbids all of that
    /// while a file in it is open. A replacement between this look and the use of a path is not
    /// seen: the standard library opens nothing relative to an open directory.
    pub(in crate::driver::redb) fn check_place(&self) -> std::io::Result<()> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let identity = |file: fs::Metadata| (file.dev(), file.ino());
            let there = fs::metadata(self.file("lock")).map(identity).ok();
            if there != Some(identity(self.lock.metadata()?)) {
                return Err(std::io::Error::other(format!(
                    "{}: the directory was moved or replaced while the store was open",
                    self.path.display()
                )));
            }
        }
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn check_format(&self) -> Result<(), Format> {
        match fs::read(self.file("format")) {
            Ok(found) if found == FORMAT.as_bytes() => Ok(()),
            Ok(found) => {
                Err(Format::Unknown(String::from_utf8_lossy(&found).trim_end().to_owned()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if self.file("events.redb").exists() {
                    return Err(Format::Unknown("not written down".to_owned()));
                }
                self.write_format().map_err(Format::Io)
            }
            Err(error) => Err(Format::Io(error)),
        }
    }

    /// Renamed into place when it is durable, so that a crash leaves all of it or nothing.
    fn write_format(&self) -> std::io::Result<()> {
        let unfinished = self.file("format.new");
        let mut file = File::create(&unfinished)?;
        file.write_all(FORMAT.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, self.file("format"))?;
        sync_directory(&self.path).inspect_err(|_| {
            // A later flush may succeed without this name. The next opening writes it again.
            let _ = fs::remove_file(self.file("format"));
        })
    }
}

/// Makes a directory and its missing parents, each durable in the one above it.
fn make_directory(path: &Path) -> std::io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|above| !above.exists()).collect();
    fs::create_dir_all(path)?;
    for made in missing {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty());
        sync_directory(above.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

enum Locked {
    Held(String),
    Io(std::io::Error),
}

enum Format {
    Unknown(String),
    Io(std::io::Error),
}

fn lock(path: &Path) -> Result<File, Locked> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join("lock"))
        .map_err(Locked::Io)?;
    let began = Instant::now();
    let mut locked = file.try_lock();
    while matches!(locked, Err(TryLockError::WouldBlock)) && began.elapsed() < LET_GO {
        sleep(Duration::from_millis(10));
        locked = file.try_lock();
    }
    match locked {
        Ok(()) => {
            let holder = format!("process {}", std::process::id());
            file.set_len(0).map_err(Locked::Io)?;
            file.rewind().map_err(Locked::Io)?;
            file.write_all(holder.as_bytes()).map_err(Locked::Io)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The name is a help, not a condition: Windows forbids reading a locked file.
            if file.read_to_string(&mut holder).is_err() || holder.is_empty() {
                holder = "another process".to_owned();
            }
            // A forked child shares the lock.
            Err(Locked::Held(format!("{holder} or a child that it forked")))
        }
        Err(TryLockError::Error(error)) => Err(Locked::Io(error)),
    }
}
