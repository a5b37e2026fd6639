//! How the driver is opened: [`MongoDbBuilder`], and what a URL says of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::mongodb::bson::Document;
use ::mongodb::error::ErrorKind;
use ::mongodb::options::oidc::{Callback, IdpServerResponse};
use ::mongodb::options::{
    Acknowledgment, AuthMechanism, ClientOptions, CollectionOptions, Credential, ReadConcern,
    ReadPreference, SelectionCriteria, WriteConcern,
};
use ::mongodb::{Client, Collection, Database};
use futures_util::FutureExt;
use tokio::sync::Semaphore;

use super::connection::MongoDbCollection;
use super::driver::MongoDbDriver;
use super::failure::classify;
use crate::driver::Driver;
use crate::driver::remote::{CallKind, RemoteUrl, RetryPolicy};
use crate::error::DriverError;

const DEFAULT_COLLECTION: &str = "events";
/// Connections to a server, unless `maxPoolSize` says otherwise. Each carries one call at a time.
const DEFAULT_POOL: u32 = 100;
/// Connections made at once, unless `maxConnecting` says otherwise: a burst on a fresh pool must
/// not wait for one handshake after another.
const DEFAULT_CONNECTING: u32 = 8;

/// Opens a [`MongoDbDriver`] with options of its own.
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
    attempt_timeout: Option<Duration>,
    tokens: OidcTokens,
}

/// Asked for an access token whenever a connection signs in.
#[derive(Clone, Default)]
struct OidcTokens(Option<Arc<dyn Fn() -> String + Send + Sync>>);

impl PartialEq for OidcTokens {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl Eq for OidcTokens {}

impl fmt::Debug for OidcTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "from a function" } else { "none" })
    }
}

impl OidcTokens {
    /// Lets connections sign in with them.
    fn apply(&self, options: &mut ClientOptions) -> Result<(), DriverError> {
        let Some(source) = self.0.clone() else { return Ok(()) };
        let oidc = || Credential::builder().mechanism(AuthMechanism::MongoDbOidc).build();
        let credential = options.credential.get_or_insert_with(oidc);
        if credential.mechanism != Some(AuthMechanism::MongoDbOidc) {
            return Err(DriverError::failed(
                "a source of tokens goes with authMechanism=MONGODB-OIDC alone, or with none",
            ));
        }
        credential.oidc_callback = Callback::machine(move |_| {
            let token = source();
            async move { Ok(IdpServerResponse::builder().access_token(token).build()) }.boxed()
        });
        Ok(())
    }
}

impl MongoDbDriver {
    /// Opens a driver with options of its own.
    pub fn builder() -> MongoDbBuilder {
        MongoDbBuilder::default()
    }
}

impl MongoDbBuilder {
    /// How long an operation may be tried, unless told.
    pub const DEFAULT_TIMEOUT: Duration = RetryPolicy::DEFAULT_TIMEOUT;

    /// The collection; `events` unless told.
    pub fn collection(mut self, collection: impl Into<String>) -> Self {
        self.collection = Some(collection.into());
        self
    }

    /// Whether missing indexes are made, and with them a missing collection; not unless told.
    /// What is there is never changed.
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

    /// How long one attempt may take; as long as all together unless told.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// Signs in by `MONGODB-OIDC`: asks `source` for an access token whenever a connection signs
    /// in. `source` returns at once what it has, and renews it ahead of time, elsewhere. The
    /// connection string names no other mechanism.
    pub fn token_source(mut self, source: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.tokens = OidcTokens(Some(Arc::new(source)));
        self
    }

    /// Opens the driver on the database that this connection string names, on the tokio runtime
    /// that will poll it. What the string says of the driver's own options counts more than the
    /// builder.
    ///
    /// # Errors
    ///
    /// [`DriverError::Failed`] where the connection string is wrong or names no database, where
    /// the server refuses the credentials, or where the collection or its indexes are not as they
    /// must be; [`DriverError::Unavailable`] where no server can be reached within the timeout.
    pub async fn open(self, url: &str) -> Result<MongoDbDriver, DriverError> {
        let (builder, address) = read_url(self, url)?;
        // Boxed, so that callers' futures do not hold the client's, whose nesting is deep.
        builder.open_address(&address).boxed().await
    }

