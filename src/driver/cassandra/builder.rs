//! How the driver is opened: [`CassandraBuilder`], what a URL says of it, keyspace and table.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::TranslationError;
use scylla::policies::address_translator::{AddressTranslator, UntranslatedPeer};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::FallthroughRetryPolicy;
use tokio::time::timeout;

use super::driver::CassandraDriver;
use super::failure::{classify, not_opened};
use super::snapshot;
use super::table::{CassandraTable, Serial, columns};
use super::tls::TlsOptions;
use crate::driver::Driver;
use crate::driver::remote::{CallKind, RemoteUrl, RetryPolicy};
use crate::error::DriverError;

const OPTIONS: &str = "table, create, replication, serial, datacenter, fixed_address, tls, \
                       tls_ca, tls_cert, tls_key, tls_server_name, timeout_ms, \
                       attempt_timeout_ms";
const DEFAULT_TABLE: &str = "events";
const DEFAULT_PORT: u16 = 9042;

/// Opens a [`CassandraDriver`] otherwise than by default.
///
/// ```no_run
/// use seriatim::driver::cassandra::CassandraDriver;
///
/// # async fn example() -> Result<(), seriatim::driver::DriverError> {
/// let driver = CassandraDriver::builder()
///     .table("bank_events")
///     .create(true)
///     .open(["localhost:9042"], "bank")
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct CassandraBuilder {
    table: Option<String>,
    create: bool,
    replication: Option<u32>,
    serial: Serial,
    datacenter: Option<String>,
    fixed_address: bool,
    tls: TlsOptions,
    user: Option<(String, String)>,
    timeout: Option<Duration>,
    attempt_timeout: Option<Duration>,
}

impl fmt::Debug for CassandraBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password stays out.
        f.debug_struct("CassandraBuilder")
            .field("table", &self.table)
            .field("create", &self.create)
            .field("replication", &self.replication)
            .field("serial", &self.serial)
            .field("datacenter", &self.datacenter)
            .field("fixed_address", &self.fixed_address)
            .field("tls", &self.tls)
            .field("timeout", &self.timeout)
            .field("attempt_timeout", &self.attempt_timeout)
            .finish_non_exhaustive()
    }
}

impl CassandraDriver {
    /// Opens a driver with options of its own.
    pub fn builder() -> CassandraBuilder {
        CassandraBuilder::default()
    }
}

impl CassandraBuilder {
    /// How long an operation may be tried, unless told.
    pub const DEFAULT_TIMEOUT: Duration = RetryPolicy::DEFAULT_TIMEOUT;

    /// The table; `events` unless told.
    pub fn table(mut self, table: impl Into<String>) -> Self {
        self.table = Some(table.into());
        self
    }

    /// Whether a missing keyspace and table are made; not unless told. Existing ones are never
    /// changed.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// How many copies of each row a keyspace that is made keeps; 1 unless told.
    pub fn replication(mut self, copies: u32) -> Self {
        self.replication = Some(copies);
        self
    }

    /// Arbitrates within one datacentre only (`LOCAL_SERIAL`), which is right only where **all**
    /// writers of the store use that one. It needs [`datacenter`](Self::datacenter): without it
    /// each process could arbitrate in another one.
    pub fn local_serial(mut self) -> Self {
        self.serial = Serial::Local;
        self
    }

    /// Speaks only to the nodes of this datacentre, named as the cluster names it. There is no
    /// failover to another one.
    pub fn datacenter(mut self, name: impl Into<String>) -> Self {
        self.datacenter = Some(name.into());
        self
    }

    /// Speaks to every node through the first host given, whatever address it tells: for a single
    /// node behind a forwarded port.
    pub fn fixed_address(mut self, fixed: bool) -> Self {
        self.fixed_address = fixed;
        self
    }

