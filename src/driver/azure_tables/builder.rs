//! How the driver is opened: [`AzureTablesBuilder`], and what a URL says of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use reqwest::Client;
use reqwest::redirect::Policy;

use super::credential::{ConnectionString, Credential, SecretSource};
use super::driver::AzureTablesDriver;
use super::entra::{EntraIdentity, EntraTokens};
use super::service::Service;
use super::table::AzureTable;
use crate::driver::Driver;
use crate::driver::remote::{CallKind, RemoteUrl, RetryPolicy, check_endpoint, shown_endpoint};
use crate::error::DriverError;

const OPTIONS: &str = "key, sas, entra, endpoint, create, timeout_ms, attempt_timeout_ms";
/// Where the key is looked for.
const KEY_VARIABLE: &str = "AZURE_STORAGE_KEY";
/// Where a connection string is looked for, if there is no key.
const STRING_VARIABLE: &str = "AZURE_STORAGE_CONNECTION_STRING";

/// Opens an [`AzureTablesDriver`] otherwise than by default.
///
/// ```no_run
/// use seriatim::driver::azure_tables::AzureTablesDriver;
///
/// # async fn example(key: String) -> Result<(), seriatim::driver::DriverError> {
/// let driver =
///     AzureTablesDriver::builder().key(key).create(true).open("bankaccount", "events").await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct AzureTablesBuilder {
    key: Option<String>,
    sas: Option<String>,
    sas_source: Option<SecretSource>,
    token_source: Option<SecretSource>,
    entra: Option<EntraIdentity>,
    connection_string: Option<String>,
    endpoint: Option<String>,
    create: bool,
    timeout: Option<Duration>,
    attempt_timeout: Option<Duration>,
}

impl fmt::Debug for AzureTablesBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secrets stay out.
        f.debug_struct("AzureTablesBuilder")
            .field("endpoint", &shown_endpoint(self.endpoint.as_ref()))
            .field("create", &self.create)
            .field("timeout", &self.timeout)
            .field("attempt_timeout", &self.attempt_timeout)
            .finish_non_exhaustive()
    }
}

impl AzureTablesDriver {
    /// Opens a driver with options of its own.
    pub fn builder() -> AzureTablesBuilder {
        AzureTablesBuilder::default()
    }
}

impl AzureTablesBuilder {
    /// How long an operation may be tried, unless told.
    pub const DEFAULT_TIMEOUT: Duration = RetryPolicy::DEFAULT_TIMEOUT;

    /// The storage account's key, base64; the variable `AZURE_STORAGE_KEY` unless told.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// A shared access signature in place of the key: its whole query, with or without the `?`.
    pub fn sas(mut self, query: impl Into<String>) -> Self {
        self.sas = Some(query.into());
        self
    }

    /// Asks `source` for a shared access signature before every request: its whole query, with or
    /// without the `?`. A service that hands out short-lived signatures is asked ahead of time,
    /// elsewhere; `source` returns at once what it has.
    pub fn sas_source(mut self, source: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.sas_source = Some(Arc::new(source));
        self
    }

    /// Signs in with Entra ID, as this identity. The endpoint must be an `https` one.
    pub fn entra(mut self, identity: EntraIdentity) -> Self {
        self.entra = Some(identity);
        self
    }

    /// Asks `source` for a token of Entra ID (for `https://storage.azure.com/.default`) before
    /// every request, in place of [`entra`](Self::entra): for identities that it does not know.
    /// `source` returns at once what it has, and renews it ahead of time, elsewhere. The endpoint
    /// must be an `https` one.
    pub fn token_source(mut self, source: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.token_source = Some(Arc::new(source));
        self
    }

    /// The account's connection string, as the Azure portal shows it: its key or signature, and
    /// where its table service is. The variable `AZURE_STORAGE_CONNECTION_STRING` unless told,
    /// where there is no other credential.
    pub fn connection_string(mut self, text: impl Into<String>) -> Self {
        self.connection_string = Some(text.into());
        self
    }

    /// The table service's address; `https://ACCOUNT.table.core.windows.net` unless told.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Whether a missing table is made; not unless told.
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

    /// Opens the driver on this table of this storage account, on the tokio runtime that will poll
    /// it.
    ///
    /// # Errors
    ///
    /// [`DriverError::Failed`] where an option is wrong, the table is missing or the service
    /// refuses the credential; [`DriverError::Unavailable`] where it cannot be reached within the
    /// timeout.
    pub async fn open(self, account: &str, table: &str) -> Result<AzureTablesDriver, DriverError> {
        // Boxed, so that callers' futures do not hold the client's, whose nesting is deep.
        self.open_table(account, table).boxed().await
    }

