//! Every metric of the dashboard is in docs/metrics.md, and a running store serves it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use metrics_prometheus::{load, serve_metrics};
use seriatim::EventStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(60);

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_in_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let words = text.split(|c| !is_in_name(c));
    let names = words.filter(|word| word.starts_with("seriatim_"));
    names.map(str::to_owned).collect()
}

/// The names in all expressions and variables of the dashboard.
fn asked() -> BTreeSet<String> {
    let dashboard: serde_json::Value =
        serde_json::from_str(include_str!("../../../docs/grafana-dashboard.json")).expect("JSON");
    let mut asked = BTreeSet::new();
    let panels = dashboard["panels"].as_array().expect("panels");
    for target in panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets")) {
        let found = names(target["expr"].as_str().expect("an expression"));
        assert!(!found.is_empty(), "{target}");
        asked.extend(found);
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        asked.extend(names(&variable.to_string()));
    }
    assert!(asked.len() > 20, "{asked:?}");
    asked
}

#[test]
fn every_name_is_in_the_documentation() {
    let page = include_str!("../../../docs/metrics.md");
    let mut known = BTreeSet::new();
    for row in page.lines().filter(|line| line.starts_with("| `seriatim_")) {
        let name = row.split('`').nth(1).expect("a name");
        match row.contains("| histogram |") {
            true => known.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}"))),
            false => drop(known.insert(name.to_owned())),
        }
    }
    let unknown: Vec<_> = asked().difference(&known).cloned().collect();
    assert!(unknown.is_empty(), "not in docs/metrics.md: {unknown:?}");
}

async fn scrape(address: SocketAddr) -> String {
    let Ok(mut stream) = TcpStream::connect(address).await else { return String::new() };
    let request = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_name_is_served_while_the_store_works() {
    let address = {
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        free.local_addr().expect("its address")
    };
    serve_metrics(address).expect("served");
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("redb:{}", folder.path().join("data").display());
    let store = EventStore::builder().url(url).metrics_label("accounts").open().await;
    let store = store.expect("opened");
    let stop = Arc::new(AtomicBool::new(false));
    let (loaded, stopped) = (store.clone(), stop.clone());
    let loading =
        tokio::spawn(
            async move { load(&loaded, stopped).await.map_err(|error| error.to_string()) },
        );
    let began = Instant::now();
    let asked = asked();
    loop {
        let served = scrape(address).await;
        // Lines that begin with # only describe.
        let samples: String =
            served.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
        let missing: Vec<_> = asked.difference(&names(&samples)).cloned().collect();
        if missing.is_empty() && samples.contains("store=\"accounts\",consumer=\"balances\"") {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "never served: {missing:?}\n{served}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.store(true, Ordering::Relaxed);
    loading.await.expect("no panic").expect("no failure");
    store.close().await.expect("closed");
}
