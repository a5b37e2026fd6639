//! The open table: how a put is written, and how events and sequences are read.

use bytes::Bytes;

use super::batch;
use super::row;
use super::service::{RowPage, Service};
use crate::driver::remote::{CallKind, RetryPolicy, late};
use crate::driver::{EventPage, Fetch, Limits, Put};
use crate::error::DriverError;
use crate::event::{AggregateKey, Sequence};

/// One row of a transaction is the head's.
pub(super) const LIMITS: Limits = Limits {
    events_per_put: 99,
    bytes_per_put: 2_900_000,
    bytes_per_event: 900 << 10,
    bytes_per_key: AggregateKey::MAX_BYTES,
    aggregates_per_put: 1,
};
/// As much as an event's row.
pub(super) const SNAPSHOT_BYTES: usize = 900 << 10;
/// Rows asked for at once; the service's own most.
pub(super) const PAGE: u64 = 1_000;

/// The service with the table, and how long a call is tried.
pub(super) struct AzureTable {
    pub(super) service: Service,
    pub(super) policy: RetryPolicy,
}

impl AzureTable {
    pub(super) async fn retry<T, R>(
        &self,
        call: CallKind,
        operation: &str,
        attempt: impl FnMut() -> R,
    ) -> Result<T, DriverError>
    where
        R: Future<Output = Result<T, DriverError>>,
    {
        self.policy.run(|| late(call, &self.service.doing(operation)), attempt).await
    }

    /// The rows of a query that has one at most.
    pub(super) async fn row(
        &self,
        key: &AggregateKey,
        row_key: &str,
        of: &str,
    ) -> Result<RowPage, DriverError> {
        let filter = format!("{} and RowKey eq '{row_key}'", row::partition_filter(key));
        self.service.query_all(&filter, of, 1).await
    }

    pub(super) async fn latest(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        match self.row(key, row::HEAD, "latest").await?.rows.first() {
            Some(head) => row::latest(key, head),
            None => Ok(Sequence::NONE),
        }
    }

    /// The page at this fetch; empty only where nothing more is there.
    pub(super) async fn page(
        &self,
        key: &AggregateKey,
        fetch: Fetch,
    ) -> Result<EventPage, DriverError> {
        let Some((low, high)) = fetch.bounds() else { return Ok(EventPage::default()) };
        let wanted = fetch.limit.map_or(PAGE, |limit| PAGE.min(limit as u64));
        if !fetch.backwards {
            let filter = row::range_filter(key, low, high);
            let found = self.service.query_all(&filter, row::RECORD, wanted).await?;
            let events: Result<Vec<_>, _> =
                found.rows.iter().map(|found| row::event(key, found)).collect();
            return Ok(EventPage::new(events?, found.next.is_some()));
        }
        // The service goes forwards only, so the way back is gone in windows from the latest one
        // down.
        let high = match fetch.after {
            Some(_) => high,
            None => self.latest(key).await?,
        };
        let page = self.window(key, low, high, wanted).await?;
        if !page.events.is_empty() || fetch.after.is_none() {
            return Ok(page);
        }
        // Whoever asked began behind the end.
        let latest = self.latest(key).await?;
        if latest < high { self.window(key, low, latest, wanted).await } else { Ok(page) }
    }

    /// The last `wanted` events up to `high`, backwards.
    pub(super) async fn window(
        &self,
        key: &AggregateKey,
        low: Sequence,
        high: Sequence,
        wanted: u64,
    ) -> Result<EventPage, DriverError> {
        if high < low {
            return Ok(EventPage::default());
        }
        let from = low.max(Sequence::new(high.get().saturating_sub(wanted - 1)));
        let filter = row::range_filter(key, from, high);
        let (mut events, mut next) = (Vec::new(), None);
        loop {
            let found = self.service.query(&filter, row::RECORD, PAGE, next.as_ref()).await?;
            for found in &found.rows {
                events.push(row::event(key, found)?);
            }
            next = found.next;
            if next.is_none() {
                break;
            }
        }
        events.reverse();
        Ok(EventPage::new(events, from > low))
    }

    pub(super) async fn load_snapshot(
        &self,
        key: &AggregateKey,
    ) -> Result<Option<Bytes>, DriverError> {
        let found = self.row(key, row::SNAPSHOT, row::RECORD).await?;
        found.rows.first().map(|found| row::snapshot(key, found)).transpose()
    }

    pub(super) async fn save_snapshot(
        &self,
        key: &AggregateKey,
        snapshot: &Bytes,
    ) -> Result<(), DriverError> {
        row::check_key(key)?;
        let row = row::of_snapshot(key, snapshot);
        self.service.replace_row(&row::partition(key), row::SNAPSHOT, row).await
    }

    pub(super) async fn send(&self, put: &Put) -> Result<(), DriverError> {
        let batch = batch::of(&self.service, put)?;
        let answer = self.service.send_batch(&batch).await?;
        batch::verdict(&self.service, put, &answer)
    }
}
