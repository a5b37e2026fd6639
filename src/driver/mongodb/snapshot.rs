//! Snapshots: a document per aggregate in a collection beside that of the events.

use ::mongodb::bson::spec::BinarySubtype;
use ::mongodb::bson::{Binary, RawDocumentBuf, doc};
use bytes::Bytes;

use super::connection::MongoDbCollection;
use super::failure::classify;
use crate::driver::remote::CallKind;
use crate::error::DriverError;
use crate::event::AggregateKey;

/// What a document can hold, with room for its key.
pub(super) const SNAPSHOT_BYTES: usize = 15 << 20;

impl MongoDbCollection {
    pub(super) async fn load_snapshot(
        &self,
        key: &AggregateKey,
    ) -> Result<Option<Bytes>, DriverError> {
        let found = self.snapshots.find_one(doc! { "_id": key.as_str() }).await;
        let found = found.map_err(|e| classify(CallKind::Read, &self.doing("find"), e))?;
        let Some(found) = found else { return Ok(None) };
        let snapshot = found.get_binary("s").map_err(|e| {
            DriverError::damaged(format!("MongoDB: {key}: the snapshot's document: {e}"))
        })?;
        Ok(Some(Bytes::copy_from_slice(snapshot.bytes)))
    }

    pub(super) async fn save_snapshot(
        &self,
        key: &AggregateKey,
        snapshot: &Bytes,
    ) -> Result<(), DriverError> {
        let bytes = Binary { subtype: BinarySubtype::Generic, bytes: snapshot.to_vec() };
        let document = RawDocumentBuf::try_from(&doc! { "_id": key.as_str(), "s": bytes });
        let document = document.map_err(|e| {
            DriverError::failed(format!("{}: {e}", self.doing("replacing a snapshot")))
        })?;
        let this = doc! { "_id": key.as_str() };
        let saved = self.snapshots.replace_one(this, document).upsert(true).await;
        let doing = || self.doing("replacing a snapshot");
        saved.map(drop).map_err(|e| classify(CallKind::Read, &doing(), e))
    }
}
