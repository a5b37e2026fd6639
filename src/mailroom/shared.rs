//! What all slots of one store share: the driver, the options, and the limits of the whole store.
//!
//! A mail, an actor and a put find everything through their slot, and the slot finds it here.
//! Nothing here knows a slot.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::admission::Admission;
use super::arbiters::Arbiters;
use super::figures::Figures;
use super::resident_states::ResidentStates;
use super::seats::Seats;
use crate::driver::{Driver, Limits};
use crate::event::Timestamp;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::upcast::Upcasters;
use crate::user_code::{self, Discarded, Panicked};

/// The time that the answer of a driver may take after the driver gave up a put.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);
/// A year: an instant this much later can still be computed.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The clock that events are stamped with.
pub(crate) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The options of a store, as its builder sets them.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) arbiters: usize,
    pub(crate) permits_per_aggregate: usize,
    pub(crate) max_resident: usize,
    pub(crate) max_resident_bytes: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) bytes_in_flight: usize,
    pub(crate) put_deadline: Duration,
    pub(crate) put_attempt_timeout: Duration,
    /// Whether the attempt timeout is at least as long as the driver tries a put.
    pub(crate) waits_for_driver: bool,
    pub(crate) read_deadline: Duration,
    pub(crate) close_deadline: Duration,
    pub(crate) commit_id_window: usize,
    pub(crate) clock: Clock,
    pub(crate) upcasters: Arc<Upcasters>,
}

/// What all slots of one store share.
pub(crate) struct Shared {
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) config: Config,
    pub(super) limits: Limits,
    pub(super) is_exclusive: bool,
    pub(super) admission: Admission,
    pub(super) arbiters: Arbiters,
    pub(super) seats: Seats,
    pub(super) states: ResidentStates,
    pub(super) figures: Figures,
    has_ended: AtomicBool,
}

impl Shared {
    pub(super) fn new(driver: Arc<dyn Driver>, mut config: Config, arbiters: Arbiters) -> Self {
        if config.waits_for_driver
            && let Some(timeout) = driver.put_timeout()
        {
            let answered = timeout.saturating_add(ANSWER_MARGIN).min(LONGEST_ATTEMPT);
            config.put_attempt_timeout = config.put_attempt_timeout.max(answered);
        }
        Shared {
            limits: driver.limits(),
            is_exclusive: driver.is_exclusive(),
            admission: Admission::new(config.bytes_in_flight),
            seats: Seats::new(config.max_resident),
            states: ResidentStates::new(config.max_resident_bytes),
            figures: Figures::default(),
            has_ended: AtomicBool::new(false),
            driver,
            config,
            arbiters,
        }
    }

    /// No put is sent from here on: the close deadline has passed, or everything is answered.
    pub(super) fn end(&self) {
        self.has_ended.store(true, Ordering::SeqCst);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::SeqCst)
    }

    /// The time by the store's clock.
    ///
    /// # Errors
    ///
    /// When the clock panics.
    pub(super) fn now(&self) -> Result<Timestamp, Panicked> {
        user_code::call(|| (self.config.clock)()).map(Timestamp::from)
    }

    /// Drops a value of the application on the store's own runtime, because the calling thread may
    /// be a driver's.
    pub(crate) fn discard<T: Send + 'static>(&self, value: T) {
        let value = Discarded::new(value);
        self.spawn(async move { drop(value) });
    }

    /// Runs a future on the store's own runtime. False when the runtime has ended.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> bool {
        self.arbiters.spawn(future)
    }
}
