//! How events, sequences and keys are read. Every read is strongly consistent.

use aws_sdk_dynamodb::types::AttributeValue;

use super::connection::DynamoDbTable;
use super::failure::classify;
use super::item::{self, AttributeMap, KEY, SEQUENCE, key_value, sequence_value};
use crate::driver::remote::CallKind;
use crate::driver::{EventPage, Fetch};
use crate::error::DriverError;
use crate::event::{AggregateKey, Sequence};

/// Events asked for at once. The engine ends a page at 1 MB.
const PAGE: usize = 1_000;

impl DynamoDbTable {
    pub(super) async fn has(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        if sequence == Sequence::NONE {
            return Ok(false);
        }
        let request = self.client.get_item().table_name(&self.table).consistent_read(true);
        let request = request.key(KEY, key_value(key)).key(SEQUENCE, sequence_value(sequence));
        let answer = request.projection_expression(SEQUENCE).send().await;
        let found = answer.map_err(|e| classify(CallKind::Read, &self.doing("GetItem"), e))?;
        Ok(found.item.is_some())
    }

    pub(super) async fn latest(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        let request = self.client.query().table_name(&self.table).consistent_read(true);
        let request = request
            .key_condition_expression(format!("{KEY} = :key AND {SEQUENCE} >= :first"))
            .expression_attribute_values(":key", key_value(key))
            .expression_attribute_values(":first", sequence_value(Sequence::FIRST))
            .projection_expression(SEQUENCE)
            .scan_index_forward(false)
            .limit(1);
        let answer = request.send().await;
        let found = answer.map_err(|e| classify(CallKind::Read, &self.doing("Query"), e))?;
        match found.items().first() {
            Some(last) => item::sequence(key, last),
            None => Ok(Sequence::NONE),
        }
    }

    /// The page at this fetch. Empty only where nothing more is there.
    pub(super) async fn page(
        &self,
        key: &AggregateKey,
        fetch: Fetch,
    ) -> Result<EventPage, DriverError> {
        let Some((low, high)) = fetch.bounds() else { return Ok(EventPage::default()) };
        let limit = fetch.limit.unwrap_or(PAGE).min(PAGE);
        let request = self.client.query().table_name(&self.table).consistent_read(true);
        let request = request
            .key_condition_expression(format!("{KEY} = :key AND {SEQUENCE} BETWEEN :low AND :high"))
            .expression_attribute_values(":key", key_value(key))
            .expression_attribute_values(":low", sequence_value(low))
            .expression_attribute_values(":high", sequence_value(high))
            .scan_index_forward(!fetch.backwards)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let mut start = None;
        loop {
            let answer = request.clone().set_exclusive_start_key(start).send().await;
            let found = answer.map_err(|e| classify(CallKind::Read, &self.doing("Query"), e))?;
            let items = found.items.unwrap_or_default();
            start = found.last_evaluated_key;
            // The engine may end a page before its first item.
            if items.is_empty() && start.is_some() {
                continue;
            }
            let events: Result<Vec<_>, _> =
                items.into_iter().map(|found| item::event(key, found)).collect();
            return Ok(EventPage::new(events?, start.is_some()));
        }
    }

    /// One step of a walk through the whole table: the keys with this prefix in the step, and where
    /// the next one begins. Without a place the walk begins at the start of the table, or behind
    /// the partition of `after`.
    pub(super) async fn scan_keys(
        &self,
        prefix: &str,
        after: Option<&AggregateKey>,
        place: Option<AttributeMap>,
    ) -> Result<(Vec<AggregateKey>, Option<AttributeMap>), DriverError> {
        let behind = |after: &AggregateKey| {
            let last = Sequence::new(u64::MAX);
            let (key, last) = (key_value(after), sequence_value(last));
            AttributeMap::from([(KEY.to_owned(), key), (SEQUENCE.to_owned(), last)])
        };
        let mut filter = format!("{SEQUENCE} = :first");
        let mut request = self
            .client
            .scan()
            .table_name(&self.table)
            .consistent_read(true)
            .projection_expression(KEY)
            .expression_attribute_values(":first", sequence_value(Sequence::FIRST))
            .set_exclusive_start_key(place.or_else(|| after.map(behind)));
        if !prefix.is_empty() {
            filter += &format!(" AND begins_with({KEY}, :prefix)");
            let prefix = AttributeValue::S(prefix.to_owned());
            request = request.expression_attribute_values(":prefix", prefix);
        }
        let answer = request.filter_expression(filter).send().await;
        let found = answer.map_err(|e| classify(CallKind::Read, &self.doing("Scan"), e))?;
        let keys: Result<Vec<_>, _> = found.items().iter().map(item::key).collect();
        Ok((keys?, found.last_evaluated_key))
    }
}
