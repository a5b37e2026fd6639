//! How the driver is opened: [`DynamoDbBuilder`], and what a URL says of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{Credentials, StalledStreamProtectionConfig};
use futures_util::FutureExt;

use super::connection::DynamoDbTable;
use super::driver::DynamoDbDriver;
use super::item::LIMITS;

use crate::driver::Driver;
use crate::driver::remote::{RemoteUrl, RetryPolicy, check_endpoint, shown_endpoint};
use crate::error::DriverError;

const OPTIONS: &str = "region, endpoint, profile, access_key_id, secret_access_key, \
                       session_token, global_table, create, timeout_ms, attempt_timeout_ms";

/// The region where an endpoint is given and no region is: an endpoint of one's own has none.
const ANY_REGION: &str = "us-east-1";

/// Opens a [`DynamoDbDriver`] otherwise than by default.
///
/// ```no_run
/// use seriatim::driver::dynamodb::DynamoDbDriver;
///
/// # async fn example() -> Result<(), seriatim::driver::DriverError> {
/// let driver = DynamoDbDriver::builder()
///     .endpoint("http://localhost:8000")
///     .credentials("local", "local")
///     .create(true)
///     .open("events")
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct DynamoDbBuilder {
    region: Option<String>,
    endpoint: Option<String>,
    profile: Option<String>,
    credentials: Option<(String, String)>,
    session_token: Option<String>,
    global_table: bool,
    create: bool,
    timeout: Option<Duration>,
    attempt_timeout: Option<Duration>,
}

impl fmt::Debug for DynamoDbBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and tokens stay out.
        f.debug_struct("DynamoDbBuilder")
            .field("region", &self.region)
            .field("endpoint", &shown_endpoint(self.endpoint.as_ref()))
            .field("profile", &self.profile)
            .field("global_table", &self.global_table)
            .field("create", &self.create)
            .field("timeout", &self.timeout)
            .field("attempt_timeout", &self.attempt_timeout)
            .finish_non_exhaustive()
    }
}

impl DynamoDbDriver {
    /// Opens a driver with options of its own.
    pub fn builder() -> DynamoDbBuilder {
        DynamoDbBuilder::default()
    }
}

impl DynamoDbBuilder {
    /// How long an operation may be tried, unless told.
    pub const DEFAULT_TIMEOUT: Duration = RetryPolicy::DEFAULT_TIMEOUT;

    /// The region, such as `eu-central-1`; the environment's unless told.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// An address to use in place of the region's own: `http://localhost:8000`, or a VPC endpoint.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// The profile of the shared AWS configuration; `AWS_PROFILE`, or `default`, unless told.
    pub fn profile(mut self, profile: impl Into<String>) -> Self {
        self.profile = Some(profile.into());
        self
    }

    /// An access key and its secret; the environment's unless told.
    pub fn credentials(
        mut self,
        access_key_id: impl Into<String>,
        secret_access_key: impl Into<String>,
    ) -> Self {
        self.credentials = Some((access_key_id.into(), secret_access_key.into()));
        self
    }

    /// The session token that belongs to temporary [`credentials`](Self::credentials).
    pub fn session_token(mut self, token: impl Into<String>) -> Self {
        self.session_token = Some(token.into());
        self
    }

    /// Whether a missing table is made; not unless told. An existing one is never changed.
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

    /// Takes a global table whose regions arbitrate by the last writer. You promise that **all**
    /// writers of the store use one region: two regions overwrite each other's answered events.
    /// Such a table is refused unless told.
    pub fn global_table_with_one_writing_region(mut self, promised: bool) -> Self {
        self.global_table = promised;
        self
    }

    /// How long one attempt may take; as long as all together unless told.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// Opens the driver on this table, on the tokio runtime that will poll it.
    ///
    /// # Errors
    ///
    /// [`DriverError::Failed`] where an option is wrong, the table is missing or is none of events;
    /// [`DriverError::Unavailable`] where DynamoDB cannot be reached within the timeout.
    pub async fn open(self, table: &str) -> Result<DynamoDbDriver, DriverError> {
        // Boxed, so that callers' futures do not hold the client's, whose nesting is deep.
        self.open_table(table).boxed().await
    }

    async fn open_table(self, table: &str) -> Result<DynamoDbDriver, DriverError> {
        check_table_name(table)?;
        if self.session_token.is_some() && self.credentials.is_none() {
            return Err(DriverError::failed("a session token needs an access key and its secret"));
        }
        if let Some(endpoint) = &self.endpoint {
            check_endpoint(endpoint)?;
        }
        let policy = RetryPolicy::new(self.timeout, self.attempt_timeout)?;
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        let region = self.region.or_else(|| self.endpoint.as_ref().map(|_| ANY_REGION.to_owned()));
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        if let Some((id, secret)) = self.credentials {
            let token = self.session_token;
            loader = loader.credentials_provider(Credentials::new(id, secret, token, None, "URL"));
        }
        // It may ask the machine's own services where it runs.
        let shared =
            tokio::time::timeout(policy.deadline(), loader.load()).await.map_err(|_elapsed| {
                DriverError::unavailable(
                    "the AWS configuration could not be read within the timeout",
                )
            })?;
        let Some(region) = shared.region() else {
            return Err(DriverError::failed(
                "no region: add ?region=NAME, or set AWS_REGION or the profile's region",
            ));
        };
        let address = match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => format!("region {region}"),
        };
        // One attempt a sending: the driver tries again what surely was not written, and the
        // mailroom sends again what may have been. The deadline is the driver's too.
        let timeouts = TimeoutConfig::builder().connect_timeout(policy.connect_timeout());
        let mut config = aws_sdk_dynamodb::config::Builder::from(&shared)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.build())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(endpoint) = self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        let mut opened = DynamoDbTable {
            client: Client::from_conf(config.build()),
            table: table.to_owned(),
            address,
            policy,
            limits: LIMITS,
        };
        let found = opened.prepare(self.create).await?;
        opened.limits = opened.limits_of(&found, self.global_table)?;
        Ok(DynamoDbDriver::new(opened))
    }
}

