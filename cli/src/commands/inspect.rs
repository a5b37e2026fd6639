//! `inspect`: a page in a browser that looks into the store.

use std::io;
use std::net::{SocketAddr, TcpListener};

use serde::Serialize;
use seriatim::EventStore;
use seriatim_inspector::{Inspector, ServeError, Token};

use crate::app::App;
use crate::args::Inspect;
use crate::exit::{Error, Exit, Result};
use crate::target::{Target, Wanted};

/// Where the page is.
#[derive(Serialize)]
struct Served<'a> {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

pub(crate) async fn run(app: &mut App, args: Inspect) -> Result<()> {
    let name = Target::parse(&args.store)?.name();
    // Before the store is opened: that can take long, and the address may be taken.
    let listener = TcpListener::bind(args.listen).map_err(|e| not_bound(args.listen, &e))?;
    let address = listener.local_addr().map_err(|e| not_bound(args.listen, &e))?;
    let is_for_others = !address.ip().is_loopback();
    let token = args.token.or_else(|| is_for_others.then(Token::generate));
    let url = args.store.clone();
    app.with_store(&url, Wanted::Existing, async |app, store| {
        serve(app, store, &name, listener, address, token).await
    })
    .await
}

async fn serve(
    app: &mut App,
    store: &EventStore,
    name: &str,
    listener: TcpListener,
    address: SocketAddr,
    token: Option<Token>,
) -> Result<()> {
    let mut inspector = Inspector::new(store.clone()).title(name);
    if let Some(token) = &token {
        inspector = inspector.token(token.clone());
    }
    let server = inspector.serve(listener).map_err(|error| match error {
        ServeError::Io(error) => not_bound(address, &error),
        error => Error::usage(error.to_string()),
    })?;
    let served =
        Served { url: link(address, token.as_ref()), token: token.as_ref().map(Token::as_str) };
    match app.out.is_json() {
        true => app.out.json_line(&served)?,
        false => app.out.text(&served.url)?,
    }
    app.out.flush()?;
    app.note("serving; Ctrl-C ends it (until then no other process can open a store on this disk)");
    let handle = server.handle();
    let mut serving = std::pin::pin!(server);
    tokio::select! {
        ended = &mut serving => return ended.map_err(|e| not_bound(address, &e)),
        () = app.interrupt.requested() => {}
    }
    inspector.end_streams();
    let (stopped, _) = tokio::join!(serving, handle.stop(true));
    stopped.map_err(|e| not_bound(address, &e))
}

/// The token stands behind the `#`, which a browser sends nowhere.
fn link(address: SocketAddr, token: Option<&Token>) -> String {
    let token = token.map(|token| format!("#token={}", token.as_str())).unwrap_or_default();
    format!("http://{address}/{token}")
}

fn not_bound(address: SocketAddr, error: &io::Error) -> Error {
    let failure = Error::new(Exit::Io, format!("{address}: {error}"));
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            failure.hint("something listens there; name another port with --listen, or 0 for any")
        }
        io::ErrorKind::AddrNotAvailable => {
            failure.hint("name an address of this machine with --listen")
        }
        _ => failure,
    }
}
