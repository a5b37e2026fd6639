//! How a put is written: one item by a conditional PutItem, several by one transaction.

use aws_sdk_dynamodb::error::{BuildError, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::{
    TransactWriteItemsError, TransactWriteItemsOutput,
};
use aws_sdk_dynamodb::types::{Put as PutAction, TransactWriteItem};
use uuid::Uuid;

use super::connection::DynamoDbTable;
use super::failure::{Cancelled, cancelled, classify, token_mismatch};
use super::item::{KEY, item};
use crate::driver::Put;
use crate::driver::remote::CallKind;
use crate::error::DriverError;
use crate::event::KeyedEvent;

impl DynamoDbTable {
    /// Sends a put once. Each item has the condition that nothing stands under its aggregate key
    /// and sequence, so a put that was written already is a conflict, or (by its token) a success;
    /// it is never written twice.
    pub(super) async fn send(&self, put: &Put) -> Result<(), DriverError> {
        match put.events() {
            [event] => self.put_item(event).await,
            events => self.transact(put.id(), events).await,
        }
    }

    async fn put_item(&self, event: &KeyedEvent) -> Result<(), DriverError> {
        let request = self.client.put_item().table_name(&self.table);
        let request = request.set_item(Some(item(event))).condition_expression(free());
        match request.send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(e))
                if matches!(e.err(), PutItemError::ConditionalCheckFailedException(_)) =>
            {
                Err(taken(event))
            }
            Err(error) => Err(classify(CallKind::Write, &self.doing("PutItem"), error)),
        }
    }

    async fn transact(&self, id: Uuid, events: &[KeyedEvent]) -> Result<(), DriverError> {
        let mut answer = self.transact_as(id, events).await?;
        if answer.as_ref().is_err_and(token_mismatch) {
            // The engine knows the put's id from another request: it compares requests more closely
            // than by what they mean, or has forgotten half of the first. The conditions alone
            // decide rightly, so the put goes out once more under an id that the engine cannot
            // know.
            answer = self.transact_as(Uuid::new_v4(), events).await?;
        }
        let Err(error) = answer else { return Ok(()) };
        let doing = self.doing("TransactWriteItems");
        let SdkError::ServiceError(e) = &error else {
            return Err(classify(CallKind::Write, &doing, error));
        };
        let TransactWriteItemsError::TransactionCanceledException(cancel) = e.err() else {
            return Err(classify(CallKind::Write, &doing, error));
        };
        Err(match cancelled(cancel.cancellation_reasons()) {
            Cancelled::Taken(index) => match events.get(index).or(events.first()) {
                Some(event) => taken(event),
                None => DriverError::failed(format!("{doing}: it refused an empty put")),
            },
            Cancelled::Passing(reason) => {
                DriverError::unavailable(format!("{doing}: {reason}")).caused_by(error)
            }
            Cancelled::Lasting(reason) => {
                DriverError::failed(format!("{doing}: {reason}")).caused_by(error)
            }
        })
    }

    /// One sending under this token. The outer error is a request that could not be made.
    async fn transact_as(
        &self,
        token: Uuid,
        events: &[KeyedEvent],
    ) -> Result<TransactionResult, DriverError> {
        let actions: Result<Vec<_>, BuildError> = events
            .iter()
            .map(|event| {
                let action = PutAction::builder().table_name(&self.table);
                let action = action.set_item(Some(item(event))).condition_expression(free());
                Ok(TransactWriteItem::builder().put(action.build()?).build())
            })
            .collect();
        let actions = actions.map_err(|e| {
            DriverError::failed(format!("{}: {e}", self.doing("TransactWriteItems")))
        })?;
        let request = self.client.transact_write_items().client_request_token(token.to_string());
        Ok(request.set_transact_items(Some(actions)).send().await)
    }
}

type TransactionResult = Result<TransactWriteItemsOutput, SdkError<TransactWriteItemsError>>;

fn free() -> String {
    format!("attribute_not_exists({KEY})")
}

fn taken(event: &KeyedEvent) -> DriverError {
    DriverError::Conflict { key: event.key.clone(), sequence: event.sequence }
}