    async fn open_address(self, address: &Address) -> Result<MongoDbDriver, DriverError> {
        let policy = RetryPolicy::new(self.timeout, self.attempt_timeout)?;
        let collection = self.collection.as_deref().unwrap_or(DEFAULT_COLLECTION);
        let named = |c: char| !c.is_control() && c != '$';
        if collection.is_empty() || !collection.chars().all(named) {
            return Err(DriverError::failed(
                "the option collection must be a collection's name: not empty, without '$'",
            ));
        }
        let timeout = policy.deadline();
        let mut options = address.options(timeout).await?;
        self.tokens.apply(&mut options)?;
        // One attempt a sending: the driver tries again what surely was not written, and the
        // mailroom sends again what may have been.
        options.retry_writes = Some(false);
        options.retry_reads = Some(false);
        options.server_selection_timeout = Some(policy.connect_timeout());
        options.connect_timeout.get_or_insert(timeout);
        options.app_name.get_or_insert_with(|| "seriatim".to_owned());
        options.max_connecting.get_or_insert(DEFAULT_CONNECTING);
        let pool = *options.max_pool_size.get_or_insert(DEFAULT_POOL);
        let hosts: Vec<String> = options.hosts.iter().map(ToString::to_string).collect();
        let database = &address.database;
        let name = format!("the collection {database}.{collection} at {}", hosts.join(","));
        let client = Client::with_options(options)
            .map_err(|e| classify(CallKind::Read, &format!("MongoDB, opening {name}"), e))?;
        let database = client.database(database);
        let mut opened = MongoDbCollection {
            collection: durable(&database, collection),
            snapshots: disposable(&database, &format!("{collection}_snapshots")),
            name,
            policy,
            // Whoever waits for a connection has sent nothing; the client cannot say so.
            calls: Semaphore::new(usize::try_from(pool).unwrap_or(Semaphore::MAX_PERMITS)),
            pool,
            deciding: ReadConcern::linearizable(),
        };
        let hello = opened.retry(CallKind::Read, "hello", || opened.hello(&database)).await?;
        if is_standalone(&hello) {
            opened.deciding = ReadConcern::majority();
        }
        let checked =
            opened.retry(CallKind::Read, "opening", || opened.check(&database, self.create));
        checked.await?;
        Ok(MongoDbDriver::new(opened))
    }
}

/// Opens what a `mongodb:` or `mongodb+srv:` URL names.
pub(in crate::driver) async fn open_url(url: &str) -> Result<Arc<dyn Driver>, DriverError> {
    Ok(Arc::new(MongoDbDriver::builder().open(url).await?))
}

