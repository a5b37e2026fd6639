//! Two datacentres of Cassandra, a node each, and a store in each, which race on the same
//! aggregates while one node after the other is killed and started again: nothing that was answered
//! is lost, nothing stands twice.
//!
//! It starts two processes of Java with some 1 GB each, on 127.0.0.1 and 127.0.0.2, and takes
//! minutes, so it is ignored unless asked for:
//!
//! ```text
//! cargo test --features cassandra --test cassandra_topology -- --ignored --nocapture
//! ```
//!
//! `SERIATIM_ROUNDS` says how often each node is stopped; twice unless told.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use scylla::client::session_builder::SessionBuilder;
use seriatim::{Append, EventStore, NewEvent};
use tempfile::TempDir;
use uuid::Uuid;

const KEYS: [&str; 4] = ["race/a", "race/b", "race/c", "race/d"];
/// On each store.
const WRITERS: usize = 4;
const READY: Duration = Duration::from_secs(240);

/// A node, alone in its datacentre.
struct Node {
    datacenter: &'static str,
    address: &'static str,
    ports: Ports,
    fetched: PathBuf,
    data: TempDir,
    process: Option<Child>,
}

/// The same on every node of a cluster.
#[derive(Clone, Copy)]
struct Ports {
    native: u16,
    storage: u16,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/engines")
}

