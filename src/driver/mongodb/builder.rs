//! How the driver is opened: [`MongoDbBuilder`], what a URL says of it, and the indexes.

use std::time::Duration;

use ::mongodb::bson::{Document, doc};
use ::mongodb::options::{
    Acknowledgment, ClientOptions, CollectionOptions, IndexOptions, ReadConcern, ReadPreference,
    SelectionCriteria, WriteConcern,
};
use ::mongodb::{Client, Collection, Database, IndexModel};
use futures_util::TryStreamExt;

use super::failure::classify;
use super::{MongoDbCollection, MongoDbDriver};
use crate::driver::remote::CallKind;
use crate::driver::remote::RetryPolicy;
use crate::error::DriverError;

const DEFAULT_COLLECTION: &str = "events";

/// Opens a [`MongoDbDriver`] otherwise than by default.
///
/// ```no_run
/// use seriatim::driver::mongodb::MongoDbDriver;
///
/// # async fn example() -> Result<(), seriatim::driver::DriverError> {
/// let driver = MongoDbDriver::builder()
///     .collection("bank_events")
///     .create(true)
///     .open("mongodb://localhost:27017/bank")
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct MongoDbBuilder {
    collection: Option<String>,
    create: bool,
    timeout: Option<Duration>,
}

impl MongoDbBuilder {
    /// How long an operation may be tried, unless told.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

    /// The collection; `events` unless told.
    pub fn collection(mut self, collection: impl Into<String>) -> Self {
        self.collection = Some(collection.into());
        self
    }

    /// Whether missing indexes are made, and with them a missing collection; not unless told.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// How long an operation may be tried, from its first attempt to its last answer;
    /// [`DEFAULT_TIMEOUT`](Self::DEFAULT_TIMEOUT) unless told.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Opens the driver on the database that this connection string names, on the tokio runtime
    /// that will poll it. What the string says of the driver's own options counts more than the
    /// builder.
    ///
    /// # Errors
    ///
    /// [`DriverError::Failed`] where the connection string is wrong or names no database, or where
    /// the collection lacks its indexes; [`DriverError::Unavailable`] where no server can be
    /// reached within the timeout.
    pub async fn open(self, url: &str) -> Result<MongoDbDriver, DriverError> {
        let (builder, url) = read_url(self, url)?;
        builder.open_plain(&url).await
    }

    async fn open_plain(self, url: &str) -> Result<MongoDbDriver, DriverError> {
        let timeout = self.timeout.unwrap_or(Self::DEFAULT_TIMEOUT);
        if timeout.is_zero() {
            return Err(DriverError::failed("the timeout must not be zero"));
        }
        let parsed = tokio::time::timeout(timeout, ClientOptions::parse(url)).await;
        let parsed = parsed.map_err(|_elapsed| {
            DriverError::unavailable("MongoDB: the hosts could not be looked up within the timeout")
        })?;
        let mut options = parsed.map_err(|e| classify(CallKind::Read, "MongoDB, opening", e))?;
        // One attempt a sending: the driver tries again what surely was not written, and the
        // mailroom sends again what may have been.
        options.retry_writes = Some(false);
        options.retry_reads = Some(false);
        options.server_selection_timeout = Some(timeout);
        options.connect_timeout.get_or_insert(timeout);
        options.app_name.get_or_insert_with(|| "seriatim".to_owned());
        let hosts: Vec<String> = options.hosts.iter().map(ToString::to_string).collect();
        let Some(database) = options.default_database.clone() else {
            return Err(DriverError::failed("no database: mongodb://HOSTS/DATABASE names one"));
        };
        let collection = self.collection.as_deref().unwrap_or(DEFAULT_COLLECTION);
        let name = format!("the collection {database}.{collection} at {}", hosts.join(","));
        let client = Client::with_options(options)
            .map_err(|e| classify(CallKind::Read, &format!("MongoDB, opening {name}"), e))?;
        let database = client.database(&database);
        let connection = MongoDbCollection {
            collection: durable(&database, collection),
            name,
            retry: RetryPolicy { deadline: timeout },
        };
        let made = connection.retry(CallKind::Read, "opening", || {
            connection.prepare(&database, collection, self.create)
        });
        made.await?;
        Ok(MongoDbDriver::new(connection))
    }
}

/// The collection, written for good and read from the primary alone.
fn durable<T: Send + Sync>(database: &Database, collection: &str) -> Collection<T> {
    let write = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
    let options = CollectionOptions::builder()
        .write_concern(write)
        .read_concern(ReadConcern::majority())
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .build();
    database.collection_with_options(collection, options)
}

