//! An engine that is down: a put that was surely not written is reported as such, within the time
//! that the driver tries, with default options throughout.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use seriatim::driver::DriverError;
use seriatim::{Append, AppendError, EventStore, NewEvent};

use super::scripted::gate::Gate;

/// The drivers' default of `timeout_ms`, and the time that a busy machine takes.
const PATIENCE: Duration = Duration::from_millis(5_000 + 3_000);

/// How the engine goes down.
#[derive(Clone, Copy, Debug)]
enum Down {
    /// Its process ends: connections are refused.
    Ended,
    /// Its machine is gone: nothing is answered at all.
    Gone,
}

/// Appends to the store at `url(address)` before and after its engine goes down.
async fn is_unavailable(server: SocketAddr, url: impl Fn(SocketAddr) -> String) {
    for down in [Down::Ended, Down::Gone] {
        let mut gate = Gate::before(server);
        let store = EventStore::open(&url(gate.address)).await.unwrap();
        let append = || Append::to("account/1").event(NewEvent::raw("Tested", "{}"));
        // The aggregate is resident then: what follows is a put and nothing else.
        store.append(append()).await.unwrap();
        let gate = tokio::task::spawn_blocking(move || {
            match down {
                Down::Ended => gate.shut(),
                Down::Gone => gate.vanish(),
            }
            gate
        });
        let _gate = gate.await.unwrap();
        let began = Instant::now();
        let error = store.append(append()).await.unwrap_err();
        let took = began.elapsed();
        assert!(
            matches!(&error, AppendError::Driver { source: DriverError::Unavailable { .. }, .. }),
            "{down:?}, after {took:?}: {error:?}"
        );
        assert!(took < PATIENCE, "{down:?}: {took:?}");
        assert!(took > Duration::from_secs(2), "{down:?}: it gave up after {took:?}");
        let _ = store.close().await;
    }
}

#[cfg(feature = "dynamodb")]
#[tokio::test(flavor = "multi_thread")]
async fn dynamodb() {
    is_unavailable(super::dynamodb::empty(), |at| super::dynamodb::url(at, "")).await;
}

#[cfg(feature = "mongodb")]
#[tokio::test(flavor = "multi_thread")]
async fn mongodb() {
    let url = |at| format!("mongodb://{at}/bank?directConnection=true");
    is_unavailable(super::mongo::empty(), url).await;
}

#[cfg(feature = "cassandra")]
#[tokio::test(flavor = "multi_thread")]
async fn cassandra() {
    let node = super::scripted::cql_node::serve(|_| None);
    is_unavailable(node, |at| format!("cassandra://{at}/bank")).await;
}

#[cfg(feature = "azure-tables")]
#[tokio::test(flavor = "multi_thread")]
async fn azure_tables() {
    is_unavailable(super::azure_tables::empty(), |at| super::azure_tables::url(at, "")).await;
}
