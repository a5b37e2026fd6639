//! What every command has: where its answer goes, and how it is told to end.

use std::sync::Arc;

use seriatim::EventStore;
use seriatim::driver::Driver;

use crate::exit::Result;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::say;
use crate::target::{Target, Wanted};

pub(crate) struct App {
    pub(crate) out: Output,
    pub(crate) interrupt: Interrupt,
    pub(crate) quiet: bool,
    /// The store is open in another process and read through its door.
    pub(crate) is_through_door: bool,
}

impl App {
    /// Progress belongs beside an answer, not into it.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet
    }

    /// A message for a person.
    pub(crate) fn note(&self, message: &str) {
        if !self.quiet {
            say(message);
        }
    }

    /// Opens the store's driver, works, and closes it whatever came of the work.
    pub(crate) async fn with_driver<T>(
        &mut self,
        url: &str,
        wanted: Wanted,
        work: impl AsyncFnOnce(&mut App, &Arc<dyn Driver>) -> Result<T>,
    ) -> Result<T> {
        let driver = Target::parse(url)?.open_driver(self, wanted).await?;
        let done = work(self, &driver).await;
        let closed = driver.close().await;
        let done = done?;
        closed?;
        Ok(done)
    }

    /// Opens the store, works, and closes it whatever came of the work.
    pub(crate) async fn with_store<T>(
        &mut self,
        url: &str,
        wanted: Wanted,
        work: impl AsyncFnOnce(&mut App, &EventStore) -> Result<T>,
    ) -> Result<T> {
        let store = Target::parse(url)?.open_store(self, wanted).await?;
        let done = work(self, &store).await;
        let closed = store.close().await;
        let done = done?;
        closed?;
        Ok(done)
    }
}