/// What makes two puts conflict that share a sequence, and what serves reads.
fn indexes() -> [Document; 2] {
    [doc! { "k": 1, "e.s": 1 }, doc! { "k": 1, "f": 1 }]
}

impl MongoDbCollection {
    /// Makes sure that the unique indexes are there: without them a race would be lost in silence.
    async fn prepare(
        &self,
        database: &Database,
        collection: &str,
        create: bool,
    ) -> Result<(), DriverError> {
        if create {
            let unique = IndexOptions::builder().unique(true).build();
            let models = indexes()
                .map(|keys| IndexModel::builder().keys(keys).options(unique.clone()).build());
            let made = self.collection.create_indexes(models).await;
            made.map_err(|e| classify(CallKind::Read, &self.doing("createIndexes"), e))?;
        }
        let failed = |e| classify(CallKind::Read, &self.doing("listIndexes"), e);
        let named = database.list_collection_names().filter(doc! { "name": collection });
        let there = !named.await.map_err(failed)?.is_empty();
        let found: Vec<IndexModel> = match there {
            true => self.collection.list_indexes().await.map_err(failed)?.try_collect().await,
            false => Ok(Vec::new()),
        }
        .map_err(failed)?;
        let is_unique = |index: &IndexModel| {
            index.options.as_ref().is_some_and(|options| options.unique == Some(true))
        };
        for keys in indexes() {
            if !found.iter().any(|index| is_unique(index) && same_keys(&index.keys, &keys)) {
                return Err(DriverError::failed(format!(
                    "{} has no unique index {keys}: add ?create=true to make it",
                    self.name
                )));
            }
        }
        Ok(())
    }
}

/// Engines answer an index's directions as any kind of number.
fn same_keys(found: &Document, wanted: &Document) -> bool {
    let ascending = |value: &::mongodb::bson::Bson| {
        value.as_i32() == Some(1) || value.as_i64() == Some(1) || value.as_f64() == Some(1.0)
    };
    found.keys().eq(wanted.keys()) && found.iter().all(|(_, value)| ascending(value))
}

/// The builder with the options of its own that the URL has, and the URL without them.
fn read_url(
    mut builder: MongoDbBuilder,
    url: &str,
) -> Result<(MongoDbBuilder, String), DriverError> {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let mut rest = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let wrong = || DriverError::failed(format!("{value:?} is no value of the option {name}"));
        match name {
            "collection" if value.is_empty() => return Err(wrong()),
            "collection" => builder.collection = Some(value.to_owned()),
            "create" => builder.create = value.parse().map_err(|_| wrong())?,
            "timeout_ms" => {
                let timeout = value.parse().map(Duration::from_millis).map_err(|_| wrong())?;
                builder.timeout = Some(timeout);
            }
            _ => rest.push(pair),
        }
    }
    let separator = if rest.is_empty() { "" } else { "?" };
    Ok((builder, format!("{address}{separator}{}", rest.join("&"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_own_options_are_taken_out_of_the_url() {
        let url = "mongodb://u:p%40@a:1,b:2/bank?replicaSet=rs0&collection=all&create=true&tls=true\
                   &timeout_ms=700";
        let (builder, rest) = read_url(MongoDbBuilder::default(), url).unwrap();
        let wanted = MongoDbDriver::builder().collection("all").create(true);
        assert_eq!(builder, wanted.timeout(Duration::from_millis(700)));
        assert_eq!(rest, "mongodb://u:p%40@a:1,b:2/bank?replicaSet=rs0&tls=true");
        let (builder, rest) =
            read_url(MongoDbBuilder::default(), "mongodb://a/bank?create=false").unwrap();
        assert_eq!((builder, rest.as_str()), (MongoDbBuilder::default(), "mongodb://a/bank"));
    }

    #[tokio::test]
    async fn a_wrong_url_is_refused() {
        for (url, problem) in [
            ("mongodb://a/bank?create=maybe", "create"),
            ("mongodb://a/bank?timeout_ms=soon", "timeout_ms"),
            ("mongodb://a/bank?timeout_ms=0", "zero"),
            ("mongodb://a/bank?collection=", "collection"),
            ("mongodb://a/bank?craete=true", "craete"),
            ("mongodb://a", "no database"),
        ] {
            let error = MongoDbDriver::builder().open(url).await.unwrap_err();
            assert!(matches!(error, DriverError::Failed { .. }), "{url}: {error:?}");
            assert!(error.to_string().contains(problem), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_reached_is_named_without_its_password() {
        // A port that was just free, and is not listened on.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("mongodb://ada:hush@127.0.0.1:{port}/bank?timeout_ms=500");
        let error = MongoDbDriver::builder().open(&url).await.unwrap_err();
        assert!(matches!(error, DriverError::Unavailable { .. }), "{error:?}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
}
