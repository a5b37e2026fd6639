//! The open table: how it is spoken of, and how a call on it is tried.

use aws_sdk_dynamodb::Client;

use crate::driver::Limits;
use crate::driver::remote::{CallKind, RetryPolicy, late};
use crate::error::DriverError;

/// The client and what it speaks of.
pub(super) struct DynamoDbTable {
    pub(super) client: Client,
    pub(super) table: String,
    /// The endpoint or the region, for messages.
    pub(super) address: String,
    pub(super) policy: RetryPolicy,
    pub(super) limits: Limits,
}

impl DynamoDbTable {
    /// An operation, where it was done: the beginning of every message of a failure.
    pub(super) fn doing(&self, operation: &str) -> String {
        format!("DynamoDB, {operation} on the table {} at {}", self.table, self.address)
    }

    /// Runs `attempt` until the deadline, see [`crate::driver::remote::RetryPolicy`].
    pub(super) async fn retry<T, R>(
        &self,
        call: CallKind,
        operation: &str,
        attempt: impl FnMut() -> R,
    ) -> Result<T, DriverError>
    where
        R: Future<Output = Result<T, DriverError>>,
    {
        self.policy.run(|| late(call, &self.doing(operation)), attempt).await
    }
}