impl Node {
    fn start(&mut self) {
        let log = std::fs::File::create(self.data.path().join("log")).unwrap();
        let mut command = Command::new(script());
        command.args(["as", "cassandra"]).arg(&self.fetched).arg(self.data.path());
        command.arg(self.ports.native.to_string());
        command.env("CASSANDRA_ADDRESS", self.address);
        command.env("CASSANDRA_DATACENTER", self.datacenter);
        command.env("CASSANDRA_SEED", "127.0.0.1");
        command.env("CASSANDRA_STORAGE_PORT", self.ports.storage.to_string());
        command.stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log);
        self.process = Some(command.spawn().unwrap());
    }

    fn native(&self) -> SocketAddr {
        format!("{}:{}", self.address, self.ports.native).parse().unwrap()
    }

    /// Until it takes clients.
    fn wait(&mut self) {
        let end = Instant::now() + READY;
        while TcpStream::connect_timeout(&self.native(), Duration::from_secs(1)).is_err() {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            let log = || std::fs::read_to_string(self.data.path().join("log")).unwrap();
            assert!(ended.is_none(), "{} ended:\n{}", self.datacenter, log());
            assert!(Instant::now() < end, "{} takes no clients:\n{}", self.datacenter, log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Without any warning to it.
    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn url(&self) -> String {
        format!("cassandra://{}/bank?datacenter={}", self.native(), self.datacenter)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn nodes() -> [Node; 2] {
    let output = Command::new(script()).args(["fetch", "cassandra"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let fetched = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    let free = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (native, storage) = (free(), free());
    let port = |of: &TcpListener| of.local_addr().unwrap().port();
    let ports = Ports { native: port(&native), storage: port(&storage) };
    [("east", "127.0.0.1"), ("west", "127.0.0.2")].map(|(datacenter, address)| Node {
        datacenter,
        address,
        ports,
        fetched: fetched.clone(),
        data: tempfile::tempdir().unwrap(),
        process: None,
    })
}

/// A keyspace with a copy in each datacentre, once the nodes know each other.
async fn make_keyspace(node: &Node) {
    let end = Instant::now() + READY;
    let made = async || {
        let session = SessionBuilder::new().known_node(node.native().to_string()).build().await?;
        let state = session.get_cluster_state();
        if state.get_nodes_info().len() < 2 {
            return Ok::<bool, Box<dyn std::error::Error>>(false);
        }
        let keyspace = "CREATE KEYSPACE IF NOT EXISTS \"bank\" WITH replication = {'class': \
                        'NetworkTopologyStrategy', 'east': 1, 'west': 1}";
        session.query_unpaged(keyspace, ()).await?;
        Ok(true)
    };
    loop {
        match made().await {
            Ok(true) => return,
            seen => assert!(Instant::now() < end, "the keyspace was not made: {seen:?}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn open(url: &str) -> EventStore {
    let end = Instant::now() + READY;
    loop {
        match EventStore::open(url).await {
            Ok(store) => return store,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// What the writers share.
#[derive(Default)]
struct Race {
    ends: AtomicBool,
    answered: AtomicU64,
    /// Answers that said nothing for certain, after which the same append was repeated.
    repeated: AtomicU64,
}

/// Appends until the race ends, each until it is answered; key, first sequence and commit id of
/// all.
async fn write(
    store: EventStore,
    race: Arc<Race>,
    writer: usize,
) -> Vec<(&'static str, u64, Uuid)> {
    let mut answered = Vec::new();
    for turn in 0.. {
        if race.ends.load(Ordering::SeqCst) {
            break;
        }
        let (key, id) = (KEYS[(writer + turn) % KEYS.len()], Uuid::new_v4());
        let count = if turn % 2 == 0 { 1 } else { 3 };
        loop {
            let events = (0..count).map(|_| NewEvent::raw("Raced", "{}"));
            match store.append(Append::to(key).events(events).commit_id(id)).await {
                Ok(appended) => {
                    answered.push((key, appended.first.get(), id));
                    race.answered.fetch_add(1, Ordering::SeqCst);
                    break;
                }
                Err(error) => {
                    assert!(error.is_retryable(), "{error:?}");
                    race.repeated.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
    answered
}

/// Until the writers were answered so many times more.
async fn progress(race: &Race, more: u64) {
    let (wanted, end) = (race.answered.load(Ordering::SeqCst) + more, Instant::now() + READY);
    while race.answered.load(Ordering::SeqCst) < wanted {
        assert!(Instant::now() < end, "the writers stand still");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts two nodes of Cassandra, with 1 GB each, and takes minutes"]
async fn two_datacentres_race_while_a_node_is_killed_and_started() {
    let rounds: usize =
        std::env::var("SERIATIM_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let mut nodes = nodes();
    for node in &mut nodes {
        node.start();
        node.wait();
    }
    make_keyspace(&nodes[0]).await;
    let stores = [
        open(&format!("{}&create=true", nodes[0].url())).await,
        open(&format!("{}&create=true", nodes[1].url())).await,
    ];
    println!("both datacentres are open");

    let (race, began) = (Arc::new(Race::default()), Instant::now());
    let writers: Vec<_> = stores
        .iter()
        .flat_map(|store| (0..WRITERS).map(|n| tokio::spawn(write(store.clone(), race.clone(), n))))
        .collect();
    for round in 0..rounds {
        for node in &mut nodes {
            progress(&race, 100).await;
            node.kill();
            // Long enough for appends to be answered as open, and to be repeated.
            tokio::time::sleep(Duration::from_secs(5)).await;
            node.start();
            node.wait();
            let answered = race.answered.load(Ordering::SeqCst);
            println!(
                "round {round}: {} was killed and is back; {answered} answered",
                node.datacenter
            );
        }
    }
    progress(&race, 100).await;
    race.ends.store(true, Ordering::SeqCst);
    let mut answered = HashSet::new();
    for writer in writers {
        answered.extend(writer.await.unwrap());
    }
    let repeated = race.repeated.load(Ordering::SeqCst);
    println!(
        "{} appends answered in {:.0} s, {repeated} repeated",
        answered.len(),
        began.elapsed().as_secs_f64()
    );
    assert!(repeated > 0, "no append met the faults");

    let (mut lost, mut doubled, mut stands) = (0, 0, HashMap::new());
    for key in KEYS {
        let found = stores[0].read(key).collect().await.unwrap();
        for (index, event) in found.iter().enumerate() {
            assert_eq!(event.sequence.get(), index as u64 + 1, "{key} has a gap");
        }
        for append in found.chunk_by(|a, b| a.commit_id == b.commit_id) {
            let before = stands.insert((key, append[0].commit_id), append[0].sequence.get());
            doubled += usize::from(before.is_some());
        }
    }
    for (key, first, id) in &answered {
        lost += usize::from(stands.get(&(*key, *id)) != Some(first));
    }
    let unasked = stands.len() - answered.len() + lost;
    println!("lost {lost}, doubled {doubled}, unasked {unasked}");
    assert_eq!((lost, doubled, unasked), (0, 0, 0));
    for store in stores {
        store.close().await.unwrap();
    }
}