/// Whether the server that said this belongs to no replica set and routes to none. It refuses
/// linearizable reads.
fn is_standalone(hello: &Document) -> bool {
    let routes = hello.get_str("msg").is_ok_and(|said| said == "isdbgrid");
    !routes && !hello.contains_key("setName")
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

/// A collection whose documents may be lost: written and read at the primary alone.
fn disposable<T: Send + Sync>(database: &Database, collection: &str) -> Collection<T> {
    let options = CollectionOptions::builder()
        .write_concern(WriteConcern::builder().w(Acknowledgment::Nodes(1)).build())
        .read_concern(ReadConcern::local())
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .build();
    database.collection_with_options(collection, options)
}

/// A connection string that has been taken apart and put together again without the driver's own
/// options.
struct Address {
    scheme: &'static str,
    /// Everything behind `//` and before the options; it may hold a password.
    place: String,
    database: String,
    /// The options that are the client's, as they stand in the URL, each with its number.
    options: Vec<(usize, String)>,
}

impl Address {
    fn url(&self, options: &[&str]) -> String {
        let separator = if options.is_empty() { "" } else { "?" };
        format!("{}//{}{separator}{}", self.scheme, self.place, options.join("&"))
    }

    /// The client's options. Its messages repeat parts of the URL, so they are not passed on.
    async fn options(&self, timeout: Duration) -> Result<ClientOptions, DriverError> {
        let all: Vec<&str> = self.options.iter().map(|(_, option)| option.as_str()).collect();
        let parsing = tokio::time::timeout(timeout, ClientOptions::parse(self.url(&all)));
        let Ok(parsed) = parsing.await else {
            return Err(DriverError::unavailable(
                "MongoDB: the hosts could not be looked up within the timeout",
            ));
        };
        let error = match parsed {
            Ok(options) => return Ok(options),
            Err(error) => error,
        };
        if !matches!(&*error.kind, ErrorKind::InvalidArgument { .. }) {
            return Err(classify(CallKind::Read, "MongoDB, opening", error));
        }
        // Which option it is, is found by trying each alone.
        for (number, option) in &self.options {
            let alone = ClientOptions::parse(format!("mongodb://u:p@localhost/db?{option}")).await;
            if alone.is_err_and(|e| matches!(&*e.kind, ErrorKind::InvalidArgument { .. })) {
                return Err(DriverError::failed(format!(
                    "option {number} of the URL is not one of a MongoDB connection string or of \
                     this driver ({OPTIONS}), or its value is wrong"
                )));
            }
        }
        Err(DriverError::failed(
            "MongoDB: the connection string is wrong: check that its user, hosts and options go \
             together",
        ))
    }
}

const OPTIONS: &str = "collection, create, timeout_ms, attempt_timeout_ms";

/// The builder with the options of its own that the URL has, and the rest of the URL.
fn read_url(
    mut builder: MongoDbBuilder,
    url: &str,
) -> Result<(MongoDbBuilder, Address), DriverError> {
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    let scheme = match scheme {
        "mongodb" => "mongodb:",
        "mongodb+srv" => "mongodb+srv:",
        _ => {
            return Err(DriverError::failed(
                "a MongoDB URL begins with mongodb:// or mongodb+srv://",
            ));
        }
    };
    let mut parsed = RemoteUrl::parse(rest)?;
    parsed.hosts()?;
    let forbidden = |c: char| c.is_control() || "/\\. \"$*<>:|?".contains(c);
    if parsed.path.is_empty() || parsed.path.contains(forbidden) {
        return Err(DriverError::failed(
            "no database, or a malformed name of one: write mongodb://HOSTS/DATABASE",
        ));
    }
    builder.collection = parsed.take("collection").or(builder.collection);
    builder.create = parsed.take_parsed("create")?.unwrap_or(builder.create);
    let duration = |ms: Option<u64>| ms.map(Duration::from_millis);
    builder.timeout = duration(parsed.take_parsed("timeout_ms")?).or(builder.timeout);
    let attempt = duration(parsed.take_parsed("attempt_timeout_ms")?);
    builder.attempt_timeout = attempt.or(builder.attempt_timeout);
    let options = parsed.rest().map(|(number, raw)| (number, raw.to_owned())).collect();
    let rest = rest.trim_start_matches('/');
    // User information holds no raw '?': `RemoteUrl` has refused it.
    let place = rest.split('?').next().unwrap_or_default().to_owned();
    Ok((builder, Address { scheme, place, database: parsed.path, options }))
}

#[cfg(test)]
mod tests {
    use ::mongodb::bson::doc;

    use super::*;

    #[test]
    fn the_drivers_own_options_are_taken_out_of_the_url() {
        let url = "mongodb://u:p%40@a:1,b:2/bank?replicaSet=rs0&collection=all&create=true&tls=true\
                   &timeout_ms=700&attempt_timeout_ms=200";
        let (builder, address) = read_url(MongoDbBuilder::default(), url).unwrap();
        let wanted = MongoDbDriver::builder().collection("all").create(true);
        let wanted = wanted.timeout(Duration::from_millis(700));
        assert_eq!(builder, wanted.attempt_timeout(Duration::from_millis(200)));
        let rest: Vec<&str> = address.options.iter().map(|(_, option)| option.as_str()).collect();
        assert_eq!(address.url(&rest), "mongodb://u:p%40@a:1,b:2/bank?replicaSet=rs0&tls=true");
        let (builder, address) =
            read_url(MongoDbBuilder::default(), "mongodb://a/bank?create=false").unwrap();
        assert_eq!(builder, MongoDbBuilder::default());
        assert_eq!(
            (address.url(&[]).as_str(), address.database.as_str()),
            ("mongodb://a/bank", "bank")
        );
    }

    #[tokio::test]
    async fn a_wrong_url_is_refused() {
        for (url, problem) in [
            ("mongodb://a/bank?create=maybe", "create"),
            ("mongodb://a/bank?timeout_ms=soon", "timeout_ms"),
            ("mongodb://a/bank?timeout_ms=0", "zero"),
            ("mongodb://a/bank?collection=", "collection"),
            ("mongodb://a/bank?w=1&craete=true", "option 2"),
            ("mongodb://a/bank?tls=perhaps", "option 1"),
            ("mongodb://a", "no database"),
            ("mongodb://a:x/bank", "host 1"),
            ("mongodb://a,b/bank?directConnection=true", "together"),
        ] {
            let error = MongoDbDriver::builder().open(url).await.unwrap_err();
            assert!(matches!(error, DriverError::Failed { .. }), "{url}: {error:?}");
            assert!(error.to_string().contains(problem), "{url}: {error}");
        }
    }

    #[test]
    fn a_server_alone_is_told_from_a_set_and_a_router() {
        assert!(is_standalone(&doc! { "ok": 1 }));
        assert!(!is_standalone(&doc! { "ok": 1, "setName": "rs0" }));
        assert!(!is_standalone(&doc! { "ok": 1, "msg": "isdbgrid" }));
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
