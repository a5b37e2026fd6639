//! The collection and its indexes: looked at when the driver is opened, made where that was asked
//! for, refused where they would not keep events.

use ::mongodb::bson::{Bson, Document, doc};
use ::mongodb::options::IndexOptions;
use ::mongodb::{Database, IndexModel};

use super::connection::MongoDbCollection;
use super::failure::classify;
use crate::driver::remote::CallKind;
use crate::error::DriverError;

const NAMESPACE_NOT_FOUND: i32 = 26;

/// What makes two puts conflict that share a sequence, and what serves reads.
fn indexes() -> [Document; 2] {
    [doc! { "k": 1, "e.s": 1 }, doc! { "k": 1, "f": 1 }]
}

impl MongoDbCollection {
    /// What the primary, or the router, says of itself.
    pub(super) async fn hello(&self, database: &Database) -> Result<Document, DriverError> {
        let said = database.run_command(doc! { "hello": 1 }).await;
        said.map_err(|e| classify(CallKind::Read, &self.doing("hello"), e))
    }

    /// Makes sure that the collection and its unique indexes are as they must be: without them a
    /// race would be lost in silence.
    pub(super) async fn check(&self, database: &Database, create: bool) -> Result<(), DriverError> {
        let collection = self.collection.name();
        let asking = doc! { "listCollections": 1, "filter": { "name": collection } };
        let found = self.first_batch(database, "listCollections", asking).await?;
        if let Some(problem) = found.first().and_then(collection_problem) {
            return Err(DriverError::failed(format!("{} {problem}", self.name)));
        }
        let mut found = self.list_indexes(database).await?;
        if create && missing_index(&found).is_some() {
            if let Some(problem) = index_problem(&found) {
                return Err(DriverError::failed(format!("{}: {problem}", self.name)));
            }
            let unique = IndexOptions::builder().unique(true).build();
            let models = indexes()
                .map(|keys| IndexModel::builder().keys(keys).options(unique.clone()).build());
            let made = self.collection.create_indexes(models).await;
            made.map_err(|e| classify(CallKind::Read, &self.doing("createIndexes"), e))?;
            found = self.list_indexes(database).await?;
        }
        if let Some(problem) = index_problem(&found) {
            return Err(DriverError::failed(format!("{}: {problem}", self.name)));
        }
        match missing_index(&found) {
            None => Ok(()),
            Some(keys) => Err(DriverError::failed(format!(
                "{} has no unique index {keys}: add ?create=true to make it",
                self.name
            ))),
        }
    }

    async fn list_indexes(&self, database: &Database) -> Result<Vec<Document>, DriverError> {
        let asking = doc! { "listIndexes": self.collection.name() };
        self.first_batch(database, "listIndexes", asking).await
    }

    /// The documents that a listing answers; a collection has at most 64 indexes, so the first
    /// batch has all.
    async fn first_batch(
        &self,
        database: &Database,
        operation: &str,
        command: Document,
    ) -> Result<Vec<Document>, DriverError> {
        use ::mongodb::error::ErrorKind;
        let answer = match database.run_command(command).await {
            Ok(answer) => answer,
            Err(error) => {
                return match &*error.kind {
                    ErrorKind::Command(refused) if refused.code == NAMESPACE_NOT_FOUND => {
                        Ok(Vec::new())
                    }
                    _ => Err(classify(CallKind::Read, &self.doing(operation), error)),
                };
            }
        };
        let batch = answer.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
        let batch = batch.map_err(|e| {
            DriverError::failed(format!("{}: an answer without a list: {e}", self.doing(operation)))
        })?;
        Ok(batch.iter().filter_map(Bson::as_document).cloned().collect())
    }
}

/// Why this collection cannot keep events, as `listCollections` describes it.
fn collection_problem(found: &Document) -> Option<&'static str> {
    let none = Document::new();
    let options = found.get_document("options").unwrap_or(&none);
    if found.get_str("type").is_ok_and(|kind| kind != "collection") {
        return Some("is a view or a time series: use a plain collection");
    }
    if is_set(options, "capped") {
        return Some("is capped, so it drops events: use a plain collection");
    }
    if has_collation(options) {
        return Some("has a collation, so two keys can count as one: use a collection without");
    }
    None
}

fn is_set(options: &Document, name: &str) -> bool {
    options.get_bool(name).is_ok_and(|set| set)
}

/// A collation other than the one that compares bytes.
fn has_collation(options: &Document) -> bool {
    options
        .get_document("collation")
        .is_ok_and(|collation| collation.get_str("locale").ok() != Some("simple"))
}