/// Opens what follows `dynamodb:` in a URL.
pub(in crate::driver) async fn open_url(rest: &str) -> Result<Arc<dyn Driver>, DriverError> {
    let (table, builder) = read_url(rest)?;
    Ok(Arc::new(builder.open(&table).await?))
}

fn read_url(rest: &str) -> Result<(String, DynamoDbBuilder), DriverError> {
    let mut url = RemoteUrl::parse(rest)?;
    url.refuse_user()?;
    if !url.path.is_empty() {
        return Err(DriverError::failed("nothing but options follows the table: dynamodb://TABLE"));
    }
    let credentials = match (url.take("access_key_id"), url.take("secret_access_key")) {
        (None, None) => None,
        (Some(id), Some(secret)) => Some((id, secret)),
        _ => {
            return Err(DriverError::failed(
                "access_key_id and secret_access_key belong together: give both or neither",
            ));
        }
    };
    let global_table = match url.take("global_table").as_deref() {
        None => false,
        Some("one_writing_region") => true,
        Some(_) => {
            return Err(DriverError::failed("the option global_table must be one_writing_region"));
        }
    };
    let builder = DynamoDbBuilder {
        region: url.take("region"),
        endpoint: url.take("endpoint"),
        profile: url.take("profile"),
        credentials,
        session_token: url.take("session_token"),
        global_table,
        create: url.take_parsed("create")?.unwrap_or(false),
        timeout: url.take_parsed("timeout_ms")?.map(Duration::from_millis),
        attempt_timeout: url.take_parsed("attempt_timeout_ms")?.map(Duration::from_millis),
    };
    url.refuse_rest(OPTIONS)?;
    check_table_name(&url.authority)?;
    Ok((url.authority, builder))
}

fn check_table_name(table: &str) -> Result<(), DriverError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if (3..=255).contains(&table.len()) && table.chars().all(plain) {
        return Ok(());
    }
    Err(DriverError::failed("the table's name must be 3 to 255 of a-z, A-Z, 0-9, '_', '-' and '.'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_everything_a_builder_does() {
        let (table, builder) = read_url(
            "//my.events?region=eu-west-1&endpoint=http://localhost:8000&profile=p&access_key_id=AK\
             &secret_access_key=s%2Fk%2B&session_token=tok&create=true&timeout_ms=700\
             &attempt_timeout_ms=90&global_table=one_writing_region",
        )
        .unwrap();
        assert_eq!(table, "my.events");
        assert_eq!(builder.region.as_deref(), Some("eu-west-1"));
        assert_eq!(builder.endpoint.as_deref(), Some("http://localhost:8000"));
        assert_eq!(builder.profile.as_deref(), Some("p"));
        assert_eq!(builder.credentials, Some(("AK".to_owned(), "s/k+".to_owned())));
        assert_eq!(builder.session_token.as_deref(), Some("tok"));
        assert!(builder.create && builder.global_table);
        assert_eq!(builder.attempt_timeout, Some(Duration::from_millis(90)));
        assert_eq!(builder.timeout, Some(Duration::from_millis(700)));
        let (_, plain) = read_url("//events").unwrap();
        assert!(!plain.create && plain.credentials.is_none() && plain.timeout.is_none());
    }

    #[test]
    fn a_wrong_url_is_refused() {
        for (url, problem) in [
            ("events", "\"//\""),
            ("//", "table's name"),
            ("//ab", "table's name"),
            ("//ev%20ents", "table's name"),
            ("//events/more", "follows the table"),
            ("//events?regoin=x", "option 1"),
            ("//ada:hush@events", "no user"),
            ("//events?global_table=yes", "one_writing_region"),
            ("//events?access_key_id=x", "belong together"),
            ("//events?create=maybe", "create"),
            ("//events?timeout_ms=-1", "timeout_ms"),
        ] {
            let error = read_url(url).unwrap_err().to_string();
            assert!(error.contains(problem), "{url}: {error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let url = "//events?access_key_id=AKIA&secret_access_key=hush&session_token=hush";
        let shown = format!("{:?}", read_url(url).unwrap().1);
        assert!(!shown.contains("hush") && !shown.contains("AKIA"), "{shown}");
    }

    #[tokio::test]
    async fn what_cannot_be_reached_is_named() {
        // A port that was just free, and is not listened on.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let builder = DynamoDbDriver::builder()
            .endpoint(format!("http://127.0.0.1:{port}"))
            .credentials("local", "local")
            .timeout(Duration::from_secs(1));
        let error = builder.open("events").await.unwrap_err();
        assert!(matches!(error, DriverError::Unavailable { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
    }
}
