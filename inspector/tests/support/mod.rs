//! What the tests share: a served inspector, and requests written by hand.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use serde_json::Value;
use seriatim::{Append, EventStore, NewEvent};
use seriatim_inspector::Inspector;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(30);

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    runtime().spawn(future)
}

/// An inspector that is served on a port of its own, until it is dropped.
pub struct Served {
    pub store: EventStore,
    pub inspector: Inspector,
    pub address: SocketAddr,
    handle: ServerHandle,
    thread: Option<thread::JoinHandle<()>>,
}

/// An answer to a request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub fn refused(&self, status: u16, told: &str) {
        assert_eq!(self.status, status, "{self:?}");
        let error: Value = serde_json::from_str(&self.body).unwrap();
        assert!(error["error"].as_str().unwrap().contains(told), "{self:?}");
    }
}

pub fn memory() -> EventStore {
    block_on(EventStore::open("memory:")).unwrap()
}

impl Served {
    pub fn new(options: impl FnOnce(Inspector) -> Inspector) -> Self {
        Served::of(memory(), options)
    }

    pub fn of(store: EventStore, options: impl FnOnce(Inspector) -> Inspector) -> Self {
        let inspector = options(Inspector::new(store.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (started, handle) = std::sync::mpsc::channel();
        let served = inspector.clone();
        let thread = thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let server = served.serve(listener).unwrap();
                started.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        let handle = handle.recv().unwrap();
        Served { store, inspector, address, handle, thread: Some(thread) }
    }

    pub fn append(&self, key: &str, events: &[(&str, &str)]) {
        let events = events.iter().map(|(kind, data)| NewEvent::raw(kind, data.to_string()));
        block_on(self.store.append(Append::to(key).events(events))).unwrap();
    }

    /// `GET` of this path below the address.
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    /// With these headers; the right `Host` unless there is one among them.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask(self.address, method, path, headers)
    }

    /// A stream of server-sent events.
    pub fn stream(&self, path: &str, headers: &[(&str, &str)]) -> Stream {
        let mut lines = BufReader::new(send(self.address, "GET", path, headers));
        let mut status = String::new();
        lines.read_line(&mut status).unwrap();
        Stream { status: status.split(' ').nth(1).unwrap().parse().unwrap(), lines }
    }
}

pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut stream = send(address, method, path, headers);
    let (began, mut read, mut part) = (Instant::now(), Vec::new(), [0; 1 << 16]);
    loop {
        match stream.read(&mut part).unwrap() {
            0 => break,
            count => read.extend_from_slice(&part[..count]),
        }
        assert!(began.elapsed() < PATIENCE, "the answer does not end");
    }
    let text = String::from_utf8(read).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = format!("{method} /{path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        text += &format!("Host: {address}\r\n");
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

impl Drop for Served {
    fn drop(&mut self) {
        block_on(self.handle.stop(false));
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
        block_on(self.store.close()).ok();
    }
}

pub struct Stream {
    pub status: u16,
    lines: BufReader<TcpStream>,
}

impl Stream {
    /// The next event of this name; `None` at the end of the stream.
    pub fn next(&mut self, name: &str) -> Option<Value> {
        let mut is_wanted = false;
        let mut line = String::new();
        let began = Instant::now();
        loop {
            // A stream that has no news still says that it lives.
            assert!(began.elapsed() < PATIENCE, "no {name} comes");
            line.clear();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(found) = line.strip_prefix("event: ") {
                is_wanted = found.trim_end() == name;
            } else if let Some(data) = line.strip_prefix("data: ")
                && is_wanted
            {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }
}

/// Waits for the condition, up to [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, mut is_met: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_met() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// For a query.
pub fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Event content that tries to be more than text, and what its data must be shown as.
pub const HOSTILE: [(&str, &str); 5] = [
    ("<script>window.harmed=1</script>", r#"{"text":"<script>window.harmed=1</script>"}"#),
    ("<img src=x onerror=window.harmed=1>", r#"{"<b>":"<img src=x onerror=\"window.harmed=1\">"}"#),
    ("مرحبا", r#"{"text":"مرحبا بالعالم","b":"שלום 123"}"#),
    ("javascript:window.harmed=1", r#"{"href":"javascript:window.harmed=1","n":9007199254740993}"#),
    ("turned", "{\"text\":\"a\u{202e}b\u{200f}c\",\"nul\":\"\\u0000\\u001b[31m\"}"),
];
