//! A store under load, with a Prometheus endpoint: `cargo run -- [DIRECTORY [ADDRESS]]`, until
//! Ctrl-C.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use metrics_prometheus::{load, serve_metrics};
use seriatim::EventStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap_or_else(|| "./metrics-data".to_owned());
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9464".to_owned());
    let address: SocketAddr = address
        .parse()
        .map_err(|_| format!("{address:?} is no address: write one such as 127.0.0.1:9464"))?;
    serve_metrics(address).map_err(|error| format!("{address}: {error}"))?;

    let store = EventStore::builder().url(format!("redb:{directory}")).metrics_label("accounts");
    let store = store.open().await?;
    println!("http://{address}/metrics, until Ctrl-C");
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            asked.store(true, Ordering::Relaxed);
        }
    });
    let loaded = load(&store, stop).await;
    let stats = store.stats();
    store.close().await?;
    println!("{} appends, {} conflicts", stats.appends, stats.early_conflicts + stats.conflicts);
    loaded
}
