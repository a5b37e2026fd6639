//! Publishers: consumers that send events to another system.

use std::fmt::Display;

use crate::driver::async_trait;
use crate::event::KeyedEvent;

/// Sends events to another system, for [`Consumer::publish`](super::Consumer::publish).
///
/// Events come in commit order, and at least once: after a crash, those since the last checkpoint
/// are published again. A receiver recognises a repeated event by its
/// [`event_id`](KeyedEvent::event_id) or its position.
#[async_trait]
pub trait Publisher: Send + 'static {
    /// Why a batch could not be published. Its text goes into the log and into errors.
    type Error: Display + Send;

    /// Publishes these events (at least one). `Ok` means that they have arrived for good. After an
    /// error the same batch comes again.
    async fn publish(&mut self, batch: &[KeyedEvent]) -> Result<(), Self::Error>;
}
