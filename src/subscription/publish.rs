//! Publishing outwards.

use std::fmt::Display;

use crate::driver::async_trait;
use crate::event::KeyedEvent;

/// Sends events to somewhere outside, for [`Consumer::publish`](super::Consumer::publish).
///
/// Events come in commit order, so those of one aggregate are in order, and at least once: after a crash, those
/// since the last checkpoint are published again. A receiver that minds knows a repeated event by its
/// [`event_id`](KeyedEvent::event_id), or by its position.
#[async_trait]
pub trait Publisher: Send + 'static {
    /// Why a batch could not be published. What it displays is what people are told.
    type Error: Display + Send;

    /// Publishes these events (at least one); `Ok` means that they have arrived for good. After an error the
    /// same batch comes again.
    async fn publish(&mut self, batch: &[KeyedEvent]) -> Result<(), Self::Error>;
}
