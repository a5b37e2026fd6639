//! The open collection: how it is spoken of, and how a call on it is tried.

use std::time::Duration;

use ::mongodb::Collection;
use ::mongodb::bson::RawDocumentBuf;
use ::mongodb::options::ReadConcern;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::driver::remote::{CallKind, RetryPolicy, late};
use crate::error::DriverError;

/// Less than this is no time to send in: the answer would not be heard.
const LEAST_TIME: Duration = Duration::from_millis(20);

/// The collection, and how it is spoken of.
pub(super) struct MongoDbCollection {
    pub(super) collection: Collection<RawDocumentBuf>,
    pub(super) snapshots: Collection<RawDocumentBuf>,
    /// The collection and its hosts, for messages.
    pub(super) name: String,
    pub(super) policy: RetryPolicy,
    /// As many calls at once as the client's pool has connections.
    pub(super) calls: Semaphore,
    pub(super) pool: u32,
    /// How a read sees that decides a put's fate.
    pub(super) deciding: ReadConcern,
}

impl MongoDbCollection {
    /// An operation, where it was done: the beginning of every message of a failure.
    pub(super) fn doing(&self, operation: &str) -> String {
        format!("MongoDB, {operation} on {}", self.name)
    }

    pub(super) async fn retry<T, R>(
        &self,
        call: CallKind,
        operation: &str,
        attempt: impl FnMut() -> R,
    ) -> Result<T, DriverError>
    where
        R: Future<Output = Result<T, DriverError>>,
    {
        let deadline = Instant::now() + self.policy.deadline();
        let waiting =
            timeout_at(deadline - LEAST_TIME.min(self.policy.deadline()), self.calls.acquire());
        let Ok(Ok(_call)) = waiting.await else {
            return Err(DriverError::unavailable(format!(
                "{}: all {} connections were busy until the timeout, so nothing was sent: add \
                 ?maxPoolSize=… for more",
                self.doing(operation),
                self.pool
            )));
        };
        self.policy.run_until(deadline, || late(call, &self.doing(operation)), attempt).await
    }
}
