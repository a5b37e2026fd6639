//! The options of a store, and how it opens.

use std::fmt;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, SystemTime};

use super::EventStore;
use super::clock::without_jumps;
use super::extensions::Extensions;
#[cfg(all(unix, feature = "door"))]
use crate::driver::door::Door;
use crate::driver::{self, Driver};
use crate::error::OpenError;
use crate::event::KeyedEvent;
use crate::mailroom::{Config, OpenDriver, Runtime};
use crate::middleware::Middleware;
use crate::upcast::{Upcast, Upcasters};

/// Stands for "never", and is short enough to be added to any instant.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The default of [`Builder::max_clock_jump`].
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Options of a store; made by [`EventStore::builder`].
///
/// ```
/// use std::time::Duration;
/// use seriatim::EventStore;
///
/// # #[tokio::main] async fn main() -> Result<(), seriatim::OpenError> {
/// let store = EventStore::builder()
///     .url("memory:")
///     .max_resident(10_000)
///     .idle_timeout(Duration::from_secs(5))
///     .open()
///     .await?;
/// # drop(store);
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until it is opened"]
#[derive(Clone)]
pub struct Builder {
    from: DriverSource,
    config: Config,
    middleware: Vec<Arc<dyn Middleware>>,
    extensions: Extensions,
    /// Unless set: a day for the system's clock, and no bound for another one.
    max_clock_jump: Option<Duration>,
    has_own_clock: bool,
    #[cfg(feature = "metrics")]
    metrics_label: Option<String>,
    #[cfg(all(unix, feature = "door"))]
    serves_local: bool,
    /// The first option that cannot be taken.
    problem: Option<OpenError>,
}

#[derive(Clone)]
enum DriverSource {
    Nothing,
    Url(String),
    Driver(Arc<dyn Driver>),
}

#[cfg(feature = "metrics")]
impl DriverSource {
    /// What its metrics are labelled with: the URL, without what may be a secret.
    fn name(&self) -> Option<String> {
        match self {
            DriverSource::Url(url) => Some(driver::without_secrets(url)),
            DriverSource::Nothing | DriverSource::Driver(_) => None,
        }
    }
}

impl EventStore {
    /// Opens the store that `url` names. The part before the first `:` chooses the driver.
    ///
    /// | URL | cargo feature | driver |
    /// |---|---|---|
    /// | `memory:` | none | `driver::memory`: nothing outlives the process |
    /// | `redb:DIRECTORY` | `redb` (default) | `driver::redb`: embedded, durable |
    /// | `dynamodb://TABLE?…` | `dynamodb` | `driver::dynamodb` |
    /// | `mongodb://HOSTS/DATABASE?…`, `mongodb+srv://…` | `mongodb` | `driver::mongodb` |
    /// | `cassandra://HOSTS/KEYSPACE?…` | `cassandra` | `driver::cassandra` |
    /// | `azure-tables://ACCOUNT/TABLE?…` | `azure-tables` | `driver::azure_tables` |
    ///
    /// The feature `all-drivers` has all of them. `cassandra-tls` adds TLS to Cassandra, and
    /// `mongodb-aws` the sign-in `MONGODB-AWS` to MongoDB. Each driver's module lists its options.
    /// [`driver::URL_FORMS`] has the forms that this build opens.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. It names the directory of an embedded store. Of every other URL it names the
    /// scheme alone, because the rest can hold a secret.
    pub async fn open(url: impl AsRef<str>) -> Result<Self, OpenError> {
        Self::builder().url(url.as_ref()).open().await
    }

