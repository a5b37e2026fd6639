//! A running consumer, as a future.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc;

use super::error::ConsumerError;
use super::handle::ConsumerHandle;
use super::handler::Handler;
use super::plan::ConsumerPlan;
use super::progress::{Claim, ConsumerProgress, ParkedRequest};
use super::worker::{RunEnd, Worker};

/// A running consumer: a future to spawn or await. It ends with `Ok` when it was stopped or the
/// store closed, otherwise with the error. When it is dropped, the events handled since the last
/// checkpoint come again in the next run.
///
/// ```
/// use seriatim::{EventStore, KeyedEvent};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let run = store.consumer("mailer").run(|event: KeyedEvent| async move {
///     println!("a mail about {}", event.key);
///     Ok::<_, std::io::Error>(())
/// });
/// let mailer = run.handle(); // before it is spawned
/// let running = tokio::spawn(run);
/// mailer.stop();
/// running.await??;
/// # Ok(()) }
/// ```
#[must_use = "a consumer does nothing until it is spawned or awaited"]
pub struct Run {
    handle: ConsumerHandle,
    work: Pin<Box<dyn Future<Output = Result<(), ConsumerError>> + Send>>,
}

impl Run {
    pub(super) fn new(plan: ConsumerPlan, handler: Box<dyn Handler>) -> Self {
        let (progress, retries) = ConsumerProgress::new(plan.mailroom().clone(), plan.name.clone());
        let handle = ConsumerHandle { progress: progress.clone() };
        let end = EndSignal(progress);
        Run { handle, work: Box::pin(work(plan, handler, retries, end)) }
    }

    /// A handle that stops the consumer, waits for it and reports its position.
    pub fn handle(&self) -> ConsumerHandle {
        self.handle.clone()
    }
}

impl Future for Run {
    type Output = Result<(), ConsumerError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().work.as_mut().poll(cx)
    }
}

/// Tells the handles that the consumer has ended, however it ended.
struct EndSignal(Arc<ConsumerProgress>);

impl Drop for EndSignal {
    fn drop(&mut self) {
        self.0.end();
    }
}

async fn work(
    plan: ConsumerPlan,
    handler: Box<dyn Handler>,
    mut retries: mpsc::UnboundedReceiver<ParkedRequest>,
    end: EndSignal,
) -> Result<(), ConsumerError> {
    let _claim = Claim::of(&end.0)?;
    let mut worker = Worker::begin(plan, handler, end.0.clone()).await?;
    match worker.work(&mut retries).await {
        Err(RunEnd::Failed(error)) => {
            // The checkpoint counts what was handled before the failure.
            let _ = worker.save().await;
            Err(error)
        }
        Ok(()) | Err(RunEnd::Stopped) => match worker.save().await {
            Err(ConsumerError::Closed) => Ok(()),
            saved => saved,
        },
    }
}
