//! The consumers of a store, listed by name and deleted.

use super::checkpoint::ConsumerRecords;
use super::consumer::Consumer;
use super::error::ConsumerError;
use super::log::last_position;
use crate::event::Position;
use crate::store::EventStore;

/// How far a consumer is, from [`EventStore::consumers`].
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
/// let mailer = run.handle();
/// let running = tokio::spawn(run);
/// mailer.stop();
/// running.await??;
/// for consumer in store.consumers().await? {
///     println!("{}: {} events behind, {} parked", consumer.name, consumer.lag, consumer.parked);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStatus {
    /// Its name.
    pub name: String,
    /// Whether it runs in this process.
    pub is_running: bool,
    /// The position up to which it has handled everything: while it runs, its own; otherwise the
    /// one in its checkpoint.
    pub position: Position,
    /// The number of events after its position, wanted or not.
    pub lag: u64,
    /// The number of its parked aggregates.
    pub parked: usize,
}

impl EventStore {
    /// The consumers that have run on this store and were not deleted, in order of their names.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`].
    pub async fn consumers(&self) -> Result<Vec<ConsumerStatus>, ConsumerError> {
        let mailroom = self.mailroom();
        let last = last_position(mailroom)?;
        let mut consumers = Vec::new();
        for name in ConsumerRecords::names(mailroom).await? {
            let records = ConsumerRecords::new(mailroom.clone(), name.as_str().into());
            let running = mailroom.consumers.position(&name);
            let stored = records.checkpoint().await?.map(|checkpoint| checkpoint.position);
            let position = stored.max(running).unwrap_or_default();
            consumers.push(ConsumerStatus {
                is_running: running.is_some(),
                position,
                lag: last.get().saturating_sub(position.get()),
                parked: records.parked().await?.len(),
                name,
            });
        }
        Ok(consumers)
    }
}

impl Consumer {
    /// Forgets the consumer: its checkpoint, and what is parked. A projection's own state and
    /// position are not touched. Run again, the consumer begins as if for the first time. Reactions
    /// are recognised as done all the same, as long as the consumer has the same name.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Owned`] while it runs.
    pub async fn delete(&self) -> Result<(), ConsumerError> {
        let (records, _claim) = self.records_at_rest()?;
        records.delete().await
    }
}