    /// Speaks TLS, and trusts the authorities that the operating system trusts. Needs the feature
    /// `cassandra-tls`.
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls.on = tls;
        self
    }

    /// Speaks TLS, and trusts the authorities in this PEM file alone.
    pub fn tls_ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.tls.on = true;
        self.tls.ca = Some(file.into());
        self
    }

    /// Speaks TLS, and shows the nodes this certificate and its key, both PEM files.
    pub fn tls_client(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls.on = true;
        (self.tls.cert, self.tls.key) = (Some(cert.into()), Some(key.into()));
        self
    }

    /// Speaks TLS, and expects this name in the nodes' certificates in place of their addresses.
    pub fn tls_server_name(mut self, name: impl Into<String>) -> Self {
        self.tls.on = true;
        self.tls.server_name = Some(name.into());
        self
    }

    /// Logs in as this user.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some((name.into(), password.into()));
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

    /// Opens the driver on this keyspace of the cluster that these nodes (`host:port`) belong to,
    /// on the tokio runtime that will poll it.
    ///
    /// # Errors
    ///
    /// [`DriverError::Failed`] where an option is wrong, the cluster refuses the user or has no
    /// such datacentre, or the table is missing; [`DriverError::Unavailable`] where no node can be
    /// reached, or opening does not end, within the timeout.
    pub async fn open<H: AsRef<str>>(
        self,
        hosts: impl IntoIterator<Item = H>,
        keyspace: &str,
    ) -> Result<CassandraDriver, DriverError> {
        let hosts: Vec<String> = hosts.into_iter().map(|host| with_port(host.as_ref())).collect();
        let policy = RetryPolicy::new(self.timeout, self.attempt_timeout)?;
        if self.serial == Serial::Local && self.datacenter.is_none() {
            return Err(DriverError::failed(
                "serial=local needs datacenter=NAME: without it each process could arbitrate in \
                 another datacentre, and overwrite what was answered",
            ));
        }
        let table = self.table.as_deref().unwrap_or(DEFAULT_TABLE);
        let table = format!("{}.{}", quoted("keyspace", keyspace)?, quoted("table", table)?);
        let name = format!("the table {table} at {}", hosts.join(","));
        // Every step waits for the cluster: the names, the session, the statements.
        // It is boxed, so that callers' futures do not hold the client's, whose nesting is deep.
        let opening = self.open_table(&hosts, keyspace, &table, &name).boxed();
        match timeout(policy.deadline(), opening).await {
            Ok(opened) => opened,
            Err(_elapsed) => Err(DriverError::unavailable(format!(
                "Cassandra, opening {name}: no answer within the timeout"
            ))),
        }
    }

    async fn open_table(
        &self,
        hosts: &[String],
        keyspace: &str,
        table: &str,
        name: &str,
    ) -> Result<CassandraDriver, DriverError> {
        let policy = RetryPolicy::new(self.timeout, self.attempt_timeout)?;
        let session = self.connect(hosts, name, policy.deadline()).await?;
        self.check_datacenter(&session)?;
        if self.create {
            self.make(&session, keyspace, table, name).await?;
        }
        let opened =
            CassandraTable::prepare(session, table, name.to_owned(), policy, self.serial).await;
        let opened = opened.map_err(|error| match error {
            DriverError::Failed { .. } => DriverError::failed(format!(
                "{name} is missing or is none of events: add ?create=true to make it ({error})"
            )),
            other => other,
        })?;
        Ok(CassandraDriver::new(opened))
    }

    fn check_datacenter(&self, session: &Session) -> Result<(), DriverError> {
        let Some(wanted) = &self.datacenter else { return Ok(()) };
        let state = session.get_cluster_state();
        let mut known: Vec<&str> =
            state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
        if known.contains(&wanted.as_str()) {
            return Ok(());
        }
        known.sort_unstable();
        known.dedup();
        Err(DriverError::failed(format!(
            "the cluster has no datacentre of the name that the option datacenter gives, only {}",
            known.join(", ")
        )))
    }

    async fn connect(
        &self,
        hosts: &[String],
        name: &str,
        limit: Duration,
    ) -> Result<Session, DriverError> {
        // One attempt a sending: the driver tries again what surely was not written, and the
        // mailroom sends again what may have been. The deadline is the driver's too.
        let mut profile = ExecutionProfile::builder()
            .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
            .speculative_execution_policy(None)
            .request_timeout(None)
            .consistency(self.serial.of_writes());
        if let Some(datacenter) = &self.datacenter {
            let within = DefaultPolicy::builder()
                .prefer_datacenter(datacenter.clone())
                .permit_dc_failover(false);
            profile = profile.load_balancing_policy(within.build());
        }
        let mut builder = SessionBuilder::new()
            .known_nodes(hosts)
            .default_execution_profile_handle(profile.build().into_handle())
            .connection_timeout(limit);
        if let Some((user, password)) = &self.user {
            builder = builder.user(user, password);
        }
        let unreached = |problem: String| {
            DriverError::unavailable(format!("Cassandra, opening {name}: {problem}"))
        };
        if self.tls.on {
            builder = self.tls.apply(builder)?;
        }
        if self.fixed_address {
            let Some(first) = hosts.first() else {
                return Err(DriverError::failed("no host is given"));
            };
            let found =
                tokio::net::lookup_host(first).await.map_err(|e| unreached(e.to_string()))?;
            let address =
                found.last().ok_or_else(|| unreached(format!("{first} has no address")))?;
            builder = builder.address_translator(Arc::new(Fixed(address)));
        }
        builder.build().await.map_err(|e| not_opened(&format!("Cassandra, opening {name}"), e))
    }

    async fn make(
        &self,
        session: &Session,
        keyspace: &str,
        table: &str,
        name: &str,
    ) -> Result<(), DriverError> {
        let copies = self.replication.unwrap_or(1);
        let keyspace = quoted("keyspace", keyspace)?;
        for statement in [
            format!(
                "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
                 {{'class': 'SimpleStrategy', 'replication_factor': {copies}}}"
            ),
            format!("CREATE TABLE IF NOT EXISTS {table} ({})", columns()),
            format!(
                "CREATE TABLE IF NOT EXISTS {} ({})",
                snapshot::table_beside(table),
                snapshot::columns()
            ),
        ] {
            let made = session.query_unpaged(statement, ()).await;
            made.map_err(|e| classify(CallKind::Read, &format!("Cassandra, making {name}"), e))?;
        }
        Ok(())
    }
}

