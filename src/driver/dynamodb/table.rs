//! The table: looked at when the driver is opened, and made where that was asked for.

use std::time::Duration;

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, MultiRegionConsistency,
    ScalarAttributeType, TableDescription, TableStatus,
};
use tokio::time::{Instant, sleep};

use super::connection::DynamoDbTable;
use super::failure::{classify, no_table};
use super::item::{KEY, LIMITS, SEQUENCE};
use crate::driver::Limits;
use crate::driver::remote::CallKind;
use crate::error::DriverError;

/// How long a new table may take until it can be used; half a minute is usual.
const CREATING: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(250);

impl DynamoDbTable {
    /// Makes sure that the table is there, is usable and is one of events.
    pub(super) async fn prepare(&self, create: bool) -> Result<TableDescription, DriverError> {
        let give_up = Instant::now() + CREATING;
        let mut creating = false;
        loop {
            match self.retry(CallKind::Read, "DescribeTable", || self.describe()).await? {
                Some(table) => {
                    self.check_schema(&table)?;
                    match table.table_status() {
                        Some(TableStatus::Creating) => {}
                        Some(TableStatus::Deleting) => {
                            return Err(DriverError::failed(format!(
                                "the table {} at {} is being deleted",
                                self.table, self.address
                            )));
                        }
                        // One that is being updated serves reads and writes.
                        _ => return Ok(table),
                    }
                }
                None if creating => {}
                None if create => {
                    self.retry(CallKind::Read, "CreateTable", || self.create()).await?;
                    creating = true;
                }
                None => {
                    return Err(DriverError::failed(format!(
                        "there is no table {} at {}: add ?create=true to make it",
                        self.table, self.address
                    )));
                }
            }
            if Instant::now() >= give_up {
                return Err(DriverError::unavailable(format!(
                    "the table {} at {} could not be used within {} s of its creation",
                    self.table,
                    self.address,
                    CREATING.as_secs()
                )));
            }
            sleep(PAUSE).await;
        }
    }

    /// What a put on this table may hold; refuses a global table whose regions would overwrite
    /// each other.
    pub(super) fn limits_of(
        &self,
        table: &TableDescription,
        one_writing_region: bool,
    ) -> Result<Limits, DriverError> {
        if table.replicas().is_empty() && table.global_table_version().is_none() {
            return Ok(LIMITS);
        }
        if table.multi_region_consistency() == Some(&MultiRegionConsistency::Strong) {
            // Its regions arbitrate together, but it has no transactions.
            return Ok(Limits { events_per_put: 1, aggregates_per_put: 1, ..LIMITS });
        }
        if one_writing_region {
            return Ok(LIMITS);
        }
        Err(DriverError::failed(format!(
            "the table {} at {} is a global table, whose regions overwrite each other: use a table \
             of one region, or, if all writers use one region for ever, add \
             ?global_table=one_writing_region",
            self.table, self.address
        )))
    }

    async fn describe(&self) -> Result<Option<TableDescription>, DriverError> {
        match self.client.describe_table().table_name(&self.table).send().await {
            Ok(found) => Ok(found.table),
            Err(error) if no_table(&error) => Ok(None),
            Err(error) => Err(classify(CallKind::Read, &self.doing("DescribeTable"), error)),
        }
    }

    async fn create(&self) -> Result<(), DriverError> {
        let doing = self.doing("CreateTable");
        let unmade = |e| DriverError::failed(format!("{doing}: {e}"));
        let mut request = self.client.create_table().table_name(&self.table);
        for (name, kind, role) in [
            (KEY, ScalarAttributeType::S, KeyType::Hash),
            (SEQUENCE, ScalarAttributeType::N, KeyType::Range),
        ] {
            let attribute = AttributeDefinition::builder().attribute_name(name);
            let attribute = attribute.attribute_type(kind).build().map_err(unmade)?;
            let element = KeySchemaElement::builder().attribute_name(name).key_type(role);
            let element = element.build().map_err(unmade)?;
            request = request.attribute_definitions(attribute).key_schema(element);
        }
        match request.billing_mode(BillingMode::PayPerRequest).send().await {
            Ok(_) => Ok(()),
            // Another process was quicker.
            Err(error) if error.code() == Some("ResourceInUseException") => Ok(()),
            Err(error) => Err(classify(CallKind::Read, &doing, error)),
        }
    }

    fn check_schema(&self, table: &TableDescription) -> Result<(), DriverError> {
        let is = |name: &str, kind: ScalarAttributeType, role: KeyType| {
            table.key_schema().iter().any(|e| e.attribute_name() == name && *e.key_type() == role)
                && table
                    .attribute_definitions()
                    .iter()
                    .any(|a| a.attribute_name() == name && *a.attribute_type() == kind)
        };
        if is(KEY, ScalarAttributeType::S, KeyType::Hash)
            && is(SEQUENCE, ScalarAttributeType::N, KeyType::Range)
        {
            return Ok(());
        }
        Err(DriverError::failed(format!(
            "the table {} at {} is none of events: its keys are not {KEY} (S) and {SEQUENCE} (N)",
            self.table, self.address
        )))
    }
}
