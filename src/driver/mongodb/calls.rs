//! The calls: how a put is written, and how events, sequences and keys are read.

use ::mongodb::bson::{Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;

use super::connection::MongoDbCollection;
use super::document;
use super::failure::{self, classify};
use crate::driver::remote::CallKind;
use crate::driver::{EventPage, Fetch, Limits, Put};
use crate::error::DriverError;
use crate::event::{AggregateKey, KeyedEvent, Sequence};

/// What a document can hold, with room for what it has beside the events.
pub(super) const LIMITS: Limits = Limits {
    events_per_put: EVENTS_PER_DOCUMENT as usize,
    bytes_per_put: 15 << 20,
    bytes_per_event: 15 << 20,
    bytes_per_key: AggregateKey::MAX_BYTES,
    aggregates_per_put: 1,
};
/// Part of the stored form: whoever looks for the document with a sequence looks no further back
/// than this.
const EVENTS_PER_DOCUMENT: i64 = 1_000;
const PAGE_EVENTS: usize = 1_000;
const PAGE_BYTES: usize = 4 << 20;
const KEYS_PER_PAGE: i64 = 1_000;

/// Documents that may hold sequences of `low..=high`, by the index `{k, f}`.
fn holding(key: &AggregateKey, low: i64, high: i64) -> Document {
    let earliest = low.saturating_sub(EVENTS_PER_DOCUMENT);
    doc! { "k": key.as_str(), "f": { "$gt": earliest, "$lte": high }, "l": { "$gte": low } }
}

/// MongoDB's integers are signed; no sequence is ever above.
fn stored(sequence: Sequence) -> i64 {
    i64::try_from(sequence.get()).unwrap_or(i64::MAX)
}

impl MongoDbCollection {
    pub(super) async fn has(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        if sequence == Sequence::NONE || sequence.get() > i64::MAX as u64 {
            return Ok(false);
        }
        let filter = holding(key, stored(sequence), stored(sequence));
        let found = self.collection.find_one(filter).projection(doc! { "_id": 1 }).await;
        Ok(found.map_err(|e| classify(CallKind::Read, &self.doing("find"), e))?.is_some())
    }

    pub(super) async fn latest(&self, key: &AggregateKey) -> Result<Sequence, DriverError> {
        let last = self.collection.find_one(doc! { "k": key.as_str() });
        let found = last.sort(doc! { "f": -1 }).projection(doc! { "_id": 0, "l": 1 }).await;
        match found.map_err(|e| classify(CallKind::Read, &self.doing("find"), e))? {
            Some(last) => document::sequence(key, &last, "l"),
            None => Ok(Sequence::NONE),
        }
    }

    pub(super) async fn page(
        &self,
        key: &AggregateKey,
        fetch: Fetch,
    ) -> Result<EventPage, DriverError> {
        let Some((low, high)) = fetch.bounds() else { return Ok(EventPage::default()) };
        if low.get() > i64::MAX as u64 {
            return Ok(EventPage::default());
        }
        let wanted = fetch.limit.unwrap_or(PAGE_EVENTS).min(PAGE_EVENTS);
        let mut filter = holding(key, stored(low), stored(high));
        if fetch.backwards {
            // From the other end the bound would cut off what is asked for first.
            filter.insert("f", doc! { "$lte": stored(high) });
        } else {
            // Only the first document can begin before `low`.
            filter.insert("f", doc! { "$gt": stored(low).saturating_sub(EVENTS_PER_DOCUMENT) });
        }
        let order = if fetch.backwards { -1 } else { 1 };
        let failed = |e| classify(CallKind::Read, &self.doing("find"), e);
        // Every document has an event at least.
        let documents = i64::try_from(wanted).unwrap_or(i64::MAX);
        let asking = self.collection.find(filter).sort(doc! { "f": order }).limit(documents);
        let mut cursor = asking.await.map_err(failed)?;
        let (mut events, mut bytes, mut seen) = (Vec::new(), 0, 0);
        while let Some(found) = cursor.try_next().await.map_err(failed)? {
            seen += 1;
            let mut inside = document::events(key, &found, low, high)?;
            if fetch.backwards {
                inside.reverse();
            }
            let room = wanted - events.len();
            let cut = inside.len() > room;
            inside.truncate(room);
            bytes += inside.iter().map(KeyedEvent::size_bytes).sum::<usize>();
            events.extend(inside);
            if cut || events.len() == wanted || bytes >= PAGE_BYTES {
                return Ok(EventPage::new(events, true));
            }
        }
        Ok(EventPage::new(events, seen == documents))
    }

    pub(super) async fn keys_page(
        &self,
        prefix: &str,
        after: Option<&AggregateKey>,
    ) -> Result<Vec<AggregateKey>, DriverError> {
        // Keys compare as bytes do, so those with the prefix stand together from the prefix on.
        let from = match after {
            Some(after) if after.as_str() >= prefix => doc! { "$gt": after.as_str() },
            _ => doc! { "$gte": prefix },
        };
        let failed = |e| classify(CallKind::Read, &self.doing("find"), e);
        let asking = self.collection.find(doc! { "k": from, "f": 1_i64 });
        let asking = asking.sort(doc! { "k": 1 }).limit(KEYS_PER_PAGE);
        let found = asking.projection(doc! { "_id": 0, "k": 1 }).await.map_err(failed)?;
        let found: Vec<RawDocumentBuf> = found.try_collect().await.map_err(failed)?;
        let keys: Result<Vec<_>, _> = found.iter().map(document::key).collect();
        Ok(keys?.into_iter().take_while(|key| key.as_str().starts_with(prefix)).collect())
    }

    pub(super) async fn insert(&self, put: &Put) -> Result<(), DriverError> {
        let document = document::of(put).map_err(|problem| {
            DriverError::failed(format!("{}: {problem}", self.doing("insert")))
        })?;
        match self.collection.insert_one(document).await {
            Ok(_) => Ok(()),
            Err(error) if failure::is_duplicate(&error) => self.whose(put).await,
            Err(error) => Err(classify(CallKind::Write, &self.doing("insert"), error)),
        }
    }

    /// Some unique index refused the put: because it is there already, or because another has one
    /// of its sequences.
    pub(super) async fn whose(&self, put: &Put) -> Result<(), DriverError> {
        let doing = self.doing("find");
        let (Some(first), Some(last)) = (put.events().first(), put.events().last()) else {
            return Ok(());
        };
        let key = &first.key;
        let filter = holding(key, stored(first.sequence), stored(last.sequence));
        let asking = self.collection.find_one(filter).sort(doc! { "f": 1 });
        let asking = asking.projection(doc! { "_id": 1, "f": 1, "l": 1 });
        let found = asking.read_concern(self.deciding.clone()).await;
        // The put itself was refused, so nothing that fails here can mean that it was written now;
        // but an earlier sending of it may have been.
        let found = found.map_err(|e| classify(CallKind::Write, &doing, e))?;
        let Some(found) = found else {
            return Err(DriverError::unknown(format!(
                "{doing}: {key}: an event of the put is there, but not for good yet"
            )));
        };
        if document::is_of(&found, put) {
            return Ok(());
        }
        let sequence = document::sequence(key, &found, "f")?.max(first.sequence);
        Err(DriverError::Conflict { key: key.clone(), sequence })
    }
}
