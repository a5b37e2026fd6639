//! Publishers: consumers that send events to another system.

use std::fmt::Display;

use crate::driver::async_trait;
use crate::event::KeyedEvent;

/// Sends events to another system, for [`Consumer::publish`](super::Consumer::publish).
///
/// Events come in commit order, and at least once: after a crash, those since the last checkpoint
/// are published again. A receiver recognises a repeated event by its
/// [`event_id`](KeyedEvent::event_id) or its position.
///
/// ```
/// use std::time::Duration;
/// use seriatim::driver::async_trait;
/// use seriatim::subscription::Publisher;
/// use seriatim::{Append, EventStore, KeyedEvent, NewEvent};
/// use tokio::sync::mpsc;
///
/// /// Sends events into a channel, as a stand-in for a broker.
/// struct Channel(mpsc::Sender<String>);
///
/// #[async_trait]
/// impl Publisher for Channel {
///     type Error = mpsc::error::SendError<String>;
///
///     async fn publish(&mut self, batch: &[KeyedEvent]) -> Result<(), Self::Error> {
///         for event in batch {
///             self.0.send(event.event_id().to_string()).await?;
///         }
///         Ok(())
///     }
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = EventStore::open("memory:").await?;
/// let (sender, mut sent) = mpsc::channel(16);
/// tokio::spawn(store.consumer("broker").publish(Channel(sender)));
/// store.append(Append::to("light/1").event(NewEvent::raw("SwitchedOn", "{}"))).await?;
/// assert!(sent.recv().await.is_some());
/// # Ok(()) }
/// ```
#[async_trait]
pub trait Publisher: Send + 'static {
    /// Why a batch could not be published. Its text goes into the log and into errors.
    type Error: Display + Send + 'static;

    /// Publishes these events (at least one). `Ok` means that they have arrived for good. After an
    /// error the same batch comes again.
    async fn publish(&mut self, batch: &[KeyedEvent]) -> Result<(), Self::Error>;
}