    /// What requests prove themselves with, and where they go.
    fn credential(
        &self,
        account: &str,
        client: &Client,
        policy: RetryPolicy,
    ) -> Result<(Credential, String), DriverError> {
        let of_account = || format!("https://{account}.table.core.windows.net");
        let endpoint = self.endpoint.clone();
        let token = match (&self.token_source, self.entra) {
            (Some(source), _) => Some(Credential::Token(source.clone())),
            (None, Some(identity)) => {
                let limit = policy.connect_timeout();
                Some(Credential::Entra(EntraTokens::new(identity, client.clone(), limit)?))
            }
            (None, None) => None,
        };
        if let Some(token) = token {
            let endpoint = endpoint.unwrap_or_else(of_account);
            check_endpoint(&endpoint)?;
            check_encrypted(&endpoint)?;
            return Ok((token, endpoint));
        }
        if let Some(source) = &self.sas_source {
            return Ok((Credential::Sas(source.clone()), endpoint.unwrap_or_else(of_account)));
        }
        if let Some(sas) = &self.sas {
            return Ok((Credential::sas(sas.clone()), endpoint.unwrap_or_else(of_account)));
        }
        if let Some(key) = &self.key {
            return Ok((Credential::key(key)?, endpoint.unwrap_or_else(of_account)));
        }
        let variable = |name| std::env::var(name).ok();
        if self.connection_string.is_none()
            && let Some(key) = variable(KEY_VARIABLE)
        {
            return Ok((Credential::key(&key)?, endpoint.unwrap_or_else(of_account)));
        }
        let Some(text) = self.connection_string.clone().or_else(|| variable(STRING_VARIABLE))
        else {
            return Err(DriverError::failed(format!(
                "no credential: set {KEY_VARIABLE} or {STRING_VARIABLE}, or add ?key=…, ?sas=… or \
                 ?entra=…"
            )));
        };
        let parts = ConnectionString::parse(&text)?;
        if parts.account.as_deref().is_some_and(|named| named != account) {
            return Err(DriverError::failed(
                "the connection string is another account's than the one that is opened",
            ));
        }
        let credential = match (parts.sas, parts.key) {
            (Some(sas), _) => Credential::sas(sas),
            (None, Some(key)) => Credential::key(&key)?,
            (None, None) => {
                return Err(DriverError::failed(
                    "the connection string has neither AccountKey nor SharedAccessSignature",
                ));
            }
        };
        let endpoint = endpoint.or(parts.endpoint).unwrap_or_else(of_account);
        Ok((credential, endpoint))
    }

    async fn open_table(
        self,
        account: &str,
        table: &str,
    ) -> Result<AzureTablesDriver, DriverError> {
        let policy = RetryPolicy::new(self.timeout, self.attempt_timeout)?;
        check_names(account, table)?;
        let client = Client::builder()
            .connect_timeout(policy.connect_timeout())
            .redirect(Policy::none())
            .build();
        let client = client.map_err(|e| {
            DriverError::failed(format!("Azure Tables: no client could be made: {e}")).caused_by(e)
        })?;
        let (credential, endpoint) = self.credential(account, &client, policy)?;
        check_endpoint(&endpoint)?;
        refuse_cosmos(&endpoint)?;
        let service =
            Service::new(client, account.to_owned(), &endpoint, table.to_owned(), credential);
        let connection = AzureTable { service, policy };
        let there = || connection.service.has_table();
        if !connection.retry(CallKind::Read, "opening", there).await? {
            if !self.create {
                return Err(DriverError::failed(format!(
                    "{} is missing: add ?create=true to make it",
                    connection.service.name()
                )));
            }
            let make = || connection.service.make_table();
            connection.retry(CallKind::Read, "making it", make).await?;
        }
        Ok(AzureTablesDriver::new(connection))
    }
}

/// A token is as good as a key: it goes over an encrypted connection, or does not leave the
/// machine.
fn check_encrypted(endpoint: &str) -> Result<(), DriverError> {
    let host = endpoint.strip_prefix("http://").map(|rest| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority.rsplit_once(':').map_or(authority, |(host, _)| host)
    });
    match host {
        None | Some("127.0.0.1" | "localhost" | "[::1]") => Ok(()),
        Some(_) => Err(DriverError::failed(
            "a token of Entra ID is not sent over http: the endpoint must begin with https://",
        )),
    }
}

/// The tables of Cosmos DB answer to the same requests, but keep neither the order nor the limits
/// that this driver relies on.
fn refuse_cosmos(endpoint: &str) -> Result<(), DriverError> {
    match endpoint.to_ascii_lowercase().contains(".table.cosmos") {
        false => Ok(()),
        true => Err(DriverError::failed(
            "the endpoint is a Cosmos DB account's, which does not keep the order of rows: use \
             the tables of an Azure Storage account",
        )),
    }
}