    /// Begins a store with options.
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl Builder {
    fn new() -> Self {
        Builder {
            from: DriverSource::Nothing,
            middleware: Vec::new(),
            extensions: Extensions::default(),
            max_clock_jump: None,
            has_own_clock: false,
            #[cfg(feature = "metrics")]
            metrics_label: None,
            #[cfg(all(unix, feature = "door"))]
            serves_local: false,
            problem: None,
            config: Config {
                arbiters: available_parallelism().map_or(1, |cores| cores.get().min(4)),
                permits_per_aggregate: 1_024,
                max_resident: 100_000,
                max_resident_bytes: 512 << 20,
                idle_timeout: Duration::from_secs(60),
                bytes_in_flight: 64 << 20,
                put_deadline: Duration::from_secs(10),
                put_attempt_timeout: Duration::from_secs(2),
                waits_for_driver: true,
                read_deadline: Duration::from_secs(10),
                close_deadline: Duration::from_secs(30),
                commit_id_window: 1_024,
                clock: Arc::new(SystemTime::now),
                upcasters: Arc::default(),
            },
        }
    }

    /// Opens what this URL names, as [`EventStore::open`] does.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.from = DriverSource::Url(url.into());
        self
    }

    /// Uses a driver that is open. The store polls it on its own runtime only, and closes it when
    /// it closes.
    pub fn driver(mut self, driver: Arc<dyn Driver>) -> Self {
        self.from = DriverSource::Driver(driver);
        self
    }

    /// The number of threads for the actors. Default: one per core, at most 4.
    pub fn arbiters(mut self, threads: usize) -> Self {
        self.config.arbiters = threads;
        self
    }

    /// The number of appends that one aggregate admits before further ones wait or are `Busy`.
    /// Default 1,024.
    pub fn permits_per_aggregate(mut self, permits: usize) -> Self {
        self.config.permits_per_aggregate = permits;
        self
    }

    /// The number of aggregates whose mailbox may be in memory at the same time. Beyond it, the
    /// least recently used idle one is passivated. While none is idle, appends to others wait.
    /// Default 100,000.
    pub fn max_resident(mut self, aggregates: usize) -> Self {
        self.config.max_resident = aggregates;
        self
    }

    /// The bytes of all resident entities' states, as
    /// [`Aggregate::resident_bytes`](crate::Aggregate::resident_bytes) estimates them, each rounded
    /// up to a KiB. Beyond it, the least recently used idle aggregates are passivated; states that
    /// commands are being decided on stay. A state that is larger than this by itself is dropped
    /// when no command waits for it, and loaded again for the next. Default 512 MiB.
    pub fn max_resident_bytes(mut self, bytes: usize) -> Self {
        self.config.max_resident_bytes = bytes;
        self
    }

