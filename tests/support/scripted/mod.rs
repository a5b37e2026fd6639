//! Scripted servers: each speaks enough of an engine's wire protocol to give a chosen answer, so
//! that a test can show what a driver makes of an answer that no engine here gives.
//!
//! - [`http`]: DynamoDB and Azure Tables, by a function from a request to a reply
//! - [`mongo`]: MongoDB's `OP_MSG`, by a function from a command to a reply
//! - [`cql`]: the beginning of a connection to Cassandra, by a function from an opcode to frames
//! - [`cql_node`]: a whole node of Cassandra's, by a function from a statement to frames
//! - [`gate`]: a port before any of them, which can go down

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

#[cfg(feature = "cassandra")]
pub mod cql;
#[cfg(feature = "cassandra")]
pub mod cql_node;
pub mod gate;
#[cfg(any(feature = "dynamodb", feature = "azure-tables"))]
pub mod http;
#[cfg(feature = "mongodb")]
pub mod mongo;

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

/// What a server does with a request that it has read.
#[derive(Clone, Debug)]
pub enum Reply<A> {
    Answers(A),
    HangsUp,
    /// Until the client gives up.
    Waits,
}

/// A server on a free port that gives every connection to `serve`, each on a thread of its own. Its
/// threads end with the test's process.
pub fn listen(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Reads until the client closes the connection.
pub fn wait_for_end(mut stream: impl Read) {
    let mut rest = [0; 512];
    while stream.read(&mut rest).is_ok_and(|read| read > 0) {}
}