fn check_names(account: &str, table: &str) -> Result<(), DriverError> {
    let alphanumeric = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !(3..=24).contains(&account.len()) || !alphanumeric(account) {
        return Err(DriverError::failed(
            "the storage account's name must be 3 to 24 letters and digits",
        ));
    }
    let begins = table.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if !(3..=63).contains(&table.len()) || !alphanumeric(table) || !begins {
        return Err(DriverError::failed(
            "the table's name must be a letter, then 2 to 62 letters and digits",
        ));
    }
    Ok(())
}

/// Opens what follows `azure-tables:` in a URL.
pub(in crate::driver) async fn open_url(rest: &str) -> Result<Arc<dyn Driver>, DriverError> {
    let (builder, account, table) = read_url(rest)?;
    Ok(Arc::new(builder.open(&account, &table).await?))
}

fn read_url(rest: &str) -> Result<(AzureTablesBuilder, String, String), DriverError> {
    let mut url = RemoteUrl::parse(rest)?;
    url.refuse_user()?;
    let builder = AzureTablesBuilder {
        key: url.take("key"),
        sas: url.take("sas"),
        sas_source: None,
        token_source: None,
        entra: url.take("entra").map(|of| EntraIdentity::of_option(&of)).transpose()?,
        connection_string: None,
        endpoint: url.take("endpoint"),
        create: url.take_parsed("create")?.unwrap_or(false),
        timeout: url.take_parsed("timeout_ms")?.map(Duration::from_millis),
        attempt_timeout: url.take_parsed("attempt_timeout_ms")?.map(Duration::from_millis),
    };
    url.refuse_rest(OPTIONS)?;
    check_names(&url.authority, &url.path)?;
    Ok((builder, url.authority, url.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_everything_a_builder_does() {
        let (builder, account, table) = read_url(
            "//ada1/events?key=a%2Bb%3D%3D&sas=%3Fsv%3D1&endpoint=http%3A%2F%2Fh%2Fada1&create=true\
             &timeout_ms=700",
        )
        .unwrap();
        assert_eq!((account.as_str(), table.as_str()), ("ada1", "events"));
        assert_eq!(builder.key.as_deref(), Some("a+b=="));
        assert_eq!(builder.sas.as_deref(), Some("?sv=1"));
        assert_eq!(builder.endpoint.as_deref(), Some("http://h/ada1"));
        assert!(builder.create);
        assert_eq!(builder.timeout, Some(Duration::from_millis(700)));
        assert!(!format!("{builder:?}").contains("a+b"), "{builder:?}");
    }

    #[test]
    fn a_wrong_url_is_refused() {
        for (url, problem) in [
            ("ada1/events", "\"//\""),
            ("//a/events", "account's name"),
            ("//ada1/1events", "table's name"),
            ("//ada1/my_events", "table's name"),
            ("//ada1/events?craete=true", "option 1"),
            ("//ada:hush@ada1/events", "no user"),
            ("//ada1/events?create=maybe", "create"),
            ("//ada1/events?entra=maybe", "option entra"),
        ] {
            let error = read_url(url).unwrap_err().to_string();
            assert!(error.contains(problem), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn cosmos_db_is_refused_by_name() {
        let builder = AzureTablesDriver::builder().key("aGk=");
        let builder = builder.endpoint("https://ada1.table.cosmos.azure.com:443");
        let error = builder.open("ada1", "events").await.unwrap_err();
        assert!(matches!(error, DriverError::Failed { .. }), "{error:?}");
        assert!(error.to_string().contains("Cosmos DB"), "{error}");
    }

    #[tokio::test]
    async fn a_token_is_not_sent_in_the_clear() {
        for endpoint in ["http://tables.example/ada1", "http://ada@127.0.0.1.example:80"] {
            let builder = AzureTablesDriver::builder().token_source(|| "hush".to_owned());
            let error = builder.endpoint(endpoint).open("ada1", "events").await.unwrap_err();
            assert!(matches!(error, DriverError::Failed { .. }), "{error:?}");
            assert!(error.to_string().contains("https://"), "{error}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_reached_is_named_without_its_key() {
        // A port that was just free, and is not listened on.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!(
            "//ada1/events?sas=sig%3Dhush&endpoint=http%3A%2F%2F127.0.0.1%3A{port}%2Fada1\
             &timeout_ms=500"
        );
        let error = open_url(&url).await.err().unwrap();
        assert!(matches!(error, DriverError::Unavailable { .. }), "{error:?}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
}
