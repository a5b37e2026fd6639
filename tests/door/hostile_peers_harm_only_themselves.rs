//! Frames that are none, too large, too slow or too many end their own connection. The owner
//! appends and other readers read meanwhile.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use seriatim::driver::door::{DoorDriver, MAX_CONNECTIONS, PROTOCOL};
use seriatim::driver::{DriverError, LogFetch, LogStore};

use crate::support::sim_disk::Random;
use crate::support::{chance, until};
use crate::{append, owner};

fn connect(directory: &Path) -> UnixStream {
    let stream = UnixStream::connect(directory.join("door")).unwrap();
    stream.set_read_timeout(Some(crate::PATIENCE)).unwrap();
    stream
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

fn hello() -> Vec<u8> {
    frame(format!(r#"{{"protocol":{PROTOCOL},"version":"x","process":1}}"#).as_bytes())
}

fn take(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// A connection past its hello.
fn greeted(directory: &Path) -> UnixStream {
    let mut stream = connect(directory);
    stream.write_all(&hello()).unwrap();
    take(&mut stream).unwrap();
    stream
}

const REQUESTS: &[&str] = &[
    r#"{"latest_sequence":{"key":"a"}}"#,
    r#"{"events":{"key":"a","after":null,"backwards":true,"limit":18446744073709551615}}"#,
    r#"{"keys":{"prefix":"","after":null}}"#,
    r#"{"log":{"from":18446744073709551615,"backwards":false,"limit":0}}"#,
    r#"{"log":{"from":0,"backwards":true,"limit":5}}"#,
    r#"{"last_position":{}}"#,
    r#"{"checkpoint":{"name":""}}"#,
    r#"{"stats":{}}"#,
    r#"{"space":{}}"#,
    r#"{"verify":{}}"#,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_at_random_and_requests_with_faults_end_their_own_connection() {
    let folder = tempfile::tempdir().unwrap();
    let store = owner(folder.path()).await;
    append(&store, "a", "1").await;
    let kept = DoorDriver::open(folder.path()).unwrap();
    let mut random = Random::new(chance().u64(..));
    for round in 0..400 {
        let mut bytes = match random.below(4) {
            0 => (0..random.below(200)).map(|_| random.next() as u8).collect(),
            1 => hello(),
            _ => {
                let request = REQUESTS[random.below(REQUESTS.len() as u64) as usize];
                [hello(), frame(request.as_bytes())].concat()
            }
        };
        for _ in 0..random.below(4) {
            if !bytes.is_empty() {
                let at = random.below(bytes.len() as u64) as usize;
                match random.below(3) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes.truncate(at),
                    _ => bytes.insert(at, random.next() as u8),
                }
            }
        }
        // The owner may hang up in the middle.
        if let Ok(mut stream) = UnixStream::connect(folder.path().join("door")) {
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            if random.one_in(2) {
                stream.set_read_timeout(Some(crate::PATIENCE)).unwrap();
                let _ = stream.read_to_end(&mut Vec::new());
            }
        }
        if round % 50 == 0 {
            append(&store, "a", "2").await;
            kept.last_position().unwrap();
        }
    }
    assert_eq!(kept.last_position().unwrap(), 9);
    for request in REQUESTS {
        let mut stream = greeted(folder.path());
        stream.write_all(&frame(request.as_bytes())).unwrap();
        let answer = String::from_utf8(take(&mut stream).unwrap()).unwrap();
        assert!(answer.starts_with('{'), "{request}: {answer}");
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_is_too_large_or_never_ends_is_refused_before_it_takes_memory() {
    let folder = tempfile::tempdir().unwrap();
    let store = owner(folder.path()).await;
    for length in [u32::MAX, 1 << 20, 17 << 10] {
        let mut stream = greeted(folder.path());
        stream.write_all(&length.to_be_bytes()).unwrap();
        let mut rest = Vec::new();
        assert!(stream.read_to_end(&mut rest).is_ok() && rest.is_empty(), "{length}");
    }
    // Half a frame: its deadline passes, and the connection ends.
    let mut stream = greeted(folder.path());
    stream.write_all(&[0, 0, 0, 100, b'{']).unwrap();
    let mut rest = Vec::new();
    assert!(stream.read_to_end(&mut rest).is_ok() && rest.is_empty());
    append(&store, "a", "1").await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_allowed_are_turned_away_until_one_ends() {
    let folder = tempfile::tempdir().unwrap();
    let store = owner(folder.path()).await;
    append(&store, "a", "1").await;
    let mut open: Vec<UnixStream> = (0..MAX_CONNECTIONS).map(|_| greeted(folder.path())).collect();
    let refused = DoorDriver::open(folder.path()).err().unwrap();
    assert!(matches!(refused, DriverError::Unavailable { .. }), "{refused}");
    assert!(refused.to_string().contains("connections"), "{refused}");
    append(&store, "a", "2").await;
    open.pop();
    until("a place is free", || DoorDriver::open(folder.path()).is_ok()).await;
    store.close().await.unwrap();
    for mut stream in open {
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "closing ends every connection");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_stops_reading_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let store = owner(folder.path()).await;
    let large = format!("\"{}\"", "x".repeat(500_000));
    for _ in 0..4 {
        append(&store, "a", &large).await;
    }
    let log = r#"{"log":{"from":null,"backwards":false,"limit":1000}}"#;
    let mut silent: Vec<UnixStream> = (0..4).map(|_| greeted(folder.path())).collect();
    for stream in &mut silent {
        for _ in 0..20 {
            stream.write_all(&frame(log.as_bytes())).unwrap();
        }
    }
    let reader = DoorDriver::open(folder.path()).unwrap();
    for n in 5..=20 {
        append(&store, "b", "1").await;
        assert_eq!(reader.last_position().unwrap(), n);
        assert!(!reader.log_page_now(LogFetch::ALL.limit(1)).unwrap().events.is_empty());
    }
    store.close().await.unwrap();
}