/// Answers the same address for every node.
#[derive(Debug)]
struct Fixed(SocketAddr);

#[async_trait]
impl AddressTranslator for Fixed {
    async fn translate_address(
        &self,
        _node: &UntranslatedPeer,
    ) -> Result<SocketAddr, TranslationError> {
        Ok(self.0)
    }
}

fn with_port(host: &str) -> String {
    let has_port = match host.rsplit_once(']') {
        Some((_, behind)) => behind.starts_with(':'),
        None => host.contains(':'),
    };
    if has_port { host.to_owned() } else { format!("{host}:{DEFAULT_PORT}") }
}

/// A name as a statement has it: its case counts, and nothing in it is more than a name.
fn quoted(what: &str, name: &str) -> Result<String, DriverError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    // The engine allows 48, and the table of snapshots has a longer name than that of the events.
    let longest = if what == "table" { 38 } else { 48 };
    if (1..=longest).contains(&name.len()) && name.chars().all(plain) {
        return Ok(format!("\"{name}\""));
    }
    Err(DriverError::failed(format!(
        "the {what}'s name must be 1 to {longest} of a-z, A-Z, 0-9 and '_'"
    )))
}

/// Opens what follows `cassandra:` in a URL.
pub(in crate::driver) async fn open_url(rest: &str) -> Result<Arc<dyn Driver>, DriverError> {
    let (builder, hosts, keyspace) = read_url(rest)?;
    Ok(Arc::new(builder.open(hosts, &keyspace).await?))
}

