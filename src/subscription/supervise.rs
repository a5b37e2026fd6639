//! Supervised consumers: run again after a failure, with pauses that grow.

use std::time::{Duration, Instant};

use super::consumer::Consumer;
use super::error::ConsumerError;
use super::run::Run;

impl Consumer {
    /// Runs the consumer, and runs it again after it failed. `make` makes each run, and can keep
    /// its [handle](Run::handle). The pauses in between start at `pause` and double up to
    /// `longest`; a run that lasts at least `longest` sets them back. A
    /// [rebuild](Consumer::rebuild) is done once.
    ///
    /// Ends with `Ok` when a run is stopped or the store closes.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use seriatim::EventStore;
    /// # async fn example(store: EventStore) -> Result<(), Box<dyn std::error::Error>> {
    /// let (pause, longest) = (Duration::from_millis(100), Duration::from_secs(60));
    /// let mailer = store.consumer("mailer").supervise(pause, longest, |consumer| {
    ///     consumer.run(|event| async move {
    ///         println!("a mail about {}", event.key);
    ///         Ok::<_, std::io::Error>(())
    ///     })
    /// });
    /// tokio::spawn(mailer).await??;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The [`ConsumerError`]s that a further run would meet too: an invalid name or one that is
    /// taken, no log, a position beyond the log.
    pub async fn supervise(
        mut self,
        pause: Duration,
        longest: Duration,
        mut make: impl FnMut(Consumer) -> Run + Send,
    ) -> Result<(), ConsumerError> {
        let mut next = pause;
        loop {
            let began = Instant::now();
            let Err(error) = make(self.clone()).await else { return Ok(()) };
            if error.is_lasting() {
                return Err(error);
            }
            if began.elapsed() >= longest {
                next = pause;
            }
            tracing::warn!(%error, pause = ?next, "a consumer failed, and is run again");
            let mailroom = self.mailroom().clone();
            mailroom.sleep(next).await;
            if mailroom.is_closed() {
                return Ok(());
            }
            next = next.saturating_mul(2).min(longest.max(pause));
            self.has_been_rebuilt();
        }
    }
}