/// Which of the driver's indexes is not among these, whatever its options are.
fn missing_index(found: &[Document]) -> Option<Document> {
    indexes().into_iter().find(|keys| !found.iter().any(|index| has_keys(index, keys)))
}

/// What is wrong with these indexes.
fn index_problem(found: &[Document]) -> Option<String> {
    let name = |index: &Document| index.get_str("name").unwrap_or("without a name").to_owned();
    if let Some(index) = found.iter().find(|index| index.contains_key("expireAfterSeconds")) {
        return Some(format!("the index {} lets documents expire: drop it", name(index)));
    }
    for keys in indexes() {
        let mut candidates = found.iter().filter(|index| has_keys(index, &keys)).peekable();
        if candidates.peek().is_none() {
            continue;
        }
        let problems: Vec<_> =
            candidates.map(|index| unfit(index).map(|problem| (index, problem))).collect();
        if problems.iter().all(Option::is_some)
            && let Some((index, problem)) = problems.into_iter().flatten().next()
        {
            return Some(format!(
                "the index {} {problem}: drop it and add ?create=true to make it as it must be",
                name(index)
            ));
        }
    }
    None
}

/// Why this index does not refuse a second event under every key and sequence.
fn unfit(index: &Document) -> Option<&'static str> {
    if !is_set(index, "unique") {
        return Some("is not unique");
    }
    if has_collation(index) {
        return Some("has a collation, so two keys can count as one");
    }
    if index.contains_key("partialFilterExpression") {
        return Some("is partial, so it does not hold for all documents");
    }
    if is_set(index, "sparse") {
        return Some("is sparse, so it does not hold for all documents");
    }
    if is_set(index, "hidden") {
        return Some("is hidden, so reads do not use it");
    }
    if is_set(index, "prepareUnique") {
        return Some("is being converted to unique");
    }
    None
}

/// Whether the index is over these keys. Engines answer directions as any kind of number.
fn has_keys(index: &Document, wanted: &Document) -> bool {
    let ascending = |value: &Bson| {
        value.as_i32() == Some(1) || value.as_i64() == Some(1) || value.as_f64() == Some(1.0)
    };
    index.get_document("key").is_ok_and(|found| {
        found.keys().eq(wanted.keys()) && found.iter().all(|(_, value)| ascending(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(keys: Document, more: Document) -> Document {
        let mut index = doc! { "v": 2, "key": keys, "name": "given" };
        index.extend(more);
        index
    }

    fn good() -> Vec<Document> {
        let id = doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" };
        let mut all = vec![id];
        all.extend(indexes().map(|keys| index(keys, doc! { "unique": true })));
        all
    }

    #[test]
    fn the_indexes_that_the_driver_makes_are_taken() {
        assert_eq!(index_problem(&good()), None);
        assert_eq!(missing_index(&good()), None);
        assert!(missing_index(&good()[..2]).is_some());
        let simple = index(
            doc! { "k": 1.0, "f": 1_i64 },
            doc! { "unique": true,
            "collation": { "locale": "simple" } },
        );
        assert_eq!(index_problem(&[simple]), None);
    }

    #[test]
    fn an_index_that_does_not_hold_for_all_is_refused_by_name() {
        for (more, problem) in [
            (doc! {}, "not unique"),
            (doc! { "unique": true, "collation": { "locale": "en" } }, "collation"),
            (doc! { "unique": true, "partialFilterExpression": { "v": 1 } }, "partial"),
            (doc! { "unique": true, "sparse": true }, "sparse"),
            (doc! { "unique": true, "hidden": true }, "hidden"),
            (doc! { "unique": true, "expireAfterSeconds": 60 }, "expire"),
        ] {
            for keys in indexes() {
                let mut found = good();
                found.retain(|index| !has_keys(index, &keys));
                found.push(index(keys, more.clone()));
                let said = index_problem(&found).unwrap_or_default();
                assert!(said.contains(problem) && said.contains("given"), "{more}: {said}");
            }
        }
        let other = index(doc! { "t": 1 }, doc! { "expireAfterSeconds": 60 });
        assert!(index_problem(&[good(), vec![other]].concat()).is_some());
    }

    #[test]
    fn a_collection_that_drops_or_folds_is_refused() {
        let of = |options: Document| doc! { "type": "collection", "options": options };
        assert_eq!(collection_problem(&of(doc! {})), None);
        assert!(collection_problem(&of(doc! { "capped": true })).is_some());
        assert!(collection_problem(&of(doc! { "collation": { "locale": "de" } })).is_some());
        assert!(collection_problem(&doc! { "type": "view", "options": {} }).is_some());
    }
}
