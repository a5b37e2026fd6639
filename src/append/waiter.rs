//! What a command waits for after its events are durable.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::Appended;
use crate::error::WaitError;

type Waiting = Pin<Box<dyn Future<Output = Result<(), WaitError>> + Send>>;

/// Waits until somebody has handled an append. This floor does not know consumers, so they come as
/// a closure.
#[derive(Clone)]
pub(crate) struct Waiter(Arc<dyn Fn(Appended) -> Waiting + Send + Sync>);

impl Waiter {
    pub(crate) fn new(wait: impl Fn(Appended) -> Waiting + Send + Sync + 'static) -> Self {
        Waiter(Arc::new(wait))
    }

    pub(crate) fn wait(&self, appended: &Appended) -> Waiting {
        (self.0)(appended.clone())
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiter")
    }
}
