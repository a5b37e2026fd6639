//! How many messages an actor works on at once. With that many the actor leaves further ones in its
//! mailbox, which is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The messages of one actor that are not answered, and their bytes.
#[derive(Clone, Debug)]
pub(super) struct InFlight(Arc<MessageCounts>);

#[derive(Debug)]
struct MessageCounts {
    max_messages: usize,
    max_bytes: usize,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    fewer: Notify,
}

/// One message, until it is dropped.
pub(super) struct OneInFlight(Arc<MessageCounts>, usize);

impl InFlight {
    pub(super) fn new(max_messages: usize, max_bytes: usize) -> Self {
        InFlight(Arc::new(MessageCounts {
            max_messages,
            max_bytes,
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            fewer: Notify::new(),
        }))
    }

    pub(super) fn add(&self, bytes: usize) -> OneInFlight {
        self.0.messages.fetch_add(1, Ordering::SeqCst);
        self.0.bytes.fetch_add(bytes, Ordering::SeqCst);
        OneInFlight(self.0.clone(), bytes)
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.messages.load(Ordering::SeqCst) >= self.0.max_messages
            || self.0.bytes.load(Ordering::SeqCst) >= self.0.max_bytes
    }

    /// Waits until there is room for another one. For one waiter: the actor.
    pub(super) async fn room(self) {
        while self.is_full() {
            // A notification that comes before this is stored, and not lost.
            self.0.fewer.notified().await;
        }
    }
}

impl Drop for OneInFlight {
    fn drop(&mut self) {
        self.0.bytes.fetch_sub(self.1, Ordering::SeqCst);
        self.0.messages.fetch_sub(1, Ordering::SeqCst);
        self.0.fewer.notify_one();
    }
}
