//! The store's own actix `System`, on a thread of its own, from opening to closing.
//!
//! The driver is opened, polled and closed only here and on the arbiters. It therefore never
//! depends on a caller's runtime, and does not end with it.

use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use actix::{Actor, System};
use futures_util::future::join;
use tokio::sync::{mpsc, oneshot, watch};

use super::actor;
use super::arbiters::Arbiters;
use super::mailroom::Mailroom;
use super::shared::Config;
use super::supervisor::{Started, Supervisor};
use crate::driver::bounded::{bounded, guarded};
use crate::driver::{Driver, DriverError};
use crate::error::{CloseError, OpenError};
use crate::user_code;

/// Opens the driver; called and polled on the store's own runtime.
pub(crate) type OpenDriver = Box<dyn FnOnce() -> DriverBeingOpened + Send>;
type DriverBeingOpened = Pin<Box<dyn Future<Output = Result<Arc<dyn Driver>, OpenError>>>>;

/// The running threads of a store. Dropping it closes the store in the background.
pub(crate) struct Runtime {
    /// A message, or the end of all senders, begins the closing.
    close: mpsc::UnboundedSender<()>,
    closed: watch::Receiver<Option<Result<(), CloseError>>>,
}

impl Runtime {
    /// Starts the threads, opens the driver and returns the mailroom. Works from any runtime, and
    /// without one.
    pub(crate) async fn start(
        config: Config,
        open: OpenDriver,
    ) -> Result<(Self, Arc<Mailroom>), OpenError> {
        let (opened, ready) = oneshot::channel();
        let (close, closing) = mpsc::unbounded_channel();
        let (report, closed) = watch::channel(None);
        thread::Builder::new()
            .name("seriatim".to_owned())
            .spawn(move || {
                let system = System::new();
                system.block_on(run(config, open, opened, closing, report));
            })
            .map_err(|error| OpenError::Runtime { message: error.to_string() })?;
        let mailroom = ready.await.unwrap_or_else(|_| {
            Err(OpenError::Runtime { message: "the store's thread ended while opening".to_owned() })
        })?;
        Ok((Runtime { close, closed }, mailroom))
    }

    /// Begins the closing (once) and waits for its end.
    pub(crate) async fn close(&self) -> Result<(), CloseError> {
        // The receiver is gone only after closing has begun.
        let _ = self.close.send(());
        let mut closed = self.closed.clone();
        match user_code::with_guarded_waker(closed.wait_for(Option::is_some)).await {
            Ok(report) => report.clone().unwrap_or(Ok(())),
            Err(_) => Err(CloseError::Driver(DriverError::failed("the store's thread died"))),
        }
    }
}

async fn run(
    config: Config,
    open: OpenDriver,
    opened: oneshot::Sender<Result<Arc<Mailroom>, OpenError>>,
    mut closing: mpsc::UnboundedReceiver<()>,
    report: watch::Sender<Option<Result<(), CloseError>>>,
) {
    let driver = match guarded(open).await {
        Ok(Ok(driver)) => driver,
        Ok(Err(error)) => {
            let _ = opened.send(Err(error));
            return;
        }
        Err(_panic) => {
            let message = "the driver panicked while opening".to_owned();
            let _ = opened.send(Err(OpenError::Runtime { message }));
            return;
        }
    };
    let arbiters = match Arbiters::start(config.arbiters, driver.needs_io()) {
        Ok(arbiters) => arbiters,
        Err(error) => {
            // Nothing was put yet, so a failed close loses nothing.
            let _ = close_driver(&driver, config.close_deadline).await;
            let _ = opened.send(Err(OpenError::Runtime { message: error.to_string() }));
            return;
        }
    };
    let mailroom = Arc::new(Mailroom::new(driver, config, arbiters, actor::start));
    let supervisor = Supervisor::new(mailroom.clone()).start();
    // Waits until its timers are set: a store that is closed at once would drop them outside of the
    // runtime that they need.
    let _ = supervisor.send(Started).await;
    if opened.send(Ok(mailroom.clone())).is_ok() {
        // `None` when the last handle was dropped, which closes too.
        closing.recv().await;
    }
    let result = shut_down(&mailroom).await;
    drop(supervisor);
    let _ = report.send(Some(result));
}

/// Lets what was admitted finish and consumers save their checkpoints, then closes the driver.
async fn shut_down(mailroom: &Mailroom) -> Result<(), CloseError> {
    mailroom.stop_admission();
    let deadline = mailroom.config.close_deadline;
    // Consumers save their checkpoints while the driver is open.
    let ending = join(mailroom.admission.drained(), mailroom.consumers.end_all());
    let drained = tokio::time::timeout(deadline, ending).await;
    let unfinished = mailroom.admission.admitted();
    // Whoever still waits gets an answer: for bytes, for a permit, or for a put.
    mailroom.admission.give_up();
    mailroom.registry().clear();
    let closed = close_driver(&mailroom.driver, deadline).await;
    mailroom.arbiters.stop();
    if drained.is_err() && unfinished > 0 {
        return Err(CloseError::Unfinished { unfinished, deadline });
    }
    Ok(closed?)
}

/// A driver that hangs or panics while it closes has failed to close.
async fn close_driver(driver: &Arc<dyn Driver>, deadline: Duration) -> Result<(), DriverError> {
    let closed = bounded(deadline, || driver.close()).await;
    closed.unwrap_or_else(|no_answer| Err(no_answer.to_close()))
}
