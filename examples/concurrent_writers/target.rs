//! The store under load: how it is opened, opened again, and what is left of it afterwards.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use seriatim::driver::memory::MemoryDriver;
use seriatim::{EventStore, OpenError};
use tempfile::TempDir;

pub(crate) enum Target {
    /// Closing would lose what is in memory, so each opening is a fresh driver over the same events.
    Memory(MemoryDriver),
    Url(String),
    /// redb in a folder that goes away at the end.
    Temporary(TempDir),
}

impl Target {
    /// The store of this URL, or else a fresh one in a temporary folder.
    pub(crate) fn choose(url: Option<&str>) -> io::Result<Self> {
        Ok(match url {
            Some("memory:") => Target::Memory(MemoryDriver::new()),
            Some(url) => Target::Url(url.to_owned()),
            None => Target::Temporary(tempfile::Builder::new().prefix("seriatim-load-").tempdir()?),
        })
    }

    /// As it may be shown: without a user's name and password, and without options, some of which are
    /// keys.
    pub(crate) fn place(&self) -> String {
        let url = self.url();
        let Some((scheme, rest)) = url.split_once("://") else { return url };
        let place = rest.split('?').next().unwrap_or(rest);
        format!("{scheme}://{}", place.rsplit('@').next().unwrap_or(place))
    }

    fn url(&self) -> String {
        match self {
            Target::Memory(_) => "memory:".to_owned(),
            Target::Url(url) => url.clone(),
            Target::Temporary(directory) => format!("redb:{}", directory.path().display()),
        }
    }

    /// The store in words.
    pub(crate) fn name(&self) -> String {
        match self {
            Target::Temporary(_) => "redb in a temporary folder".to_owned(),
            Target::Memory(_) | Target::Url(_) => self.place(),
        }
    }

    pub(crate) fn outlasts_the_process(&self) -> bool {
        !matches!(self, Target::Memory(_))
    }

    pub(crate) async fn open(&self) -> Result<EventStore, OpenError> {
        match self {
            Target::Memory(driver) => {
                EventStore::builder().driver(Arc::new(driver.reopen())).open().await
            }
            Target::Url(_) | Target::Temporary(_) => EventStore::open(self.url()).await,
        }
    }

    /// Leaves the temporary folder where it is, if there is one, and says where that is.
    pub(crate) fn keep(self) -> Option<PathBuf> {
        match self {
            Target::Temporary(directory) => Some(directory.keep()),
            Target::Memory(_) | Target::Url(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        for (url, place) in [
            ("mongodb://me:secret@a:1,b:2/seriatim?create=true", "mongodb://a:1,b:2/seriatim"),
            ("azure-tables://account/t?key=secret", "azure-tables://account/t"),
            ("redb:./what?", "redb:./what?"),
        ] {
            assert_eq!(Target::choose(Some(url)).unwrap().place(), place);
        }
    }
}
