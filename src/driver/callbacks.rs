//! A driver of four closures, as the Go package `keyvalue` takes four callbacks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;

use super::{Driver, DriverError, EventPages, Fetch, Put, PutReceipt, async_trait};
use crate::event::{AggregateKey, KeyedEvent, Sequence};

/// Events of a page if the reader set no limit.
const PAGE_EVENTS: usize = 1_000;

/// What a callback answers with.
pub type CallbackFuture<T> = Pin<Box<dyn Future<Output = Result<T, DriverError>> + Send>>;

/// The four operations of [`from_callbacks`]. What each must promise is the [`Driver`]'s contract.
pub struct Options<Check, FetchEvents, PutEvents, Close> {
    /// Whether the aggregate has an event with this sequence: `(AggregateKey, Sequence)` →
    /// `Result<bool, DriverError>`.
    pub check_sequence: Check,
    /// The next events of the aggregate in the order asked for, at most the fetch's limit, which is
    /// always set; none at the end: `(AggregateKey, Fetch)` → `Result<Vec<KeyedEvent>,
    /// DriverError>`.
    pub fetch_events: FetchEvents,
    /// Writes all of the put's events or none: `Arc<Put>` → `Result<PutReceipt, DriverError>`.
    pub put_events: PutEvents,
    /// Ends the work; called once: `()` → `Result<(), DriverError>`.
    pub close: Close,
}

/// Makes a driver of four closures.
///
/// This driver is a map, and passes the [conformance suite](super::conformance):
///
/// ```
#[doc = include_str!("callbacks_example.rs")]
/// # struct OverAMap(Map);
/// # #[driver::async_trait]
/// # impl driver::conformance::Harness for OverAMap {
/// #     async fn open(&self) -> Result<Arc<dyn driver::Driver>, DriverError> {
/// #         Ok(map_driver(self.0.clone()))
/// #     }
/// #     fn lists_keys(&self) -> bool { false }
/// #     fn refuses_gaps(&self) -> bool { false }
/// # }
/// # #[tokio::main]
/// # async fn main() {
/// #     let report = driver::conformance::run(&OverAMap(Map::default())).await;
/// #     assert!(report.is_conformant(), "{report}");
/// # }
/// ```
pub fn from_callbacks<C, CF, F, FF, P, PF, X, XF>(options: Options<C, F, P, X>) -> Arc<dyn Driver>
where
    C: Fn(AggregateKey, Sequence) -> CF + Send + Sync + 'static,
    CF: Future<Output = Result<bool, DriverError>> + Send + 'static,
    F: Fn(AggregateKey, Fetch) -> FF + Send + Sync + 'static,
    FF: Future<Output = Result<Vec<KeyedEvent>, DriverError>> + Send + 'static,
    P: Fn(Arc<Put>) -> PF + Send + Sync + 'static,
    PF: Future<Output = Result<PutReceipt, DriverError>> + Send + 'static,
    X: Fn() -> XF + Send + Sync + 'static,
    XF: Future<Output = Result<(), DriverError>> + Send + 'static,
{
    Arc::new(Callbacks {
        check_sequence: Box::new(move |key, sequence| {
            Box::pin((options.check_sequence)(key, sequence))
        }),
        fetch_events: {
            let fetch_events = options.fetch_events;
            Arc::new(move |key, fetch| Box::pin(fetch_events(key, fetch)))
        },
        put_events: Box::new(move |put| Box::pin((options.put_events)(put))),
        close: Box::new(move || Box::pin((options.close)())),
        closed: Arc::new(AtomicBool::new(false)),
    })
}

type FetchCallback = dyn Fn(AggregateKey, Fetch) -> CallbackFuture<Vec<KeyedEvent>> + Send + Sync;

struct Callbacks {
    check_sequence: Box<dyn Fn(AggregateKey, Sequence) -> CallbackFuture<bool> + Send + Sync>,
    fetch_events: Arc<FetchCallback>,
    put_events: Box<dyn Fn(Arc<Put>) -> CallbackFuture<PutReceipt> + Send + Sync>,
    close: Box<dyn Fn() -> CallbackFuture<()> + Send + Sync>,
    closed: Arc<AtomicBool>,
}

impl Callbacks {
    fn open(&self) -> Result<(), DriverError> {
        if self.closed.load(Ordering::Acquire) { Err(DriverError::Closed) } else { Ok(()) }
    }
}

#[async_trait]
impl Driver for Callbacks {
    async fn check_sequence(
        &self,
        key: &AggregateKey,
        sequence: Sequence,
    ) -> Result<bool, DriverError> {
        self.open()?;
        (self.check_sequence)(key.clone(), sequence).await
    }

    fn fetch_events(&self, key: &AggregateKey, fetch: Fetch) -> EventPages {
        let (callback, closed) = (self.fetch_events.clone(), self.closed.clone());
        let key = key.clone();
        futures_util::stream::unfold(Some(fetch), move |next| {
            let (callback, closed, key) = (callback.clone(), closed.clone(), key.clone());
            async move {
                let mut rest = next?;
                rest.bounds()?;
                if closed.load(Ordering::Acquire) {
                    return Some((Err(DriverError::Closed), None));
                }
                let page = rest.limit(rest.limit.unwrap_or(PAGE_EVENTS).min(PAGE_EVENTS));
                match callback(key, page).await {
                    Err(error) => Some((Err(error), None)),
                    Ok(events) => {
                        rest.after = Some(events.last()?.sequence);
                        rest.limit = rest.limit.map(|limit| limit.saturating_sub(events.len()));
                        Some((Ok(events), Some(rest)))
                    }
                }
            }
        })
        .boxed()
    }

    async fn put_events(&self, put: Arc<Put>) -> Result<PutReceipt, DriverError> {
        self.open()?;
        self.limits().check(&put)?;
        (self.put_events)(put).await
    }

    async fn close(&self) -> Result<(), DriverError> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        (self.close)().await
    }
}
