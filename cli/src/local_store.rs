//! A redb store that is read: opened here, or through the door of the process that has it open.

use std::path::Path;
use std::sync::Arc;

#[cfg(unix)]
use seriatim::driver::door::DoorDriver;
use seriatim::driver::redb::{RedbDriver, Space, Verified};
use seriatim::driver::{Driver, DriverError};

use crate::progress::Progress;
use crate::target::Steps;

#[derive(Clone)]
pub(crate) enum LocalStore {
    Here(Arc<RedbDriver>, Steps),
    #[cfg(unix)]
    Door(Arc<DoorDriver>),
}

impl LocalStore {
    /// The store's owner, where it serves a door. `None` where nobody does.
    #[cfg(unix)]
    pub(crate) fn through_door(directory: &Path) -> Result<Option<Self>, DriverError> {
        use std::os::unix::fs::FileTypeExt;
        let door = std::fs::symlink_metadata(directory.join("door"));
        if !door.is_ok_and(|found| found.file_type().is_socket()) {
            return Ok(None);
        }
        DoorDriver::open(directory).map(|door| Some(LocalStore::Door(Arc::new(door))))
    }

    #[cfg(not(unix))]
    pub(crate) fn through_door(_directory: &Path) -> Result<Option<Self>, DriverError> {
        Ok(None)
    }

    /// The process that has the store open, unless it is this one.
    pub(crate) fn owner(&self) -> Option<u32> {
        match self {
            LocalStore::Here(..) => None,
            #[cfg(unix)]
            LocalStore::Door(door) => Some(door.owner_process()),
        }
    }

    pub(crate) fn driver(&self) -> Arc<dyn Driver> {
        match self {
            LocalStore::Here(driver, _) => driver.clone(),
            #[cfg(unix)]
            LocalStore::Door(door) => door.clone(),
        }
    }

    /// Blocks.
    pub(crate) fn space(&self) -> Result<Space, DriverError> {
        match self {
            LocalStore::Here(driver, _) => driver.space(),
            #[cfg(unix)]
            LocalStore::Door(door) => door.space(),
        }
    }

    /// Blocks.
    pub(crate) fn verify(&self, progress: Progress) -> Result<Verified, DriverError> {
        match self {
            LocalStore::Here(driver, steps) => {
                steps.show(progress);
                let verified = driver.verify();
                steps.end();
                verified
            }
            #[cfg(unix)]
            LocalStore::Door(door) => door.verify(|done, total| progress.set_of(done, total)),
        }
    }
}
