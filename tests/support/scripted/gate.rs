//! A gate before a scripted server: connections pass it until the engine goes down.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a client may take to notice that its connections are gone.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);

/// A forwarded port.
pub struct Gate {
    pub address: SocketAddr,
    is_shut: Arc<AtomicBool>,
    /// The clients' connections that are open.
    clients: Arc<Mutex<Vec<TcpStream>>>,
    listening: Option<thread::JoinHandle<()>>,
    /// What fills the queue of a port that answers nothing.
    unanswered: Vec<TcpStream>,
}

impl Gate {
    /// A port that leads to this server.
    pub fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (is_shut, clients) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let listening = thread::spawn({
            let (is_shut, clients) = (is_shut.clone(), Arc::clone(&clients));
            move || {
                for client in listener.incoming().flatten() {
                    if is_shut.load(Ordering::SeqCst) {
                        return;
                    }
                    let _ = pass(client, server, &clients);
                }
            }
        });
        Gate { address, is_shut, clients, listening: Some(listening), unanswered: Vec::new() }
    }

    /// The engine's process ends: its connections are closed, and new ones are refused. Comes back
    /// when the client has noticed and closed its own ends.
    pub fn shut(&mut self) {
        self.is_shut.store(true, Ordering::SeqCst);
        let Some(listening) = self.listening.take() else { return };
        drop(TcpStream::connect(self.address));
        listening.join().unwrap();
        let end = Instant::now() + NOTICED_WITHIN;
        loop {
            let open = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
            if open.is_empty() {
                return;
            }
            for client in open.iter() {
                let _ = client.shutdown(Shutdown::Write);
            }
            drop(open);
            assert!(Instant::now() < end, "the client keeps a connection that is closed");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The engine's machine is gone: new connections are not even refused. The port's queue is
    /// full, so the system answers nothing.
    pub fn vanish(&mut self) {
        self.shut();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        let listener = socket.listen(1).unwrap().into_std().unwrap();
        let wait = Duration::from_millis(300);
        while let Ok(waiting) = TcpStream::connect_timeout(&self.address, wait) {
            self.unanswered.push(waiting);
        }
        // It stays open until the test's process ends.
        std::mem::forget(listener);
    }
}

/// Carries bytes both ways, on threads of their own, until the client closes.
fn pass(
    client: TcpStream,
    server: SocketAddr,
    clients: &Arc<Mutex<Vec<TcpStream>>>,
) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let (mut from_client, mut to_server) = (client.try_clone()?, server);
    let (clients, peer) = (Arc::clone(clients), client.peer_addr()?);
    clients.lock().unwrap_or_else(PoisonError::into_inner).push(client);
    thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Write);
    });
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
        let mut open = clients.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|other| other.peer_addr().is_ok_and(|other| other != peer));
    });
    Ok(())
}
