//! Making the names in a directory durable.

use std::fs::File;
use std::io;
use std::path::Path;

/// A name that was made, changed or removed in the directory survives a loss of power after this.
/// Windows has no such call, and needs none.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}
