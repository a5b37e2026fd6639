//! Another version of the protocol is refused, and both sides are named.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use seriatim::driver::DriverError;
use seriatim::driver::door::{DoorDriver, PROTOCOL};

use crate::owner;

fn frame(json: &str) -> Vec<u8> {
    let mut frame = u32::try_from(json.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(json.as_bytes());
    frame
}

#[test]
fn an_owner_of_another_version_is_named_with_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("door")).unwrap();
    let serving = std::thread::spawn(move || {
        for answer in [
            r#"{"protocol":99,"version":"7.1.0","process":4711}"#,
            r#"{"refused":{"kind":"unavailable","message":"16 connections"}}"#,
            r#"{"what":1}"#,
        ] {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&frame(answer)).unwrap();
            let _ = stream.read(&mut [0; 1_000]);
        }
        // The last one ends without a word.
        drop(listener.accept().unwrap());
    });
    let error = DoorDriver::open(folder.path()).err().unwrap();
    let text = error.to_string();
    for told in ["process 4711", "7.1.0", "protocol 99", "protocol 1", "same version"] {
        assert!(text.contains(told), "{told} is not in {text}");
    }
    assert!(!error.is_retryable());
    let full = DoorDriver::open(folder.path()).err().unwrap();
    assert!(matches!(full, DriverError::Unavailable { .. }), "{full}");
    let other = DoorDriver::open(folder.path()).err().unwrap().to_string();
    assert!(other.contains("no seriatim"), "{other}");
    DoorDriver::open(folder.path()).err().unwrap();
    serving.join().unwrap();
}

#[tokio::test]
async fn a_reader_of_another_version_is_told_and_sent_away() {
    let folder = tempfile::tempdir().unwrap();
    let store = owner(folder.path()).await;
    let mut stream = UnixStream::connect(folder.path().join("door")).unwrap();
    let hello = format!(r#"{{"protocol":{},"version":"9","process":1}}"#, PROTOCOL + 1);
    stream.write_all(&frame(&hello)).unwrap();
    stream.write_all(&frame(r#"{"last_position":{}}"#)).unwrap();
    let mut told = Vec::new();
    // A peer that has not read everything may hear of a reset instead of the end.
    let _ = stream.read_to_end(&mut told);
    let text = String::from_utf8_lossy(&told).into_owned();
    assert!(text.contains(&format!("\"protocol\":{PROTOCOL}")), "{text}");
    assert!(!text.contains("position"), "{text}");
    store.close().await.unwrap();
}
