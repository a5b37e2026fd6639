//! A TCP proxy with faults, between a driver and its engine, and a count of round trips.
//!
//! It knows no protocol. A round trip is a turn of a connection: the client speaks after the engine
//! did, or first of all. So it counts requests that wait for their answers; what is sent before the
//! answer to the one before is not told apart, and neither is what a client sends to keep a
//! connection alive.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::time::sleep;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is delivered, and the client's connection is cut: the answer is lost.
    CutAfterRequest,
    /// The answer comes so much later.
    DelayAnswer(Duration),
    /// It is delivered so much later, whether or not the client is still there.
    DeliverLate(Duration),
    /// Nothing moves on any connection for so long.
    Pause(Duration),
}

/// Which faults there are, and how often.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Each with its chance in a thousand requests.
    pub of_requests: Vec<(Fault, u32)>,
    /// One in so many connections is dropped as soon as it is made; 0 for none.
    pub drop_every: u64,
}

struct Shared {
    target: SocketAddr,
    faults: Mutex<Faults>,
    chance: Mutex<fastrand::Rng>,
    connections: AtomicU64,
    round_trips: AtomicU64,
    struck: AtomicU64,
    /// Requests that were read from a client and not yet delivered or dropped.
    underway: AtomicU64,
    paused: AtomicBool,
    resumed: Notify,
}

pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    // Dropped last: its tasks end with it.
    runtime: Option<Runtime>,
}

impl Proxy {
    /// A proxy in front of `target`, without faults at first.
    pub fn start(target: SocketAddr, chance: fastrand::Rng) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let shared = Arc::new(Shared {
            target,
            faults: Mutex::default(),
            chance: Mutex::new(chance),
            connections: AtomicU64::new(0),
            round_trips: AtomicU64::new(0),
            struck: AtomicU64::new(0),
            underway: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            resumed: Notify::new(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = shared.clone();
        runtime.spawn(async move {
            accept(accepting, TcpListener::from_std(listener).unwrap()).await;
        });
        Proxy { shared, address, runtime: Some(runtime) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, faults: Faults) {
        *self.shared.faults.lock().unwrap() = faults;
    }

    /// How many faults have struck.
    pub fn struck(&self) -> u64 {
        self.shared.struck.load(Ordering::SeqCst)
    }

    /// Whether every request that a client sent was delivered, or dropped with its connection.
    pub fn is_quiet(&self) -> bool {
        self.shared.underway.load(Ordering::SeqCst) == 0
    }

    /// Round trips so far, on all connections.
    pub fn round_trips(&self) -> u64 {
        self.shared.round_trips.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    while let Ok((client, _)) = listener.accept().await {
        let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let every = shared.faults.lock().unwrap().drop_every;
        if every > 0 && number.is_multiple_of(every) {
            shared.struck.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        tokio::spawn(serve(shared.clone(), client));
    }
}

/// One connection.
struct Line {
    /// The client spoke last.
    asked: AtomicBool,
    /// What the next answer is delayed by, in milliseconds.
    delay: AtomicU64,
    cut: Notify,
}

async fn serve(shared: Arc<Shared>, client: TcpStream) {
    let Ok(engine) = TcpStream::connect(shared.target).await else { return };
    let _ = (client.set_nodelay(true), engine.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_engine, to_engine) = engine.into_split();
    let line = Arc::new(Line {
        asked: AtomicBool::new(false),
        delay: AtomicU64::new(0),
        cut: Notify::new(),
    });
    tokio::spawn(requests(shared.clone(), line.clone(), from_client, to_engine));
    answers(shared, line, from_engine, to_client).await;
}

async fn requests(
    shared: Arc<Shared>,
    line: Arc<Line>,
    mut client: OwnedReadHalf,
    mut engine: OwnedWriteHalf,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = client.read(&mut buffer).await {
        if !line.asked.swap(true, Ordering::SeqCst) {
            shared.round_trips.fetch_add(1, Ordering::SeqCst);
        }
        let underway = Underway::new(&shared);
        let fault = shared.next_fault();
        if let Some(Fault::DeliverLate(late)) = fault {
            sleep(late).await;
        }
        if let Some(Fault::DelayAnswer(delay)) = fault {
            line.delay.store(delay.as_millis() as u64, Ordering::SeqCst);
        }
        if let Some(Fault::Pause(pause)) = fault {
            shared.pause(pause).await;
        }
        shared.moving().await;
        if engine.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        drop(underway);
        if fault == Some(Fault::CutAfterRequest) {
            line.cut.notify_one();
            // The engine gets to see the whole request before it sees the connection end.
            sleep(Duration::from_secs(1)).await;
            return;
        }
    }
}

/// Counts one request until it is dropped.
struct Underway(Arc<Shared>);

impl Underway {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.underway.fetch_add(1, Ordering::SeqCst);
        Self(shared.clone())
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.underway.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn answers(
    shared: Arc<Shared>,
    line: Arc<Line>,
    mut engine: OwnedReadHalf,
    mut client: OwnedWriteHalf,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = tokio::select! {
            read = engine.read(&mut buffer) => read,
            () = line.cut.notified() => return,
        };
        let Ok(read @ 1..) = read else { return };
        let delay = line.delay.swap(0, Ordering::SeqCst);
        sleep(Duration::from_millis(delay)).await;
        shared.moving().await;
        line.asked.store(false, Ordering::SeqCst);
        if client.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

impl Shared {
    fn next_fault(&self) -> Option<Fault> {
        let faults = self.faults.lock().unwrap();
        let mut dice = self.chance.lock().unwrap().u32(0..1_000);
        for (fault, chance) in &faults.of_requests {
            if dice < *chance {
                self.struck.fetch_add(1, Ordering::SeqCst);
                return Some(*fault);
            }
            dice -= chance;
        }
        None
    }

    async fn pause(&self, pause: Duration) {
        self.paused.store(true, Ordering::SeqCst);
        sleep(pause).await;
        self.paused.store(false, Ordering::SeqCst);
        self.resumed.notify_waiters();
    }

    /// Waits while everything is paused.
    async fn moving(&self) {
        loop {
            let resumed = self.resumed.notified();
            let mut resumed = std::pin::pin!(resumed);
            resumed.as_mut().enable();
            if !self.paused.load(Ordering::SeqCst) {
                return;
            }
            resumed.await;
        }
    }
}
