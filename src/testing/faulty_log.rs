//! The log of a [`FaultyDriver`]: that of the driver inside, with checkpoints that fail on demand.

use bytes::Bytes;

use super::faulty_driver::{CheckpointFault, FaultyDriver, read_fault};
use crate::driver::{DriverError, LogBell, LogFetch, LogPage, LogStore, async_trait};
use crate::event::Position;

impl FaultyDriver {
    fn inner_log(&self) -> Result<&dyn LogStore, DriverError> {
        self.inner.log().ok_or(DriverError::Closed)
    }
}

#[async_trait]
impl LogStore for FaultyDriver {
    fn log_page_now(&self, fetch: LogFetch) -> Result<LogPage, DriverError> {
        self.inner_log()?.log_page_now(fetch)
    }

    fn last_position(&self) -> Result<Position, DriverError> {
        self.inner_log()?.last_position()
    }

    fn bell(&self) -> &LogBell {
        self.inner.log().map_or(&self.silent_bell, |log| log.bell())
    }

    async fn load_checkpoint(&self, name: &str) -> Result<Option<Bytes>, DriverError> {
        let fault = self.plan().checkpoint_loads.pop_front();
        match fault {
            Some(fault) => read_fault(fault).await,
            None => self.inner_log()?.load_checkpoint(name).await,
        }
    }

    async fn save_checkpoint(&self, name: &str, checkpoint: Bytes) -> Result<(), DriverError> {
        let fault = self.plan().checkpoints.pop_front();
        match fault {
            Some(CheckpointFault::Fails(error)) => Err(error),
            Some(CheckpointFault::SavedThenFails(error)) => {
                self.inner_log()?.save_checkpoint(name, checkpoint).await?;
                Err(error)
            }
            Some(CheckpointFault::Hangs) => std::future::pending().await,
            None => self.inner_log()?.save_checkpoint(name, checkpoint).await,
        }
    }
}