fn read_url(rest: &str) -> Result<(CassandraBuilder, Vec<String>, String), DriverError> {
    let mut url = RemoteUrl::parse(rest)?;
    let hosts = url.hosts()?;
    let user = match url.take_user() {
        None => None,
        Some(user) => match user.password {
            Some(password) => Some((user.name, password)),
            None => {
                return Err(DriverError::failed("a user needs a password: USER:PASSWORD@HOST"));
            }
        },
    };
    let serial = match url.take("serial").as_deref() {
        None | Some("global") => Serial::Global,
        Some("local") => Serial::Local,
        Some(_) => {
            return Err(DriverError::failed("the option serial must be global or local"));
        }
    };
    let path = |url: &mut RemoteUrl, name| url.take(name).map(PathBuf::from);
    let mut tls = TlsOptions {
        on: false,
        ca: path(&mut url, "tls_ca"),
        cert: path(&mut url, "tls_cert"),
        key: path(&mut url, "tls_key"),
        server_name: url.take("tls_server_name"),
    };
    let implied = tls.ca.is_some() || tls.cert.is_some() || tls.server_name.is_some();
    tls.on = url.take_parsed("tls")?.unwrap_or(implied);
    if tls.cert.is_some() != tls.key.is_some() || (implied && !tls.on) {
        return Err(DriverError::failed(
            "tls_cert and tls_key belong together, and no tls_… option goes with tls=false",
        ));
    }
    let builder = CassandraBuilder {
        table: url.take("table"),
        create: url.take_parsed("create")?.unwrap_or(false),
        replication: url.take_parsed("replication")?,
        serial,
        datacenter: url.take("datacenter"),
        fixed_address: url.take_parsed("fixed_address")?.unwrap_or(false),
        tls,
        user,
        timeout: url.take_parsed("timeout_ms")?.map(Duration::from_millis),
        attempt_timeout: url.take_parsed("attempt_timeout_ms")?.map(Duration::from_millis),
    };
    url.refuse_rest(OPTIONS)?;
    quoted("keyspace", &url.path)?;
    Ok((builder, hosts, url.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_everything_a_builder_does() {
        let (builder, hosts, keyspace) = read_url(
            "//ada:h%40sh@a:1,[::1]:2,c/bank?table=all&create=true&replication=3&serial=local\
             &datacenter=east&attempt_timeout_ms=300&fixed_address=true&timeout_ms=700",
        )
        .unwrap();
        assert_eq!((hosts.join(" ").as_str(), keyspace.as_str()), ("a:1 [::1]:2 c", "bank"));
        assert_eq!(builder.user, Some(("ada".to_owned(), "h@sh".to_owned())));
        assert_eq!((builder.table.as_deref(), builder.create), (Some("all"), true));
        assert_eq!((builder.replication, builder.serial), (Some(3), Serial::Local));
        assert_eq!(
            (builder.fixed_address, builder.timeout),
            (true, Some(Duration::from_millis(700)))
        );
        assert_eq!(builder.datacenter.as_deref(), Some("east"));
        assert_eq!(builder.attempt_timeout, Some(Duration::from_millis(300)));
        assert!(!format!("{builder:?}").contains("h@sh"));
    }

    #[test]
    fn a_wrong_url_is_refused() {
        for (url, problem) in [
            ("bank", "\"//\""),
            ("//a,,b/bank", "host 2"),
            ("//a:x/bank", "host 1"),
            ("//a/", "keyspace's name"),
            ("//a/ba-nk", "keyspace's name"),
            ("//ada@a/bank", "password"),
            ("//a/bank?serial=maybe", "serial"),
            ("//a/bank?table=t&craete=true", "option 2"),
        ] {
            let error = read_url(url).unwrap_err().to_string();
            assert!(error.contains(problem), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn local_arbitration_needs_a_datacentre() {
        let error = open_url("//127.0.0.1:1/bank?serial=local").await.err().unwrap();
        assert!(matches!(error, DriverError::Failed { .. }), "{error:?}");
        assert!(error.to_string().contains("datacenter=NAME"), "{error}");
        let error = CassandraDriver::builder().local_serial().open(["127.0.0.1:1"], "bank").await;
        assert!(error.unwrap_err().to_string().contains("datacenter=NAME"));
    }

    #[test]
    fn a_host_without_a_port_has_the_usual_one() {
        let hosts = ["a", "a:1", "[::1]", "[::1]:1"].map(with_port);
        assert_eq!(hosts, ["a:9042", "a:1", "[::1]:9042", "[::1]:1"]);
    }

    #[tokio::test]
    async fn what_cannot_be_reached_is_named_without_its_password() {
        // A port that was just free, and is not listened on.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("//ada:hush@127.0.0.1:{port}/bank?timeout_ms=1000");
        let error = open_url(&url).await.err().unwrap();
        assert!(matches!(error, DriverError::Unavailable { .. }), "{error:?}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
}
