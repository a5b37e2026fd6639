//! Ctrl-C: the first one lets the command end cleanly, the second one ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::exit::{Error, Exit, Result};

/// Whether the user wants the command to end.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<Shared>);

#[derive(Default)]
struct Shared {
    requested: AtomicBool,
    wake: Notify,
}

impl Interrupt {
    /// Listens for Ctrl-C from now on.
    pub(crate) fn listen(&self) {
        let shared = self.0.clone();
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if shared.requested.swap(true, Ordering::AcqRel) {
                    // A redb store survives this: opening it again replays its journal.
                    std::process::exit(Exit::Interrupted.code().into());
                }
                shared.wake.notify_waiters();
            }
        });
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::Acquire)
    }

    /// Fails once the user wants the command to end. Loops call it per page.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_requested() { Err(Error::interrupted()) } else { Ok(()) }
    }

    /// Waits until the user wants the command to end.
    pub(crate) async fn requested(&self) {
        let mut woken = std::pin::pin!(self.0.wake.notified());
        woken.as_mut().enable();
        if !self.is_requested() {
            woken.await;
        }
    }

    /// The future's answer, unless the user wants the command to end before it.
    pub(crate) async fn or<T>(&self, future: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            answer = future => Ok(answer),
            () = self.requested() => Err(Error::interrupted()),
        }
    }
}
