//! Look into a running event store of [`seriatim`] in a browser: aggregates and their histories,
//! the live log, consumers and what they parked, rates and latencies.
//!
//! An [`Inspector`] is mounted in an application of actix-web:
//!
//! ```no_run
//! use actix_web::{App, HttpServer};
//! use seriatim::EventStore;
//! use seriatim_inspector::Inspector;
//!
//! # #[actix_web::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = EventStore::open("memory:").await?;
//! let inspector = Inspector::new(store.clone()).title("shop");
//! let mounted = inspector.clone();
//! HttpServer::new(move || App::new().service(mounted.scope("/inspect")))
//!     .bind("127.0.0.1:8080")?
//!     .run()
//!     .await?;
//! store.close().await?;
//! # Ok(()) }
//! ```
//!
//! Or it is served alone, as `seriatim inspect URL` of the command line does: [`Inspector::serve`].
//!
//! # What it promises
//!
//! - It only reads. No request changes the store.
//! - Without a token, only requests from this machine under a local name are answered
//!   ([`Inspector::token`], [`Inspector::access_by_application`]).
//! - Nothing from an event is executed. Answers are JSON; the page shows them as text; its policy
//!   allows no script but its own, and nothing from elsewhere.
//! - Everything is bounded: pages, previews of data, what one request looks at, the number of live
//!   streams and how much they send.
//!
//! # Layout
//!
//! ```text
//! request ─▶ access ─▶ assets: the page, its script and its style
//!                └───▶ api/… ─▶ shown: events as JSON, with previews of their data
//!                       │   └─▶ changes: what differs between two JSON values; fold: states
//!                       └─▶ streams: server-sent events; figures: what stats() tells, by the second
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

/// The README's program.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod access;
mod api;
mod assets;
mod changes;
mod error;
mod figures;
mod fold;
mod shown;
mod streams;
mod text;

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::{HttpServiceFactory, Server};
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use seriatim::{Aggregate, EventStore};

use access::Access;
pub use access::{Token, TokenError};
pub use error::ServeError;
use figures::Figures;
use fold::Folds;
use streams::Streams;

/// What is served of one store. Clones serve the same: each worker thread of a server mounts one.
///
/// Options are set before it is cloned, mounted or served.
#[derive(Clone)]
pub struct Inspector {
    store: EventStore,
    title: Arc<str>,
    access: Arc<Access>,
    folds: Arc<Folds>,
    figures: Arc<Figures>,
    streams: Streams,
}

impl Inspector {
    /// An inspector of this store. It answers requests from this machine only, until a
    /// [token](Inspector::token) is set.
    pub fn new(store: EventStore) -> Self {
        Inspector {
            store,
            title: "".into(),
            access: Arc::new(Access::Local),
            folds: Arc::default(),
            figures: Arc::default(),
            streams: Streams::default(),
        }
    }

    /// The store's name, for the heading of the page.
    pub fn title(mut self, title: impl AsRef<str>) -> Self {
        self.title = title.as_ref().into();
        self
    }

    /// Requests need this token, wherever they come from. The page asks for it once and keeps it in
    /// a cookie that scripts cannot read; programs send `Authorization: Bearer TOKEN`.
    ///
    /// The token is as secret as the way it takes: put TLS in front where others share the network.
    pub fn token(mut self, token: Token) -> Self {
        self.access = Arc::new(Access::Token(token));
        self
    }

    /// No access control of its own: the application has put one in front of the scope.
    pub fn access_by_application(mut self) -> Self {
        self.access = Arc::new(Access::Application);
        self
    }

    /// Shows the states of this type's entities after each event, and what each event changed in
    /// them. May be called for several types.
    ///
    /// ```
    /// # use seriatim::{Aggregate, Context, EventStore};
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct Account { balance: u64 }
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # enum Event { Deposited { amount: u64 } }
    /// # impl Aggregate for Account {
    /// #     const KIND: &'static str = "account";
    /// #     type Command = u64;
    /// #     type Event = Event;
    /// #     type Error = String;
    /// #     type Services = ();
    /// #     fn handle(&self, amount: &u64, _: &Context<'_>) -> Result<Vec<Event>, String> {
    /// #         Ok(vec![Event::Deposited { amount: *amount }])
    /// #     }
    /// #     fn apply(&mut self, event: &Event) {
    /// #         let Event::Deposited { amount } = event;
    /// #         self.balance += amount;
    /// #     }
    /// # }
    /// # #[actix_web::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = EventStore::open("memory:").await?;
    /// let inspector = seriatim_inspector::Inspector::new(store).fold::<Account>();
    /// # drop(inspector);
    /// # Ok(()) }
    /// ```
    pub fn fold<A: Aggregate>(mut self) -> Self {
        Arc::make_mut(&mut self.folds).add::<A>();
        self
    }

    /// The page and its data, below this path; `""` for a server that serves nothing else.
    ///
    /// ```
    /// use actix_web::App;
    /// # #[actix_web::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = seriatim::EventStore::open("memory:").await?;
    /// let inspector = seriatim_inspector::Inspector::new(store);
    /// let app = App::new().service(inspector.scope("/inspect"));
    /// # drop(app);
    /// # Ok(()) }
    /// ```
    pub fn scope(&self, path: &str) -> impl HttpServiceFactory + 'static {
        let access = self.access.clone();
        web::scope(path)
            .app_data(web::Data::new(self.clone()))
            .configure(assets::routes)
            .configure(api::routes)
            .default_service(web::to(api::not_found))
            .wrap(from_fn(move |request, next| access::guard(access.clone(), request, next)))
    }

    /// Serves this alone on a socket that listens already. The server ends when its handle says so,
    /// and not by the process's signals.
    ///
    /// # Errors
    ///
    /// [`ServeError::TokenNeeded`] when others than this machine can reach the socket and no token
    /// is set.
    pub fn serve(&self, listener: TcpListener) -> Result<Server, ServeError> {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() && matches!(*self.access, Access::Local) {
            return Err(ServeError::TokenNeeded { address });
        }
        let inspector = self.clone();
        let server = HttpServer::new(move || App::new().service(inspector.scope("")))
            .workers(WORKERS)
            .max_connections(CONNECTIONS)
            .client_request_timeout(REQUEST_TIMEOUT)
            .shutdown_timeout(SHUTDOWN_SECONDS)
            .disable_signals()
            .listen(listener)?
            .run();
        Ok(server)
    }

    /// Ends the live streams, and refuses further ones. Call it when the application's server is
    /// told to end: actix-web waits for open streams as long as its shutdown timeout says.
    pub fn end_streams(&self) {
        self.streams.end();
    }
}

impl std::fmt::Debug for Inspector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspector")
            .field("title", &self.title)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

const WORKERS: usize = 2;
/// Of each worker.
const CONNECTIONS: usize = 64;
const REQUEST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
const SHUTDOWN_SECONDS: u64 = 1;
