//! Snapshots: the item under an aggregate's key and sequence 0, which no event has.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;

use super::connection::DynamoDbTable;
use super::failure::classify;
use super::item::{AttributeMap, KEY, SEQUENCE, key_value, sequence_value};
use crate::driver::remote::CallKind;
use crate::error::DriverError;
use crate::event::{AggregateKey, Sequence};

const SNAPSHOT: &str = "snapshot";
/// An item's 400 KiB, with room for its key and the names.
pub(super) const SNAPSHOT_BYTES: usize = 400 * 1024 - AggregateKey::MAX_BYTES - 512;

impl DynamoDbTable {
    pub(super) async fn load_snapshot(
        &self,
        key: &AggregateKey,
    ) -> Result<Option<Bytes>, DriverError> {
        // An older snapshot costs a longer replay, and nothing else: half the price is worth it.
        let request = self.client.get_item().table_name(&self.table).consistent_read(false);
        let request = request.key(KEY, key_value(key));
        let request = request.key(SEQUENCE, sequence_value(Sequence::NONE));
        let answer = request.send().await;
        let found = answer.map_err(|e| classify(CallKind::Read, &self.doing("GetItem"), e))?;
        let Some(mut item) = found.item else { return Ok(None) };
        match item.remove(SNAPSHOT) {
            Some(AttributeValue::B(snapshot)) => Ok(Some(Bytes::from(snapshot.into_inner()))),
            _ => Err(DriverError::damaged(format!(
                "{key}: the item at sequence 0 has no binary attribute {SNAPSHOT:?}"
            ))),
        }
    }

    pub(super) async fn save_snapshot(
        &self,
        key: &AggregateKey,
        snapshot: &Bytes,
    ) -> Result<(), DriverError> {
        let item = AttributeMap::from([
            (KEY.to_owned(), key_value(key)),
            (SEQUENCE.to_owned(), sequence_value(Sequence::NONE)),
            (SNAPSHOT.to_owned(), AttributeValue::B(Blob::new(snapshot.to_vec()))),
        ]);
        let request = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let answer = request.send().await.map(drop);
        answer.map_err(|e| classify(CallKind::Read, &self.doing("PutItem"), e))
    }
}