    /// The time after which an unused aggregate is passivated. Default 60 s.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.config.idle_timeout = timeout;
        self
    }

    /// The bytes of all admitted and unanswered appends. Further appends wait. Default 64 MiB.
    pub fn bytes_in_flight(mut self, bytes: usize) -> Self {
        self.config.bytes_in_flight = bytes;
        self
    }

    /// The time, from the first sending of a put, in which its outcome is resolved. After it the
    /// callers get `Indeterminate`. An append that waits longer than this for its turn gets
    /// `Timeout`. Default 10 s.
    pub fn put_deadline(mut self, deadline: Duration) -> Self {
        self.config.put_deadline = deadline;
        self
    }

    /// The time for one sending of a put, after which the same put is sent again. Default 2 s, or a
    /// little longer than the driver tries by itself
    /// ([`Driver::put_timeout`](crate::driver::Driver::put_timeout)) where that is longer. A
    /// shorter time turns an engine that is down into an unknown outcome.
    pub fn put_attempt_timeout(mut self, timeout: Duration) -> Self {
        self.config.put_attempt_timeout = timeout;
        self.config.waits_for_driver = false;
        self
    }

    /// The time for one read of the driver (a page, a latest sequence). Default 10 s.
    pub fn read_deadline(mut self, deadline: Duration) -> Self {
        self.config.read_deadline = deadline;
        self
    }

    /// The time in which a close lets admitted appends finish, and then again the driver close.
    /// Default 30 s.
    pub fn close_deadline(mut self, deadline: Duration) -> Self {
        self.config.close_deadline = deadline;
        self
    }

    /// The number of an aggregate's latest events among which the commit id of an append with
    /// `Expected::Any`, or of a command, is looked for. Default 1,024.
    pub fn commit_id_window(mut self, events: usize) -> Self {
        self.config.commit_id_window = events;
        self
    }

    /// The clock that stamps events. Default: the system's.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.config.clock = Arc::new(clock);
        self.has_own_clock = true;
        self
    }

    /// The largest jump of the clock that events follow at once, ahead or back. While the clock is
    /// farther off, events are stamped as if it had not jumped, and a warning is logged. A clock
    /// that stands by its jump for as long as this, or for a minute, is believed. Default: one day;
    /// no bound for a [clock](Builder::clock) of the application's own.
    pub fn max_clock_jump(mut self, jump: Duration) -> Self {
        self.max_clock_jump = Some(jump);
        self
    }

    /// The value of the label `store` of this store's metrics (feature `metrics`). Default: the
    /// URL; of an engine's URL the scheme alone. A store that was given a driver has no label by
    /// default. Stores of one process need labels of their own.
    #[cfg(feature = "metrics")]
    pub fn metrics_label(mut self, label: impl Into<String>) -> Self {
        self.metrics_label = Some(label.into());
        self
    }

    /// Opens a door: a Unix socket in the store's directory, by which processes of the same user
    /// read the store while it is open here. The command line finds it there:
    /// `seriatim log redb:./data --follow` and every other command that only reads works while the
    /// application runs. Of redb stores in a directory only. Nothing is written through it.
    ///
    /// The socket has the mode 0600. It is removed when the store closes; one that a killed process
    /// left is replaced. [`DoorDriver`](crate::driver::door::DoorDriver) is the other side, and has
    /// an example.
    #[cfg(all(unix, feature = "door"))]
    pub fn serve_local(mut self) -> Self {
        self.serves_local = true;
        self
    }

    /// Adds a middleware around appends, commands and fetches. The one that is registered first is
    /// the outermost. See [`middleware`](crate::middleware).
    pub fn middleware(mut self, middleware: impl Middleware) -> Self {
        self.middleware.push(Arc::new(middleware));
        self
    }

    /// Reads events of this kind, type and schema version in a later form; see [`Upcast`]. The kind
    /// is the category of the aggregates' keys. A second upcaster for the same form fails the
    /// opening with [`OpenError::DuplicateUpcaster`].
    ///
    /// ```
    /// # use seriatim::{EventStore, Upcast};
    /// let builder = EventStore::builder().url("memory:");
    /// let builder = builder.upcaster("account", "Deposited", 1, |event| {
    ///     let euros: u64 = event.json().map_err(|e| e.to_string())?;
    ///     Ok(Upcast::to(2, &(euros * 100)))
    /// });
    /// # drop(builder);
    /// ```
    pub fn upcaster<F>(
        mut self,
        kind: impl AsRef<str>,
        event_type: impl AsRef<str>,
        version: u16,
        upcaster: F,
    ) -> Self
    where
        F: Fn(&KeyedEvent) -> Result<Upcast, String> + Send + Sync + 'static,
    {
        let upcasters = Arc::make_mut(&mut self.config.upcasters);
        let registered = upcasters.register(kind.as_ref(), event_type.as_ref(), version, upcaster);
        self.problem = self.problem.or(registered.err());
        self
    }

    /// The upcasters so far, or the first option that cannot be taken.
    pub(crate) fn checked_upcasters(&self) -> Result<&Upcasters, &OpenError> {
        self.problem.as_ref().map_or(Ok(&self.config.upcasters), Err)
    }

    /// Gives the application's own services to the entities whose
    /// [`Aggregate::Services`](crate::Aggregate::Services) is this type; once for each type. The
    /// store holds them until it closes, so they must not hold the store.
    pub fn services<S: Send + Sync + 'static>(self, services: S) -> Self {
        self.extend_once("services", "was called twice for one type", services)
    }

    /// Keeps a value for those that ask for its type. A second one is a problem of opening.
    pub(crate) fn extend_once<T: Send + Sync + 'static>(
        mut self,
        option: &'static str,
        problem: &'static str,
        value: T,
    ) -> Self {
        if !self.extensions.insert(value) {
            self.problem = self.problem.or(Some(OpenError::InvalidOption { option, problem }));
        }
        self
    }

    /// Opens the store. Works in any async runtime and under a plain blocking executor.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open(mut self) -> Result<EventStore, OpenError> {
        self.check()?;
        let config = &mut self.config;
        for duration in [
            &mut config.idle_timeout,
            &mut config.put_deadline,
            &mut config.put_attempt_timeout,
            &mut config.read_deadline,
            &mut config.close_deadline,
        ] {
            *duration = NEVER.min(*duration);
        }
        let default_jump = (!self.has_own_clock).then_some(A_DAY);
        if let Some(jump) = self.max_clock_jump.or(default_jump) {
            config.clock = without_jumps(config.clock.clone(), jump);
        }
        #[cfg(feature = "metrics")]
        let metrics_label = self.metrics_label.or_else(|| self.from.name());
        let open: OpenDriver = match self.from {
            DriverSource::Nothing => return Err(OpenError::NoDriver),
            DriverSource::Driver(driver) => Box::new(|| Box::pin(async move { Ok(driver) })),
            DriverSource::Url(url) => Box::new(|| Box::pin(open_url(url))),
        };
        let (runtime, mailroom) = Runtime::start(self.config, open).await?;
        #[cfg(all(unix, feature = "door"))]
        let door = match self.serves_local {
            false => None,
            true => match Door::open(mailroom.driver.clone()) {
                Ok(door) => Some(door),
                Err(error) => {
                    let _ = runtime.close().await;
                    return Err(OpenError::Door(error));
                }
            },
        };
        let middleware = self.middleware.into();
        Ok(EventStore::new(
            mailroom,
            runtime,
            middleware,
            self.extensions,
            #[cfg(all(unix, feature = "door"))]
            door,
            #[cfg(feature = "metrics")]
            metrics_label,
        ))
    }

    fn check(&self) -> Result<(), OpenError> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        let config = &self.config;
        let at_least_one = [
            ("arbiters", config.arbiters),
            ("permits_per_aggregate", config.permits_per_aggregate),
            ("max_resident", config.max_resident),
            ("max_resident_bytes", config.max_resident_bytes),
            ("bytes_in_flight", config.bytes_in_flight),
            ("commit_id_window", config.commit_id_window),
        ];
        if let Some((option, _)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
            return Err(OpenError::InvalidOption { option, problem: "must be at least 1" });
        }
        let at_most = tokio::sync::Semaphore::MAX_PERMITS;
        let permits = [
            ("permits_per_aggregate", config.permits_per_aggregate),
            ("max_resident", config.max_resident),
        ];
        if let Some((option, _)) = permits.into_iter().find(|(_, value)| *value > at_most) {
            return Err(OpenError::InvalidOption { option, problem: "is too large" });
        }
        let durations = [
            ("idle_timeout", config.idle_timeout),
            ("put_deadline", config.put_deadline),
            ("put_attempt_timeout", config.put_attempt_timeout),
            ("read_deadline", config.read_deadline),
        ];
        if let Some((option, _)) = durations.into_iter().find(|(_, value)| value.is_zero()) {
            return Err(OpenError::InvalidOption { option, problem: "must not be zero" });
        }
        Ok(())
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.from {
            DriverSource::Nothing => "nothing".to_owned(),
            DriverSource::Url(url) => driver::without_secrets(url),
            DriverSource::Driver(_) => "a driver".to_owned(),
        };
        f.debug_struct("Builder")
            .field("opens", &source)
            .field("middleware", &self.middleware.len())
            .finish_non_exhaustive()
    }
}

async fn open_url(url: String) -> Result<Arc<dyn Driver>, OpenError> {
    if !driver::is_known(&url) {
        let url = driver::without_secrets(&url);
        return Err(OpenError::UnknownScheme { url, known: driver::URL_FORMS.join(", ") });
    }
    driver::open(&url)
        .await
        .map_err(|source| OpenError::Driver { url: driver::without_secrets(&url), source })
}
